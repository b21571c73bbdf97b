//! What a client may ask for, in whatever dialect, and what is wrong with it. Pure.

use std::time::{Duration, Instant};

use campanile_messages::GroupName;

use crate::resume::Since;

/// More errors than this within [`ERROR_WINDOW`] are abuse.
const MAX_ERRORS: u32 = 100;

const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Listen to a group, and first hear what was missed since a position.
    Join(GroupName, Option<Since>),
    /// No longer listen to a group.
    Leave(GroupName),
    /// Answer with a pong.
    Ping,
}

/// Why a message of a client is answered with an error. The connection lives on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No JSON object of the known fields.
    #[error("not a message: {0}")]
    Malformed(String),
    /// A binary message.
    #[error("messages are JSON in text frames")]
    NotText,
    /// No such type.
    #[error("unknown type {0:?}, accepted: join, leave, ping")]
    UnknownType(String),
    /// A group that is missing or out of the rules.
    #[error("field group: {0}")]
    InvalidGroup(String),
    /// One group more than a connection may have.
    #[error("more than {max} groups")]
    TooManyGroups {
        /// The group that is not joined.
        group: GroupName,
        /// The most that a connection may have.
        max: usize,
    },
    /// A join that is to go on somewhere, of a group that is joined.
    #[error("the group is joined already: leave it first, then join it with since")]
    AlreadyJoined {
        /// The group that stays as it is.
        group: GroupName,
    },
    /// One group more than all connections of a gateway may have.
    #[error("this gateway listens to as many groups as it can")]
    GatewayFull {
        /// The group that is not joined.
        group: GroupName,
    },
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
        }
    }

    pub(super) fn group(&self) -> Option<&GroupName> {
        match self {
            Self::TooManyGroups { group, .. }
            | Self::AlreadyJoined { group }
            | Self::GatewayFull { group } => Some(group),
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
    /// Counts one more; `true` if that is abuse.
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
    fn more_than_100_errors_a_minute_are_abuse() {
        let start = Instant::now();
        let mut errors = Errors::default();
        assert!((0..100).all(|_| !errors.count(start)));
        assert!(errors.count(start));
        assert!(!errors.count(start + ERROR_WINDOW));
    }
}
