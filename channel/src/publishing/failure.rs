//! Why a push has no receipt.

use std::time::Duration;

use campanile_messages::link::{DirectOutcome, Refusal};
use campanile_messages::{Address, IdempotencyKey, WorkerId};

/// Why a push has no receipt, by what that says about its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It was not sent, and it will not be.
    NotSent(NotSent),
    /// It was sent, and whether it was accepted is unknown.
    Unknown(Unknown),
    /// The broker did not accept it.
    Refused {
        /// The reason that the broker gave.
        refusal: Refusal,
        /// The id of the push.
        id: Option<IdempotencyKey>,
    },
    /// It was for one connection, which did not get it.
    NotDelivered {
        /// The reason; never [`DirectOutcome::Written`].
        outcome: DirectOutcome,
        /// The connection.
        to: Address,
    },
}

/// Why a push was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSent {
    /// There was no link to the broker for as long as the push waited.
    NoBroker {
        /// How long that was.
        waited: Duration,
    },
    /// There was a link, and no room on it for as long as the push waited.
    BrokerBusy {
        /// How long that was.
        waited: Duration,
    },
    /// The broker is of an older release, which cannot take such a push.
    BrokerTooOld,
    /// Its caller may have given up while it waited.
    CallerGone,
    /// This process shuts down.
    ShuttingDown,
}

/// Why it is unknown whether a push was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// The broker did not answer.
    Unanswered {
        /// How long the push waited for that.
        waited: Duration,
    },
    /// The gateway of the one connection did not say that it wrote the event.
    Unconfirmed {
        /// The connection's worker.
        worker: WorkerId,
        /// How long the push waited for that.
        waited: Duration,
    },
    /// The broker lost its log before it answered.
    LogLost,
    /// The link broke before the broker answered a push to one connection.
    LinkLost,
    /// This process ends before the broker answered.
    ProcessEnds,
}

impl From<NotSent> for Failure {
    fn from(reason: NotSent) -> Self {
        Self::NotSent(reason)
    }
}

impl From<Unknown> for Failure {
    fn from(reason: Unknown) -> Self {
        Self::Unknown(reason)
    }
}
