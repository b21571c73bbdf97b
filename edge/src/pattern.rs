//! What names a right is for.

use std::fmt;
use std::str::FromStr;

/// The most bytes of a pattern.
pub const MAX_PATTERN_BYTES: usize = 256;

/// A name, or the beginning of names followed by one `*`: `news`, `chat/*`, `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    start: Box<str>,
    is_prefix: bool,
}

impl Pattern {
    /// Whether a name is one of those that are meant.
    pub fn matches(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&*self.start) } else { *name == *self.start }
    }
}

/// A text that is no [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is empty.
    #[error("a pattern is empty: it must be a name, or the beginning of one and a *")]
    Empty,
    /// The text is longer than [`MAX_PATTERN_BYTES`].
    #[error("a pattern has {0} bytes, but at most {MAX_PATTERN_BYTES} are allowed")]
    TooLong(usize),
    /// There is a `*` before the end.
    #[error("a pattern has a * before its end: it may only end with one")]
    Star,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let start = text.strip_suffix('*');
        match start.unwrap_or(text) {
            _ if text.is_empty() => Err(PatternError::Empty),
            _ if text.len() > MAX_PATTERN_BYTES => Err(PatternError::TooLong(text.len())),
            rest if rest.contains('*') => Err(PatternError::Star),
            rest => Ok(Self { start: rest.into(), is_prefix: start.is_some() }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_prefix { "*" } else { "" };
        write!(f, "{}{star}", self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().expect("a pattern")
    }

    #[test]
    fn a_pattern_is_a_name_or_its_beginning() {
        assert!(pattern("news").matches("news"));
        for other in ["new", "news/1", "News", ""] {
            assert!(!pattern("news").matches(other), "{other}");
        }
        for name in ["chat/", "chat/7", "chat/*"] {
            assert!(pattern("chat/*").matches(name), "{name}");
        }
        assert!(!pattern("chat/*").matches("chat"));
        assert!(pattern("*").matches("") && pattern("*").matches("anything"));
        for text in ["news", "chat/*", "*"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let error = |text: &str| text.parse::<Pattern>().expect_err("no pattern");
        assert_eq!(error(""), PatternError::Empty);
        assert_eq!(error("a*b"), PatternError::Star);
        assert_eq!(error("a**"), PatternError::Star);
        assert_eq!(error(&"a".repeat(257)), PatternError::TooLong(257));
        assert!("a".repeat(256).parse::<Pattern>().is_ok());
    }
}
