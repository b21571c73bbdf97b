//! Reads queries and form bodies (`application/x-www-form-urlencoded`) strictly: nothing is repaired,
//! skipped or replaced. Pure.
//! (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>, except that malformed escapes and
//! invalid UTF-8 are errors.)

use std::borrow::Cow;

/// Why a name or a value cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEncoding {
    /// A `%` without two hexadecimal digits.
    #[error(
        "has a malformed percent escape: % must be followed by two hexadecimal digits, a percent \
         sign itself is %25"
    )]
    MalformedEscape {
        /// The index of the `%` in the input.
        at: usize,
    },
    /// The bytes are not UTF-8.
    #[error("is not UTF-8: send UTF-8, percent-encoded")]
    NotUtf8 {
        /// All bytes, with escapes decoded.
        bytes: Vec<u8>,
    },
}

/// The names and values of a query or a form body, in order and still encoded. A part without `=` is a
/// name with an empty value. Empty parts between two `&` are skipped.
pub fn pairs(encoded: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pieces = encoded.split(|&byte| byte == b'&').filter(|piece| !piece.is_empty());
    pieces.map(|piece| match piece.iter().position(|&byte| byte == b'=') {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &[][..]),
    })
}

/// The parameters whose values are secrets, whatever the service that they are sent to.
const SECRETS: [&str; 2] = ["key", "token"];

/// Whether an encoded name stands for this one, in whatever way it is escaped.
pub fn is_named(raw_name: &[u8], name: &str) -> bool {
    decode(raw_name).is_ok_and(|decoded| decoded == name)
}

/// The query as a sentence or the log may show it: the values of secrets are replaced.
pub fn redacted(query: &[u8]) -> Cow<'_, [u8]> {
    let is_secret = |raw_name: &[u8]| {
        decode(raw_name).is_ok_and(|name| SECRETS.iter().any(|s| name.eq_ignore_ascii_case(s)))
    };
    if !pairs(query).any(|(name, _)| is_secret(name)) {
        return Cow::Borrowed(query);
    }
    let shown = pairs(query).map(|(name, value)| match is_secret(name) {
        true => [name, b"=.."].concat(),
        false => [name, b"=", value].concat(),
    });
    Cow::Owned(shown.collect::<Vec<_>>().join(&b'&'))
}

/// Decodes a name or a value: `+` is a space, `%XX` is a byte, and the bytes are UTF-8.
///
/// # Errors
/// [`InvalidEncoding`]. A malformed escape is reported before invalid UTF-8.
pub fn decode(raw: &[u8]) -> Result<Cow<'_, str>, InvalidEncoding> {
    match unescape(raw).map_err(|at| InvalidEncoding::MalformedEscape { at })? {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| InvalidEncoding::NotUtf8 { bytes: bytes.to_owned() }),
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|error| InvalidEncoding::NotUtf8 { bytes: error.into_bytes() }),
    }
}

/// Decodes `+` and `%XX`.
///
/// # Errors
/// The index of the first malformed escape.
fn unescape(raw: &[u8]) -> Result<Cow<'_, [u8]>, usize> {
    let Some(first) = raw.iter().position(|byte| matches!(byte, b'%' | b'+')) else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut decoded = Vec::with_capacity(raw.len());
    decoded.extend_from_slice(&raw[..first]);
    let mut at = first;
    while let Some(&byte) = raw.get(at) {
        at += match byte {
            b'+' => {
                decoded.push(b' ');
                1
            }
            b'%' => {
                let escape = raw.get(at + 1..at + 3).and_then(hexadecimal).ok_or(at)?;
                decoded.push(escape);
                3
            }
            byte => {
                decoded.push(byte);
                1
            }
        };
    }
    Ok(Cow::Owned(decoded))
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*digits.first()?)? * 16 + digit(*digits.get(1)?)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plus_is_a_space_and_escapes_are_bytes_of_utf8() {
        for (encoded, decoded) in [
            ("", ""),
            ("a+b%2Bc", "a b+c"),
            ("%EC%95%88%eb%85%95", "안녕"),
            ("안녕", "안녕"),
            ("a%25zz", "a%zz"),
            ("%00", "\0"),
        ] {
            assert_eq!(decode(encoded.as_bytes()).as_deref(), Ok(decoded), "{encoded}");
        }
    }

    #[test]
    fn a_malformed_escape_is_an_error_with_its_place() {
        for tail in ["%", "%2", "%zz", "%+1", "%2g", "%%20", "%\u{e9}", "%u00e9"] {
            let read = decode_owned(format!("a+{tail}").as_bytes());
            assert_eq!(read, Err(InvalidEncoding::MalformedEscape { at: 2 }), "{tail}");
        }
        let both = decode_owned(b"%ff%zz");
        assert_eq!(both, Err(InvalidEncoding::MalformedEscape { at: 3 }));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_an_error() {
        // A lone byte, a surrogate, an overlong form, and a code point above the last one.
        for raw in [&b"%ff"[..], b"\xff", b"%ed%a0%80", b"%c0%80", b"%f4%90%80%80", b"%e9"] {
            let read = decode_owned(raw);
            assert!(matches!(read, Err(InvalidEncoding::NotUtf8 { .. })), "{raw:?}: {read:?}");
        }
        let bytes = b"a b\xff".to_vec();
        assert_eq!(decode_owned(b"a+b%ff"), Err(InvalidEncoding::NotUtf8 { bytes }));
    }

    #[test]
    fn secrets_are_not_shown_however_their_name_is_escaped() {
        let shown = |query: &'static str| {
            String::from_utf8(redacted(query.as_bytes()).into_owned()).expect("UTF-8")
        };
        assert_eq!(shown("content=a&key=s3cret&id=1"), "content=a&key=..&id=1");
        assert_eq!(shown("%6bey=s3cret&token=s3%63ret=&&KEY=s3cret"), "%6bey=..&token=..&KEY=..");
        assert_eq!(shown("keys=a&k=key=b"), "keys=a&k=key=b");
        assert_eq!(shown(""), "");
        assert!(is_named(b"k%65y", "key") && !is_named(b"k%zz", "key") && !is_named(b"K", "k"));
    }

    #[test]
    fn pairs_are_split_before_they_are_decoded() {
        let read: Vec<_> = pairs(b"&&a=b=c&%26=%3d&d&=&").collect();
        let expected: [(&[u8], &[u8]); 4] =
            [(b"a", b"b=c"), (b"%26", b"%3d"), (b"d", b""), (b"", b"")];
        assert_eq!(read, expected);
        assert_eq!(pairs(b"").count(), 0);
    }

    fn decode_owned(raw: &[u8]) -> Result<String, InvalidEncoding> {
        decode(raw).map(Cow::into_owned)
    }

    proptest! {
        #[test]
        fn no_input_panics(raw: Vec<u8>) {
            let _ = decode(&raw);
            let _ = pairs(&raw).count();
        }

        #[test]
        fn any_utf8_can_be_escaped_byte_by_byte(text: String) {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode_owned(escaped.as_bytes()), Ok(text));
        }
    }
}
