//! Who a peer is and what it may do. This is the only place where rights are decided. Pure.
//!
//! A principal is established once, where a connection, a request or a link comes in, and is passed on with
//! it from there. No peer is authenticated twice.

use std::fmt;

/// How many characters of a name a sentence shows. An escaped character counts several times.
const SHOWN_CHARS: usize = 60;

/// The identity of a peer, and the source of its rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Principal {
    /// A peer without an identity. It may do everything.
    #[default]
    Guest,
}

impl fmt::Display for Principal {
    /// Writes one word, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => f.write_str("guest"),
        }
    }
}

/// Something that a principal may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Hold a client connection, which receives the events for everyone.
    Connect,
    /// Receive the events for a group.
    Subscribe {
        /// The group's name.
        group: &'a str,
    },
    /// Push to everyone.
    PublishToEveryone,
    /// Push to a group.
    PublishToGroup {
        /// The group's name.
        group: &'a str,
    },
    /// Push to a user.
    PublishToUser {
        /// The user's name.
        user: &'a str,
    },
    /// Push to a single connection.
    PublishDirect,
    /// Read the position of the newest event.
    ReadPosition,
    /// Hold a link to the broker.
    Link,
}

impl fmt::Display for Action<'_> {
    /// Writes the action as the end of a sentence, after "is allowed to". A name is quoted, escaped and
    /// cut after 60 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Subscribe { group } => write!(f, "listen to the group {}", Shown(group)),
            Self::PublishToEveryone => f.write_str("push to everyone"),
            Self::PublishToGroup { group } => write!(f, "push to the group {}", Shown(group)),
            Self::PublishToUser { user } => write!(f, "push to the user {}", Shown(user)),
            Self::PublishDirect => f.write_str("push to a single connection"),
            Self::ReadPosition => f.write_str("read the position"),
            Self::Link => f.write_str("hold a link"),
        }
    }
}

/// The beginning of a name in a sentence.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaped = self.0.escape_debug();
        let shown: String = escaped.by_ref().take(SHOWN_CHARS).collect();
        let rest = if escaped.next().is_some() { ".." } else { "" };
        write!(f, "\"{shown}{rest}\"")
    }
}

impl Principal {
    /// Whether the principal is allowed to perform an action. Every decision about rights is made here.
    pub fn may(&self, action: Action<'_>) -> bool {
        match (self, action) {
            (Self::Guest, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_called_that_in_the_log() {
        assert_eq!(Principal::default().to_string(), "guest");
    }

    #[test]
    fn a_guest_may_do_everything() {
        let group = "news";
        for action in [
            Action::Connect,
            Action::Subscribe { group },
            Action::PublishToEveryone,
            Action::PublishToGroup { group },
            Action::PublishToUser { user: "42" },
            Action::PublishDirect,
            Action::ReadPosition,
            Action::Link,
        ] {
            assert!(Principal::default().may(action), "{action:?}");
        }
    }

    #[test]
    fn an_action_shows_the_beginning_of_a_name() {
        let said = |group: &str| Action::PublishToGroup { group }.to_string();
        assert_eq!(said("a\"b"), r#"push to the group "a\"b""#);
        assert_eq!(said(&"é".repeat(60)), format!("push to the group \"{}\"", "é".repeat(60)));
        assert_eq!(said(&"é".repeat(61)), format!("push to the group \"{}..\"", "é".repeat(60)));
        assert_eq!(said(&"\"".repeat(255)).len(), said("").len() + 60 + 2);
    }
}
