//! The keys under which the broker recognises repeats. Pure.

use bytestring::ByteString;
use campanile_messages::{IdempotencyKey, UserName};

/// Stands before and after the user in the key of a client. No id and no user name contains a control
/// character.
const SEPARATOR: char = '\u{1}';

/// The name under which a push may be repeated: the id of a backend's push as it is, or that of a
/// client's push together with the client's user. So the ids of backends and of each user are apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepeatKey(ByteString);

impl RepeatKey {
    /// Returns the key of a push with this id: that of a user's client, or that of a backend.
    pub fn new(user: Option<&UserName>, id: &IdempotencyKey) -> Self {
        match user {
            None => Self((**id).into()),
            Some(user) => {
                let (user, id) = (&**user, &**id);
                Self(format!("{SEPARATOR}{user}{SEPARATOR}{id}").into())
            }
        }
    }

    /// Reads a key from the string of an earlier one; `None` for any other string.
    pub fn read(text: &str) -> Option<Self> {
        let (user, id) = match text.strip_prefix(SEPARATOR) {
            None => (None, text),
            Some(text) => {
                let (user, id) = text.split_once(SEPARATOR)?;
                (Some(UserName::new(user).ok()?), id)
            }
        };
        Some(Self::new(user.as_ref(), &IdempotencyKey::new(id).ok()?))
    }

    /// Returns the key as a string, for the disk.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id that the push came with.
    pub fn id(&self) -> &str {
        let clients = self.0.strip_prefix(SEPARATOR).and_then(|key| key.split_once(SEPARATOR));
        clients.map_or(&self.0, |(_, id)| id)
    }

    /// Whether it is the key of a client's push.
    pub fn is_clients(&self) -> bool {
        self.0.starts_with(SEPARATOR)
    }
}

impl From<IdempotencyKey> for RepeatKey {
    fn from(id: IdempotencyKey) -> Self {
        Self::new(None, &id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> IdempotencyKey {
        IdempotencyKey::new(name.to_owned()).unwrap()
    }

    fn user(name: &str) -> UserName {
        UserName::new(name.to_owned()).unwrap()
    }

    #[test]
    fn a_key_contains_the_id_of_its_push() {
        assert_eq!(RepeatKey::new(None, &id("order-1")).id(), "order-1");
        assert_eq!(RepeatKey::new(Some(&user("42")), &id("order-1")).id(), "order-1");
    }

    #[test]
    fn ids_of_users_and_backends_never_meet() {
        let keys = [
            RepeatKey::new(None, &id("a")),
            RepeatKey::new(None, &id("42a")),
            RepeatKey::new(Some(&user("42")), &id("a")),
            RepeatKey::new(Some(&user("4")), &id("2a")),
            RepeatKey::new(Some(&user("a")), &id("42")),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(key.is_clients(), at >= 2);
            assert_eq!(keys.iter().filter(|other| *other == key).count(), 1);
            assert_eq!(RepeatKey::read(key.as_str()).as_ref(), Some(key));
        }
        // A backend cannot send what would look like a key of a client.
        assert!(IdempotencyKey::new("\u{1}42\u{1}a").is_err());
    }

    #[test]
    fn other_strings_are_not_keys() {
        for text in
            ["", "\u{1}", "\u{1}42", "\u{1}\u{1}a", "\u{1}42\u{1}", "a\u{1}b", "\u{1}4\u{1}a\u{1}b"]
        {
            assert_eq!(RepeatKey::read(text), None, "{text:?}");
        }
        let long = format!("\u{1}{}\u{1}{}", "u".repeat(255), "i".repeat(255));
        assert!(RepeatKey::read(&long).is_some());
        assert_eq!(RepeatKey::read(&format!("{long}i")), None);
    }
}
