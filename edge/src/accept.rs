//! Reads `Accept` (RFC 9110, section 12.5.1). Pure.

use std::cmp::Reverse;

/// Whether the values of the `Accept` headers prefer `application/json` to `text/plain`.
pub fn prefers_json<'a>(accept: impl IntoIterator<Item = &'a str>) -> bool {
    prefers(accept, ["application", "json"])
}

/// Whether the values of the `Accept` headers prefer `application/openmetrics-text` to `text/plain`.
pub fn prefers_openmetrics<'a>(accept: impl IntoIterator<Item = &'a str>) -> bool {
    prefers(accept, ["application", "openmetrics-text"])
}

/// Whether a media type is preferred to `text/plain`. If both have the same weight, the more exact range
/// wins, then the first one.
///
/// A range whose `q` is not a number from 0 to 1 is ignored. Other parameters do not matter, in whatever
/// form they are.
fn prefers<'a>(accept: impl IntoIterator<Item = &'a str>, media: [&str; 2]) -> bool {
    let mut wanted = Match::default();
    let mut text = Match::default();
    let ranges = accept.into_iter().flat_map(|header| split(header, ','));
    for (place, range) in ranges.enumerate() {
        let mut parts = split(range, ';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let Some(weight) = parts.find_map(q).map_or(Some(1.0), weight) else { continue };
        wanted.consider(essence, media, weight, place);
        text.consider(essence, ["text", "plain"], weight, place);
    }
    wanted.weight > 0.0 && wanted.rank() > text.rank()
}

/// The most exact range that covers a media type.
#[derive(Default)]
struct Match {
    /// 0: none, 1: `*/*`, 2: the type, 3: type and subtype.
    exactness: u8,
    /// From 0 to 1.
    weight: f32,
    place: usize,
}

impl Match {
    fn consider(&mut self, range: &str, [kind, subtype]: [&str; 2], weight: f32, place: usize) {
        let exactness = match range.split_once('/') {
            Some(("*", "*")) => 1,
            Some((k, "*")) if k.eq_ignore_ascii_case(kind) => 2,
            Some((k, s)) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 3,
            _ => 0,
        };
        if exactness > self.exactness {
            *self = Self { exactness, weight, place };
        }
    }

    fn rank(&self) -> (f32, u8, Reverse<usize>) {
        (self.weight, self.exactness, Reverse(self.place))
    }
}

/// Splits at a separator that is not in a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |char| {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            char => return char == separator && !is_quoted,
        }
        false
    })
}

/// The value of a parameter `q`, perhaps empty; `None` for another parameter.
fn q(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
}

/// A weight from 0 to 1.
fn weight(value: &str) -> Option<f32> {
    let is_decimal = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let weight = value.parse().ok().filter(|_| is_decimal)?;
    (0.0..=1.0).contains(&weight).then_some(weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(cases: &[(&str, bool)]) {
        for &(accept, json) in cases {
            assert_eq!(prefers_json([accept]), json, "{accept}");
        }
    }

    #[test]
    fn callers_that_prefer_json_get_json() {
        check(&[
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/*", true),
            ("application/json, text/plain, */*", true),
            ("Application/JSON, text/plain;q=0.9", true),
            ("text/plain, application/json", false),
            ("text/plain;q=0.5, application/json", true),
            ("*/*, application/json", true),
            ("application/json;q=0.5, text/plain", false),
            ("application/json;q=0.5, text/*;q=0.1", true),
            ("application/json;q=0", false),
            ("application/json;q=0, text/html", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("application/json;q=0.001, */*;q=0", true),
            ("json, application/json", true),
            ("what is this", false),
        ]);
        assert!(prefers_json(["text/html", "application/json"]));
        assert!(!prefers_json([]));
    }

    #[test]
    fn parameters_do_not_matter_in_whatever_form() {
        check(&[
            ("application/json;", true),
            ("application/json ;charset=utf-8", true),
            ("application/json; charset=utf-8", true),
            ("application/json;odata", true),
            ("application/json;odata=verbose ; q=1", true),
            (r#"application/json; profile="a,b""#, true),
            (r#"text/plain;q=0.1, application/json; profile="a;q=0""#, true),
            (r#"application/json; profile="\",text/plain,";q=0.5, text/plain;q=0.6"#, false),
        ]);
    }

    #[test]
    fn the_first_q_is_the_weight() {
        check(&[
            ("application/json;q=.9, text/plain;q=0.8", true),
            ("application/json;q=.7, text/plain;q=0.8", false),
            ("application/json;q=0.5;ext, text/plain;q=0.4", true),
            ("application/json;q=0.5;ext, text/plain;q=0.6", false),
            ("application/json;q=0.5;q=0, text/plain;q=0.4", true),
            ("application/json ; Q = 0.5, text/*;q=0.1", true),
            ("application/json;q=1.000, text/plain;q=0.999", true),
        ]);
    }

    #[test]
    fn a_range_with_a_malformed_q_is_ignored() {
        for q in ["high", "", "1.1", "2", "-0", "+1", "1e-1", "nan", "inf", ".", "\"1\"", "0,5"] {
            check(&[(&*format!("application/json;q={q}, text/plain;q=0.1"), false)]);
            check(&[(&*format!("text/plain;q={q}, application/json;q=0.1"), true)]);
        }
        check(&[("application/json;q, text/plain;q=0.1", false)]);
        check(&[("application/json;q=x;q=1, text/plain;q=0.1", false)]);
    }

    #[test]
    fn prometheus_gets_openmetrics_and_browsers_get_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert!(prefers_openmetrics([prometheus]));
        for accept in ["", "*/*", "text/plain;version=0.0.4", "application/json"] {
            assert!(!prefers_openmetrics([accept]), "{accept}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(accept: String) {
            let _ = prefers_json([&*accept]);
        }

        #[test]
        fn no_list_of_ranges_panics(accept in r#"((application|text|\*)/(json|plain|\*)[;,="\\q.0-9é]{0,9}){0,4}"#) {
            let _ = prefers_json([&*accept]);
        }
    }
}
