//! What `Content-Type` says about a body.

use super::HttpError;
use crate::push::BodyKind;
use crate::push::batch::BatchFormat;
use crate::push::shown::Shown;

// Content types are not read by `mime`, which accepts `text/`, and refuses a space in front of `;` and a
// parameter without a value, both of which callers send.

/// Returns how a body with this `Content-Type` is read; `None` stands for no such header.
///
/// # Errors
/// `HttpError::BadHeader` for a value that is not a media type, a charset other than UTF-8, and
/// `multipart/form-data`, whose envelope nobody wants to push.
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

/// Returns the format of a batch with this `Content-Type`; without one, it is an array.
///
/// # Errors
/// `HttpError::BadHeader` for any other type.
pub fn batch_format(content_type: Option<&[u8]>) -> Result<BatchFormat, HttpError> {
    let raw = content_type.unwrap_or_default();
    let refuse = |accepted| HttpError::BadHeader {
        header: "Content-Type",
        value: Shown::from(raw),
        accepted,
    };
    let value = str::from_utf8(raw).unwrap_or("?");
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let format = match &*essence.trim().to_ascii_lowercase() {
        "" | "application/json" => BatchFormat::Array,
        "application/x-ndjson" | "application/ndjson" => BatchFormat::Lines,
        _ => {
            return Err(refuse(
                "a batch is accepted as application/json (an array) or application/x-ndjson (one \
                 item per line); with curl: -H 'Content-Type: application/json'",
            ));
        }
    };
    match is_in_utf8(parameters) {
        true => Ok(format),
        false => Err(refuse("text is accepted in UTF-8 only")),
    }
}

/// Whether the parameters of a media type name no other charset than UTF-8.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_content_type_says_how_a_body_is_read() {
        for (value, kind) in [
            ("", BodyKind::Text),
            ("text/plain", BodyKind::Text),
            ("TEXT/html; Charset=\"UTF-8\"", BodyKind::Text),
            ("text/plain;charset=us-ascii", BodyKind::Text),
            ("application/json", BodyKind::Text),
            ("application/x-www-form-urlencoded; charset=utf-8", BodyKind::Form),
            ("application/octet-stream", BodyKind::Binary),
            ("image/png; charset=latin1", BodyKind::Binary),
            ("text/plain ;charset=utf-8", BodyKind::Text),
            ("application/octet-stream; x", BodyKind::Binary),
        ] {
            assert_eq!(body_kind(Some(value.as_bytes())), Ok(kind), "{value}");
        }
        assert_eq!(body_kind(None), Ok(BodyKind::Text));
    }

    #[test]
    fn other_charsets_and_malformed_types_are_refused() {
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
    fn the_content_type_says_how_a_batch_is_read() {
        for (value, format) in [
            ("", BatchFormat::Array),
            ("application/json", BatchFormat::Array),
            ("Application/JSON; charset=\"UTF-8\"", BatchFormat::Array),
            ("application/x-ndjson", BatchFormat::Lines),
            ("application/ndjson", BatchFormat::Lines),
        ] {
            assert_eq!(batch_format(Some(value.as_bytes())), Ok(format), "{value}");
        }
        assert_eq!(batch_format(None), Ok(BatchFormat::Array));
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

    proptest! {
        #[test]
        fn no_header_panics(value: Vec<u8>) {
            let _ = body_kind(Some(&value));
            let _ = batch_format(Some(&value));
        }
    }
}
