//! Names of groups.

use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize};

/// The longest name of a group, in bytes of UTF-8.
pub const MAX_GROUP_NAME_BYTES: usize = 255;

/// The name of a group: 1 to 255 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct GroupName(ByteString);

/// Why a text is no name of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroupName {
    /// No character at all.
    #[error("a group name must not be empty")]
    Empty,
    /// Longer than [`MAX_GROUP_NAME_BYTES`].
    #[error("a group name has at most 255 bytes, this one has {len_bytes}")]
    TooLong {
        /// The length of the refused name.
        len_bytes: usize,
    },
    /// A character of Unicode's category Cc.
    #[error("a group name must not contain control characters")]
    ControlCharacter,
}

impl GroupName {
    /// Checks a name.
    ///
    /// # Errors
    /// See [`InvalidGroupName`].
    pub fn new(name: impl Into<ByteString>) -> Result<Self, InvalidGroupName> {
        let name = name.into();
        if name.is_empty() {
            return Err(InvalidGroupName::Empty);
        }
        if name.len() > MAX_GROUP_NAME_BYTES {
            return Err(InvalidGroupName::TooLong { len_bytes: name.len() });
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidGroupName::ControlCharacter);
        }
        Ok(Self(name))
    }
}

impl Deref for GroupName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `ByteString`'s own: a name must not pin the read buffer it came in.
        let name = String::deserialize(deserializer)?;
        Self::new(name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_1_to_255_bytes_are_accepted() {
        for name in ["a".to_owned(), "뉴스 eu/1 🎉".to_owned(), "x".repeat(255)] {
            assert_eq!(&*GroupName::new(name.clone()).expect("within the rules"), name);
        }
    }

    #[test]
    fn names_out_of_the_rules_are_refused() {
        assert_eq!(GroupName::new(""), Err(InvalidGroupName::Empty));
        assert_eq!(
            GroupName::new("x".repeat(256)),
            Err(InvalidGroupName::TooLong { len_bytes: 256 })
        );
        for name in ["a\nb", "\0", "a\u{7f}", "\u{85}"] {
            assert_eq!(GroupName::new(name), Err(InvalidGroupName::ControlCharacter), "{name:?}");
        }
    }
}
