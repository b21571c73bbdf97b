//! Values of callers, as error sentences show them.

use std::fmt;

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

    fn shortened(value: &[u8]) -> String {
        // A character has four bytes at most. Cutting first means that a huge value is not read to its
        // end.
        let cut = &value[..value.len().min(SHOWN_CHARS * 4)];
        let text = match std::str::from_utf8(cut) {
            Ok(text) => text.escape_debug().to_string(),
            Err(error) if error.error_len().is_none() && cut.len() < value.len() => {
                String::from_utf8_lossy(&cut[..error.valid_up_to()]).escape_debug().to_string()
            }
            Err(_) => cut.escape_ascii().to_string(),
        };
        let mut chars = text.chars();
        let mut shown: String = chars.by_ref().take(SHOWN_CHARS).collect();
        if chars.next().is_some() || cut.len() < value.len() {
            shown.push_str("..");
        }
        shown
    }
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
    fn what_is_not_a_string_is_shown_without_quotes() {
        assert_eq!(Shown::plain("-1.5").to_string(), "-1.5");
        assert_eq!(Shown::plain("{..}").to_string(), "{..}");
        let long = Shown::plain(&"1".repeat(1_000)).to_string();
        assert_eq!(long, format!("{}..", "1".repeat(60)));
    }
}
