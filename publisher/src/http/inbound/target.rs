//! Escapes and splits the target of a request line for the crate `http`. Pure.

/// How long a target may be after escaping. Less than the 65,534 bytes that the crate `http` accepts.
pub const MAX_TARGET_BYTES: usize = 60 << 10;

/// How much of a target that is too long is read, so that the connection can be kept after the answer: more
/// than a content of 1 MiB with every byte escaped. A longer one ends the connection.
pub const MAX_DROPPED_BYTES: usize = 4 << 20;

/// Replaces a target that is refused. No caller's target can be the same, because `|` is escaped.
pub const REFUSED: &str = "/|";

/// The schemes of an absolute target, in lower case. Some clients use those of websockets.
const SCHEMES: [&str; 4] = ["http://", "https://", "ws://", "wss://"];

/// Escapes what people type although URLs do not allow it, such as the raw UTF-8 of
/// `curl 'http://host:4237/?content=안녕'`.
pub fn escape(raw: &[u8], escaped: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in raw {
        // A `#` would end the URL, and what follows it would be lost silently.
        if byte.is_ascii() && !b"\"#<>\\^`{|}".contains(&byte) {
            escaped.push(byte);
        } else {
            let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
            escaped.extend_from_slice(&[b'%', digits[0], digits[1]]);
        }
    }
}

/// Returns the path and query of a target, which may begin with a scheme in any case and an authority
/// (RFC 9112, 3.2.2), as two parts that follow each other; `None` if the target has neither.
pub fn origin_form(target: &str) -> Option<(&str, &str)> {
    if target.starts_with('/') || target == "*" {
        return Some(("", target));
    }
    let rest = SCHEMES.iter().find_map(|scheme| {
        let begins = target.get(..scheme.len())?.eq_ignore_ascii_case(scheme);
        begins.then(|| &target[scheme.len()..])
    })?;
    match rest.find(['/', '?']) {
        Some(0) => None,
        None if rest.is_empty() => None,
        Some(at) if rest.as_bytes()[at] == b'/' => Some(("", &rest[at..])),
        Some(at) => Some(("/", &rest[at..])),
        None => Some(("", "/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_urls_do_not_allow_is_escaped() {
        let text = |raw: &str| {
            let mut escaped = Vec::new();
            escape(raw.as_bytes(), &mut escaped);
            String::from_utf8(escaped).expect("a text")
        };
        assert_eq!(text("/?content=é"), "/?content=%C3%A9");
        assert_eq!(text("/?a={\"b\"}#c|"), "/?a=%7B%22b%22%7D%23c%7C");
        let plain = "/?a=%20+~!$&'()*,;=:@[]-._";
        assert_eq!(text(plain), plain);
    }

    #[test]
    fn a_target_may_begin_with_a_scheme_in_any_case() {
        for (target, path) in [
            ("/?a=http://b", Some("/?a=http://b")),
            ("*", Some("*")),
            ("HTTP://h/?content=a", Some("/?content=a")),
            ("http://h:1", Some("/")),
            ("wS://h?content=/", Some("/?content=/")),
            ("https://[::1]:80/a", Some("/a")),
            ("http://", None),
            ("http:///a", None),
            ("ftp://h/", None),
            ("h:80", None),
            ("*?a", None),
            ("", None),
            ("안녕://", None),
        ] {
            let read = origin_form(target).map(|(slash, rest)| format!("{slash}{rest}"));
            assert_eq!(read.as_deref(), path, "{target}");
        }
    }
}
