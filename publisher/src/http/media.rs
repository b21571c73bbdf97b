//! What the headers say about a body, and about the answer that is wanted.

use super::HttpError;
use crate::push::BodyKind;
use crate::push::batch::Format;
use crate::push::shown::Shown;

/// What a `Content-Type` says; `None` stands for no such header.
///
/// # Errors
/// [`HttpError::BadHeader`]: a value that is no media type, a charset other than UTF-8, and
/// `multipart/form-data`, whose envelope is never what its sender wants to push.
pub fn body_kind(content_type: Option<&[u8]>) -> Result<BodyKind, HttpError> {
    let raw = content_type.unwrap_or_default();
    let refuse = |accepted| HttpError::BadHeader {
        header: "Content-Type",
        value: Shown::from(raw),
        accepted,
    };
    if raw.trim_ascii().is_empty() {
        return Ok(BodyKind::Text);
    }
    let value = std::str::from_utf8(raw).map_err(|_| refuse("a media type is accepted"))?;
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let kind = match essence.split_once('/') {
        Some(("text", subtype)) if !subtype.is_empty() => BodyKind::Text,
        Some(("application", "json")) => BodyKind::Text,
        Some(("application", "x-www-form-urlencoded")) => BodyKind::Form,
        Some(("multipart", "form-data")) => {
            return Err(refuse(
                "forms are accepted as application/x-www-form-urlencoded (curl --data-urlencode)",
            ));
        }
        Some((kind, subtype)) if !kind.is_empty() && !subtype.is_empty() => BodyKind::Binary,
        _ => return Err(refuse("a media type like text/plain is accepted")),
    };
    if kind == BodyKind::Binary || is_in_utf8(parameters) {
        Ok(kind)
    } else {
        Err(refuse("text is accepted in UTF-8 only"))
    }
}

/// The form of a batch by its `Content-Type`; without one, an array.
///
/// # Errors
/// [`HttpError::BadHeader`] for any other type.
pub fn batch_format(content_type: Option<&[u8]>) -> Result<Format, HttpError> {
    let raw = content_type.unwrap_or_default();
    let refuse = |accepted| HttpError::BadHeader {
        header: "Content-Type",
        value: Shown::from(raw),
        accepted,
    };
    let value = str::from_utf8(raw).unwrap_or("?");
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let format = match &*essence.trim().to_ascii_lowercase() {
        "" | "application/json" => Format::Array,
        "application/x-ndjson" | "application/ndjson" => Format::Lines,
        _ => {
            return Err(refuse(
                "a batch is accepted as application/json (an array) or application/x-ndjson (one \
                 item a line); curl says so with -H 'Content-Type: application/json'",
            ));
        }
    };
    match is_in_utf8(parameters) {
        true => Ok(format),
        false => Err(refuse("text is accepted in UTF-8 only")),
    }
}

/// Whether the parameters of a media type name no charset but UTF-8.
fn is_in_utf8(parameters: &str) -> bool {
    charsets(parameters).all(is_utf8)
}

fn charsets(parameters: &str) -> impl Iterator<Item = &str> {
    parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        name.trim().eq_ignore_ascii_case("charset").then_some(quoted.unwrap_or(value))
    })
}

fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
}

/// Whether the `Accept` headers prefer `application/json` to `text/plain` (RFC 9110, 12.5.1).
/// Where both weigh the same, the range that names its type more exactly wins, then the first.
pub fn prefers_json<'a>(accept: impl Iterator<Item = &'a str>) -> bool {
    let mut json = Match::default();
    let mut text = Match::default();
    for (place, range) in accept.flat_map(|header| header.split(',')).enumerate() {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let weight = parts.find_map(weight).unwrap_or(1_000);
        json.consider(essence, ["application", "json"], weight, place);
        text.consider(essence, ["text", "plain"], weight, place);
    }
    json.weight > 0 && json.rank() > text.rank()
}

/// The most exact range that covers a media type.
#[derive(Default)]
struct Match {
    /// 0: none, 1: `*/*`, 2: the type, 3: type and subtype.
    exactness: u8,
    weight: u16,
    place: usize,
}

impl Match {
    fn consider(&mut self, range: &str, [kind, subtype]: [&str; 2], weight: u16, place: usize) {
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

    fn rank(&self) -> (u16, u8, std::cmp::Reverse<usize>) {
        (self.weight, self.exactness, std::cmp::Reverse(self.place))
    }
}

/// A `q` in thousandths; `None` for another parameter.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight = value.trim().parse::<f32>().ok()?;
    (0.0..=1.0).contains(&weight).then_some((weight * 1_000.0) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_json_and_no_type_are_text_a_form_is_read_and_the_rest_is_binary() {
        for (value, kind) in [
            ("", BodyKind::Text),
            ("text/plain", BodyKind::Text),
            ("TEXT/html; Charset=\"UTF-8\"", BodyKind::Text),
            ("text/plain;charset=us-ascii", BodyKind::Text),
            ("application/json", BodyKind::Text),
            ("application/x-www-form-urlencoded; charset=utf-8", BodyKind::Form),
            ("application/octet-stream", BodyKind::Binary),
            ("image/png; charset=latin1", BodyKind::Binary),
        ] {
            assert_eq!(body_kind(Some(value.as_bytes())), Ok(kind), "{value}");
        }
        assert_eq!(body_kind(None), Ok(BodyKind::Text));
    }

    #[test]
    fn another_charset_and_what_is_no_media_type_are_refused() {
        for value in [
            &b"text/plain; charset=iso-8859-1"[..],
            b"application/json; charset=utf-16",
            b"text",
            b"/",
            b"text/",
            b"\xff/x",
            b"multipart/form-data; boundary=x",
        ] {
            let error = body_kind(Some(value)).expect_err("refused");
            assert!(error.to_string().starts_with("the header Content-Type is"), "{error}");
        }
    }

    #[test]
    fn a_batch_has_the_form_that_its_content_type_says() {
        for (value, format) in [
            ("", Format::Array),
            ("application/json", Format::Array),
            ("Application/JSON; charset=\"UTF-8\"", Format::Array),
            ("application/x-ndjson", Format::Lines),
            ("application/ndjson", Format::Lines),
        ] {
            assert_eq!(batch_format(Some(value.as_bytes())), Ok(format), "{value}");
        }
        assert_eq!(batch_format(None), Ok(Format::Array));
        for value in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "\u{e9}",
        ] {
            assert!(batch_format(Some(value.as_bytes())).is_err(), "{value}");
        }
        assert!(batch_format(Some(b"\xff")).is_err());
    }

    #[test]
    fn json_is_answered_to_those_who_prefer_it() {
        for (accept, json) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/json", true),
            ("Application/JSON", true),
            ("application/*", true),
            ("application/json, text/plain, */*", true),
            ("text/plain, application/json", false),
            ("*/*, application/json", true),
            ("application/json;q=0.5, text/plain", false),
            ("application/json;q=0.5, text/*;q=0.1", true),
            ("application/json;q=0", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
        ] {
            assert_eq!(prefers_json([accept].into_iter()), json, "{accept}");
        }
        assert!(prefers_json(["text/html", "application/json"].into_iter()));
    }

    proptest! {
        #[test]
        fn no_header_panics(value: Vec<u8>, accept: String) {
            let _ = body_kind(Some(&value));
            let _ = prefers_json([&*accept].into_iter());
        }
    }
}
