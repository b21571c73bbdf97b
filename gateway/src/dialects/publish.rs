//! What a client publishes, and what it gets for an answer. Pure.

use bytestring::ByteString;
use campanile_channel::publishing::{Failure, NotSent, Unknown};
use campanile_messages::link::Refusal;
use campanile_messages::{Content, GroupName, IdempotencyKey};

/// An event that a client publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The group that it is for.
    pub group: GroupName,
    /// What it says.
    pub content: Content,
    /// A repeat under the same id, by the same user, is accepted once.
    pub id: Option<IdempotencyKey>,
    /// Whether the connection gets its own event, if it listens to the group.
    pub echo: bool,
    /// What is sent back with the answer.
    pub tag: Tag,
}

/// What a client recognises the answer to its publish by. It is sent back as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tag {
    /// The id of the publish.
    pub id: Option<ByteString>,
    /// The client's own name for it, which means nothing to anybody else.
    pub reference: Option<ByteString>,
}

/// A publish that is not accepted. The connection stays open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct RefusedPublish {
    /// What is sent back with the answer.
    pub tag: Tag,
    /// The reason.
    pub error: PublishError,
}

/// Why a client's publish has no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A field that is missing, has an invalid value, or excludes another one.
    #[error("{0}")]
    Malformed(String),
    /// A group name that is missing or invalid.
    #[error("field group: {0}")]
    InvalidGroup(String),
    /// An id without a user, to whom it would belong.
    #[error(
        "field id: this client has no user, and an id belongs to a user: leave it out, or connect with \
         a token that has a sub"
    )]
    NoUser,
    /// A group that the client has no right to publish to.
    #[error("this client is not allowed to publish to the group")]
    NotAllowed,
    /// At a gateway that is open to all, any page could publish.
    #[error(
        "pages of this origin may not publish at a gateway that asks for no token: the gateway's \
         --allow-origin names those that may"
    )]
    ForeignPage,
    /// The connection, or its user, publishes too often.
    #[error(
        "more than {per_second} publishes per second (the gateway's --max-publishes-per-second), \
         nothing was sent: try again later"
    )]
    RateLimited {
        /// How many are accepted on average.
        per_second: u32,
    },
    /// The connection has as many publishes without an answer as it may.
    #[error(
        "too much of this connection is unanswered (at most {max} publishes or {max_bytes} bytes), \
         nothing was sent: wait for the answers"
    )]
    TooManyUnanswered {
        /// The most publishes.
        max: usize,
        /// The most bytes, unless it is only one publish.
        max_bytes: usize,
    },
    /// There is no room in the gateway.
    #[error(
        "this gateway has no room for more publishes now (its --max-pending), nothing was sent: try again"
    )]
    GatewayBusy,
    /// There is no room in the broker.
    #[error(
        "the broker has no room for more publishes of clients now, nothing was accepted: try again"
    )]
    BrokerBusy,
    /// The same for ids.
    #[error(
        "the broker remembers as many ids of clients as it may (a tenth of its --max-ids), nothing was \
         accepted: try again"
    )]
    IdsFull,
    /// The id belongs to another event of the same user.
    #[error(
        "field id: another event was published under this id: repeat the same one, or take a new id"
    )]
    IdTaken,
    /// The broker could not be reached in time, or is shutting down.
    #[error("the broker could not be reached, nothing was sent: try again")]
    Unavailable,
    /// The broker is of an older release.
    #[error(
        "the broker is of an older release, to which this gateway cannot publish for a user, nothing was sent"
    )]
    BrokerTooOld,
    /// It was sent, and there is no answer.
    #[error(
        "the broker did not answer, and it is unknown whether the event was accepted; repeat with the \
         same id (without an id, a repeat may publish it twice)"
    )]
    Unknown,
}

impl PublishError {
    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::InvalidGroup(_) => "invalid_group",
            Self::NoUser => "no_user",
            Self::NotAllowed | Self::ForeignPage => "not_allowed",
            Self::RateLimited { .. } => "rate_limited",
            Self::TooManyUnanswered { .. }
            | Self::GatewayBusy
            | Self::BrokerBusy
            | Self::IdsFull => "busy",
            Self::IdTaken => "id_taken",
            Self::Unavailable | Self::BrokerTooOld => "unavailable",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the client caused it by what it sent, and not by how much or at which time.
    pub fn is_clients_fault(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::InvalidGroup(_)
            | Self::NoUser
            | Self::NotAllowed
            | Self::ForeignPage
            | Self::IdTaken => true,
            Self::RateLimited { .. }
            | Self::TooManyUnanswered { .. }
            | Self::GatewayBusy
            | Self::BrokerBusy
            | Self::IdsFull
            | Self::Unavailable
            | Self::BrokerTooOld
            | Self::Unknown => false,
        }
    }
}

impl From<Failure> for PublishError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(NotSent::BrokerTooOld) => Self::BrokerTooOld,
            Failure::NotSent(
                NotSent::NoBroker { .. }
                | NotSent::BrokerBusy { .. }
                | NotSent::CallerGone
                | NotSent::ShuttingDown,
            )
            | Failure::Refused { refusal: Refusal::ShuttingDown, .. } => Self::Unavailable,
            Failure::Refused { refusal: Refusal::IdsFull, .. } => Self::IdsFull,
            Failure::Refused { refusal: Refusal::IdTaken, .. } => Self::IdTaken,
            Failure::Refused { refusal: Refusal::TooManyUnanswered, .. } => Self::BrokerBusy,
            Failure::Unknown(
                Unknown::Unanswered { .. }
                | Unknown::Unconfirmed { .. }
                | Unknown::LogLost
                | Unknown::LinkLost
                | Unknown::ProcessEnds,
            )
            // Only a push to one connection ends like this.
            | Failure::NotDelivered { .. } => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_was_never_accepted_is_unavailable_or_busy() {
        let waited = Duration::from_secs(5);
        let code = |failure: Failure| PublishError::from(failure).code();
        for reason in [
            NotSent::NoBroker { waited },
            NotSent::BrokerBusy { waited },
            NotSent::BrokerTooOld,
            NotSent::CallerGone,
            NotSent::ShuttingDown,
        ] {
            assert_eq!(code(reason.into()), "unavailable", "{reason:?}");
        }
        for reason in [
            Unknown::Unanswered { waited },
            Unknown::LogLost,
            Unknown::LinkLost,
            Unknown::ProcessEnds,
        ] {
            assert_eq!(code(reason.into()), "unknown", "{reason:?}");
        }
        for (refusal, expected) in [
            (Refusal::IdsFull, "busy"),
            (Refusal::TooManyUnanswered, "busy"),
            (Refusal::IdTaken, "id_taken"),
            (Refusal::ShuttingDown, "unavailable"),
        ] {
            assert_eq!(code(Failure::Refused { refusal, id: None }), expected);
        }
    }
}
