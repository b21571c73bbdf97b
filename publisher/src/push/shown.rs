//! Values of callers, as error sentences and the log show them: escaped, shortened, and without what may be a
//! key of the API.

use std::borrow::Cow;
use std::fmt;

use campanile_edge::KEY_PREFIX;

/// How much of a value is shown.
const SHOWN_CHARS: usize = 60;

/// A value that a caller has sent, escaped and shortened for a sentence. Strings are quoted.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(Box<str>);

impl Shown {
    /// Shows a number, or anything else that is not a string, without quotes.
    pub(crate) fn plain(value: &str) -> Self {
        Self(Self::shortened(value.as_bytes()).into())
    }

    /// Stands for a value that is not shown at all.
    pub(crate) fn left_out() -> Self {
        Self("\"..\"".into())
    }

    fn shortened(value: &[u8]) -> String {
        // A character has four bytes at most. Cutting first means that a huge value is not read to its
        // end.
        let cut = &value[..value.len().min(SHOWN_CHARS * 4)];
        let is_cut = cut.len() < value.len();
        let cut = &*without_keys(cut);
        let text = match std::str::from_utf8(cut) {
            Ok(text) => text.escape_debug().to_string(),
            Err(error) if error.error_len().is_none() && is_cut => {
                String::from_utf8_lossy(&cut[..error.valid_up_to()]).escape_debug().to_string()
            }
            Err(_) => cut.escape_ascii().to_string(),
        };
        let mut chars = text.chars();
        let mut shown: String = chars.by_ref().take(SHOWN_CHARS).collect();
        if chars.next().is_some() || is_cut {
            shown.push_str("..");
        }
        shown
    }
}

/// Replaces everything that looks like a key, whether it is escaped as in a URL or not.
fn without_keys(value: &[u8]) -> Cow<'_, [u8]> {
    let mut kept = Cow::Borrowed(&value[..0]);
    let (mut at, mut from) = (0, 0);
    while at < value.len() {
        let rest = &value[at..];
        let Some(prefix_len) = prefix_len(rest) else {
            at += 1;
            continue;
        };
        let word = |&(byte, _): &(u8, usize)| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let word_len = |from| {
            let mut end = from;
            while let Some((_, len)) = decoded(&rest[end..]).filter(word) {
                end += len;
            }
            end
        };
        let kept = kept.to_mut();
        kept.extend_from_slice(&value[from..at]);
        kept.extend_from_slice(KEY_PREFIX.as_bytes());
        kept.extend_from_slice(b"..");
        at += word_len(prefix_len);
        from = at;
    }
    if from == 0 {
        return Cow::Borrowed(value);
    }
    kept.to_mut().extend_from_slice(&value[from..]);
    kept
}

/// How long the prefix of a key is that `bytes` begin with; `None` if they do not.
fn prefix_len(bytes: &[u8]) -> Option<usize> {
    KEY_PREFIX.bytes().try_fold(0, |at, expected| {
        let (byte, len) = decoded(bytes.get(at..)?)?;
        (byte == expected).then_some(at + len)
    })
}

/// The first byte, which may be escaped as `%XX`, and how long it is.
fn decoded(bytes: &[u8]) -> Option<(u8, usize)> {
    if let [b'%', high, low, ..] = bytes
        && let (Some(high), Some(low)) = (digit(*high), digit(*low))
    {
        return Some((high << 4 | low, 3));
    }
    bytes.first().map(|byte| (*byte, 1))
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl From<&[u8]> for Shown {
    fn from(value: &[u8]) -> Self {
        Self(format!("\"{}\"", Self::shortened(value)).into())
    }
}

impl From<&str> for Shown {
    fn from(value: &str) -> Self {
        Self::from(value.as_bytes())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_value_is_escaped_and_shortened() {
        assert_eq!(Shown::from("hi\n\"\u{202e}").to_string(), r#""hi\n\"\u{202e}""#);
        assert_eq!(Shown::from(&b"\xff\x00a"[..]).to_string(), r#""\xff\x00a""#);
        let long = Shown::from("é".repeat(100_000).as_str()).to_string();
        assert_eq!(long, format!("\"{}..\"", "é".repeat(60)));
        assert_eq!(
            Shown::from("a".repeat(60).as_str()).to_string(),
            format!("\"{}\"", "a".repeat(60))
        );
    }

    #[test]
    fn a_key_is_not_shown_wherever_it_is() {
        for (value, shown) in [
            ("/cpk_s3cret", "/cpk_.."),
            ("x=cpk_s3-cr_et&y=1", "x=cpk_..&y=1"),
            ("/cp%6b%5fs3%63ret/a", "/cpk_../a"),
            ("cpk_cpk_a cpk_b", "cpk_.. cpk_.."),
            ("ccpk_s3cret", "ccpk_.."),
            ("cpk cp%6 cpk-a", "cpk cp%6 cpk-a"),
        ] {
            assert_eq!(Shown::from(value).to_string(), format!("\"{shown}\""));
            assert_eq!(Shown::plain(value).to_string(), shown);
        }
        let far = Shown::from(&*format!("{}cpk_{}", "a".repeat(50), "b".repeat(1_000))).to_string();
        assert!(!far.contains('b'), "{far}");
        assert_eq!(Shown::from(&b"\xffcpk_s3cret"[..]).to_string(), r#""\xffcpk_..""#);
    }

    #[test]
    fn what_is_not_a_string_is_shown_without_quotes() {
        assert_eq!(Shown::plain("-1.5").to_string(), "-1.5");
        assert_eq!(Shown::plain("{..}").to_string(), "{..}");
        let long = Shown::plain(&"1".repeat(1_000)).to_string();
        assert_eq!(long, format!("{}..", "1".repeat(60)));
    }
}
