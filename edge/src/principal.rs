//! Who a peer is and what it may do. This is the only place where rights are decided. Pure.
//!
//! A principal is established once, where a connection, a request or a link comes in, and is passed on with
//! it from there. No peer is authenticated twice.

use std::fmt;

/// The identity of a peer, and the source of its rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Principal {
    /// A peer without an identity. It may do everything.
    #[default]
    Guest,
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
    /// Writes the action as the end of a sentence, after "is allowed to".
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
