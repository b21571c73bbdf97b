//! What a client may request, whatever its dialect, and what may be wrong with a request. Pure.

use std::time::{Duration, Instant};

use campanile_edge::Secret;
use campanile_messages::GroupName;

use super::publish::{Publish, RefusedPublish, Tag};
use crate::resume::Since;

/// A client that causes more errors than this within [`ERROR_WINDOW`] is closed.
const MAX_ERRORS: u32 = 100;

const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Use a new token from here on.
    Auth(Secret),
    /// Listen to a group, and with a position, first get the events after it.
    Join(GroupName, Option<Since>),
    /// Stop listening to a group.
    Leave(GroupName),
    /// Send a pong back.
    Ping,
    /// Publish an event to a group.
    Publish(Box<Publish>),
}

/// Why a client's message was not accepted. The client gets an error, and the connection stays open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a JSON object, or one with unknown fields.
    #[error("not a message: {0}")]
    Malformed(String),
    /// A binary message.
    #[error("a binary message is not accepted: messages are JSON in text frames")]
    NotText,
    /// A type that does not exist.
    #[error("unknown type {0:?}, accepted: auth, join, leave, ping, publish")]
    UnknownType(String),
    /// A group name that is missing or invalid.
    #[error("field group: {0}")]
    InvalidGroup(String),
    /// The connection listens to as many groups as it may.
    #[error("more than {max} groups: at most {max} are accepted (the gateway's --max-groups)")]
    TooManyGroups {
        /// The group that was not joined.
        group: GroupName,
        /// The most groups that a connection may listen to.
        max: usize,
    },
    /// A join with a position, of a group that is already joined.
    #[error("the group is already joined: leave it first, then join it with since")]
    AlreadyJoined {
        /// The group, which stays joined.
        group: GroupName,
    },
    /// The gateway listens to as many groups as it can.
    #[error("this gateway has no room for more groups: try another gateway")]
    GatewayFull {
        /// The group that was not joined.
        group: GroupName,
    },
    /// Too many messages in too short a time. What it said is not known, unless it was a join.
    #[error("too many {what}: at most {per_second} per second are accepted, try again later")]
    RateLimited {
        /// The group that was not joined.
        group: Option<GroupName>,
        /// What there were too many of.
        what: &'static str,
        /// How many are accepted.
        per_second: u32,
    },
    /// A new token on a connection that began without one.
    #[error("this connection began without a token: connect again with it")]
    NoTokenToRenew,
    /// A new token that is for somebody else.
    #[error("the new token is for another user: connect again with it")]
    OtherUser,
    /// A new token that is not accepted.
    #[error("the new token is not accepted: {0}")]
    Token(&'static str),
    /// A group that the client has no right to listen to.
    #[error("this client is not allowed to listen to the group")]
    NotAllowed {
        /// The group that was not joined.
        group: GroupName,
    },
    /// A publish that is not accepted. It is for no group, so that no client takes it for the answer to a
    /// join.
    #[error(transparent)]
    Publish(#[from] Box<RefusedPublish>),
}

impl RequestError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NotText => "not_text",
            Self::UnknownType(_) => "unknown_type",
            Self::InvalidGroup(_) => "invalid_group",
            Self::TooManyGroups { .. } => "too_many_groups",
            Self::AlreadyJoined { .. } => "already_joined",
            Self::GatewayFull { .. } => "gateway_full",
            Self::RateLimited { .. } => "rate_limited",
            Self::NoTokenToRenew => "no_token_to_renew",
            Self::Token(word) => word,
            Self::NotAllowed { .. } | Self::OtherUser => "not_allowed",
            Self::Publish(refused) => refused.error.code(),
        }
    }

    /// By what the client recognises which of its messages was not accepted.
    pub(super) fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Publish(refused) => Some(&refused.tag),
            _ => None,
        }
    }

    /// Whether the client caused it by what it sent, and not by how much or at which time.
    pub fn is_clients_fault(&self) -> bool {
        match self {
            Self::Publish(refused) => refused.error.is_clients_fault(),
            _ => true,
        }
    }

    pub(super) fn group(&self) -> Option<&GroupName> {
        match self {
            Self::TooManyGroups { group, .. }
            | Self::AlreadyJoined { group }
            | Self::GatewayFull { group }
            | Self::NotAllowed { group } => Some(group),
            Self::RateLimited { group, .. } => group.as_ref(),
            _ => None,
        }
    }
}

/// Counts the errors of one connection.
#[derive(Debug, Default)]
pub struct Errors {
    since: Option<Instant>,
    count: u32,
}

impl Errors {
    /// Counts one more error; `true` if the client has now caused too many.
    pub fn count(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= ERROR_WINDOW) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count += 1;
        self.count > MAX_ERRORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_100_errors_per_minute_are_too_many() {
        let start = Instant::now();
        let mut errors = Errors::default();
        assert!((0..100).all(|_| !errors.count(start)));
        assert!(errors.count(start));
        assert!(!errors.count(start + ERROR_WINDOW));
    }
}
