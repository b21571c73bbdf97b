//! Who a peer is, and what it may do: the one place where rights are decided. Pure.
//!
//! A principal is established once, where a connection, a request or a link comes in, and travels
//! with it from there. Nobody is asked twice.

use std::fmt;

/// Who a peer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Principal {
    /// A peer that was not asked who it is.
    #[default]
    Guest,
}

impl fmt::Display for Principal {
    /// One word, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => f.write_str("guest"),
        }
    }
}

/// What a principal asks for.
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
    /// In words that follow "is allowed to".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Subscribe { group } => write!(f, "listen to the group {group:?}"),
            Self::PublishToEveryone => f.write_str("push to everyone"),
            Self::PublishToGroup { group } => write!(f, "push to the group {group:?}"),
            Self::PublishToUser { user } => write!(f, "push to the user {user:?}"),
            Self::PublishDirect => f.write_str("push to a single connection"),
            Self::ReadPosition => f.write_str("read the position"),
            Self::Link => f.write_str("hold a link"),
        }
    }
}

impl Principal {
    /// Whether the principal is allowed to do it. Every decision about rights is made here.
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
}
