//! The names that callers choose: for groups, for users, and for pushes that they may repeat.

use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize};

/// The longest name, in bytes of UTF-8.
const MAX_NAME_BYTES: usize = 255;

/// Why a string is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The string is empty.
    #[error("a {what} must not be empty")]
    Empty {
        /// What the name is for.
        what: &'static str,
    },
    /// It is longer than 255 bytes.
    #[error("a {what} has at most {MAX_NAME_BYTES} bytes, this one has {len_bytes}")]
    TooLong {
        /// What the name is for.
        what: &'static str,
        /// The length of the string.
        len_bytes: usize,
    },
    /// It has a character of Unicode's category Cc.
    #[error("a {what} must not contain control characters")]
    ControlCharacter {
        /// What the name is for.
        what: &'static str,
    },
}

fn check(name: &str, what: &'static str) -> Result<(), InvalidName> {
    match name.len() {
        0 => Err(InvalidName::Empty { what }),
        len_bytes if len_bytes > MAX_NAME_BYTES => Err(InvalidName::TooLong { what, len_bytes }),
        _ if name.chars().any(char::is_control) => Err(InvalidName::ControlCharacter { what }),
        _ => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(ByteString);

        impl $name {
            /// Checks a string.
            ///
            /// # Errors
            /// [`InvalidName`], if it is not such a name.
            pub fn new(name: impl Into<ByteString>) -> Result<Self, InvalidName> {
                let name = name.into();
                check(&name, $what).map(|()| Self(name))
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // `ByteString` itself would keep the whole read buffer in memory.
                let name = String::deserialize(deserializer)?;
                Self::new(name).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a group: 1 to 255 bytes of UTF-8 without control characters. Cheap to clone.
    GroupName, "group name"
}

name! {
    /// The name of a user, the identity that one or more connections belong to: 1 to 255 bytes of
    /// UTF-8 without control characters. Cheap to clone.
    UserName, "user name"
}

name! {
    /// The name of a push that its caller may repeat: 1 to 255 bytes of UTF-8 without control
    /// characters. Cheap to clone.
    IdempotencyKey, "push's id"
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
    fn other_strings_are_refused() {
        let what = "group name";
        assert_eq!(GroupName::new(""), Err(InvalidName::Empty { what }));
        assert_eq!(
            GroupName::new("x".repeat(256)),
            Err(InvalidName::TooLong { what, len_bytes: 256 })
        );
        for name in ["a\nb", "\0", "a\u{7f}", "\u{85}"] {
            assert_eq!(
                GroupName::new(name),
                Err(InvalidName::ControlCharacter { what }),
                "{name:?}"
            );
        }
        let what = "push's id";
        assert_eq!(IdempotencyKey::new(""), Err(InvalidName::Empty { what }));
    }
}
