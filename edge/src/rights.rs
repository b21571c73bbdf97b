//! What those who are known may do: the rights that a token, a key or the guests of a gateway have. Pure.
//!
//! [`Principal`](crate::Principal) decides by them.

use std::fmt;
use std::str::FromStr;

use crate::{Pattern, PatternError};

/// What may be done with a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Operations {
    /// Receive its events.
    pub subscribe: bool,
    /// Push to it.
    pub publish: bool,
    /// See who else listens to it.
    pub presence: bool,
}

/// What may be done with which groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupRights(Box<[(Pattern, Operations)]>);

impl GroupRights {
    /// The rights of a list of patterns. Nothing may be done with a group that none of them matches.
    pub fn new(rights: impl IntoIterator<Item = (Pattern, Operations)>) -> Self {
        Self(rights.into_iter().collect())
    }

    /// What may be done with one group: whatever any of the patterns that match it allows.
    pub fn of(&self, group: &str) -> Operations {
        let matching = self.0.iter().filter(|(pattern, _)| pattern.matches(group));
        matching.fold(Operations::default(), |sum, (_, more)| Operations {
            subscribe: sum.subscribe || more.subscribe,
            publish: sum.publish || more.publish,
            presence: sum.presence || more.presence,
        })
    }

    /// The patterns with what each of them allows, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &(Pattern, Operations)> {
        self.0.iter()
    }
}

/// What a client's token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRights {
    /// The user that the client is (`sub`).
    pub user: Option<String>,
    /// The token's own name (`jti`), by which it can be revoked.
    pub id: Option<String>,
    /// When the token expires (`exp`), in seconds since 1970-01-01 UTC.
    pub expires: u64,
    /// What the client may do with which groups.
    pub groups: GroupRights,
    /// The groups that the client is in from the start, each once. It may also join them again.
    pub join: Vec<String>,
    /// What others see of the client in a group: JSON of at most 1 KiB, as the token has it.
    pub info: Option<Box<str>>,
}

/// What an API key allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRights {
    /// The name that the operator gave it.
    pub name: String,
    /// What it is for. Anything else is refused.
    pub scopes: Vec<Scope>,
}

/// One thing that an API key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Push to everyone.
    Everyone,
    /// Push to groups.
    Group(Pattern),
    /// Push to users.
    User(Pattern),
    /// Push to single connections.
    Connection,
    /// Read positions.
    Read,
    /// Change and end what others do.
    Manage,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::Group(pattern) => write!(f, "group:{pattern}"),
            Self::User(pattern) => write!(f, "user:{pattern}"),
            Self::Connection => f.write_str("connection"),
            Self::Read => f.write_str("read"),
            Self::Manage => f.write_str("manage"),
        }
    }
}

/// A text that is no [`Scope`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// There is no such scope.
    #[error(
        "there is no scope {0:?}: a scope is everyone, group:PATTERN, user:PATTERN, connection, read or \
         manage"
    )]
    Unknown(String),
    /// What follows the colon is no pattern.
    #[error("in the scope {scope:?}, {error}")]
    Pattern {
        /// The whole scope.
        scope: String,
        /// What is wrong.
        error: PatternError,
    },
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let pattern = |pattern: &str| {
            pattern.parse().map_err(|error| ScopeError::Pattern { scope: text.to_owned(), error })
        };
        match text.split_once(':') {
            None if text == "everyone" => Ok(Self::Everyone),
            None if text == "connection" => Ok(Self::Connection),
            None if text == "read" => Ok(Self::Read),
            None if text == "manage" => Ok(Self::Manage),
            Some(("group", groups)) => pattern(groups).map(Self::Group),
            Some(("user", users)) => pattern(users).map(Self::User),
            _ => Err(ScopeError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_patterns_that_match_are_a_union() {
        let subscribe = Operations { subscribe: true, ..Operations::default() };
        let publish = Operations { publish: true, ..Operations::default() };
        let pattern = |text: &str| text.parse::<Pattern>().expect("a pattern");
        let rights =
            GroupRights::new([(pattern("chat/*"), subscribe), (pattern("chat/7"), publish)]);
        assert_eq!(rights.of("chat/7"), Operations { presence: false, ..all() });
        assert_eq!(rights.of("chat/8"), subscribe);
        assert_eq!(rights.of("news"), Operations::default());
        assert_eq!(GroupRights::default().of("news"), Operations::default());
    }

    fn all() -> Operations {
        Operations { subscribe: true, publish: true, presence: true }
    }

    #[test]
    fn scopes_are_written_as_they_are_read() {
        for text in ["everyone", "group:chat/*", "user:42", "connection", "read", "manage"] {
            assert_eq!(text.parse::<Scope>().expect("a scope").to_string(), text);
        }
        for text in ["", "all", "group", "everyone:", "reads", "connection:1", "Group:a"] {
            let unknown = ScopeError::Unknown(text.to_owned());
            assert_eq!(text.parse::<Scope>(), Err(unknown), "{text}");
        }
        let error = "group:".parse::<Scope>().expect_err("no pattern").to_string();
        assert!(error.starts_with("in the scope \"group:\", a pattern is empty"), "{error}");
    }
}
