//! What the caller cannot change: the broker, its link or this process does not take pushes now, or did
//! not answer.

use std::time::Duration;

use campanile_messages::WorkerId;

use crate::budget::UsedUp;

/// What a caller does about a push for an audience of which nobody knows.
const UNKNOWN: &str = "it is unknown whether the content was delivered; repeat with the same id \
                       (without an id, a repeat may deliver it twice)";

/// The same about a push for one connection, which has no id.
const UNKNOWN_TO_ONE: &str = "it is unknown whether the content was delivered; to one connection \
                              there is no id to repeat it with, and a repeat may deliver it twice";

/// Why nobody can say that a good push was accepted. The caller tries again; if that does not help, the
/// operator has to look.
///
/// Its text is the sentence that the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No link to the broker in time.
    #[error("the broker was out of reach for {} s, nothing was sent: try again", waited.as_secs_f32())]
    NoBroker {
        /// How long the push waited.
        waited: Duration,
    },
    /// No link to the broker in time, for a caller that pushes nothing.
    #[error("the broker was out of reach for {} s: try again", waited.as_secs_f32())]
    NoBrokerToAsk {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The broker was there and did not tell where the log ends.
    #[error(
        "the broker did not say within {} s where the log ends: try again", waited.as_secs_f32()
    )]
    NoHead {
        /// How long the caller waited.
        waited: Duration,
    },
    /// As many callers as may wait for the broker's answer.
    #[error("too many callers wait to hear where the log ends: try again")]
    TooManyAskers,
    /// The link was full all the time.
    #[error(
        "the broker took nothing more for {} s, nothing was sent: try again", waited.as_secs_f32()
    )]
    BrokerBusy {
        /// How long the push waited.
        waited: Duration,
    },
    /// The broker knows as many ids as it can.
    #[error(
        "the broker remembers as many ids of pushes as it may (the broker's --max-ids), nothing was \
         accepted: try again"
    )]
    IdsFull,
    /// The broker keeps as many numbers of this publisher as it does of any.
    #[error(
        "too many pushes of this publisher wait for the broker's answer, nothing was accepted: try \
         again"
    )]
    TooManyUnanswered,
    /// The broker goes.
    #[error("the broker is shutting down, nothing was accepted: try again")]
    BrokerShuttingDown,
    /// The connection's gateway has no link to the broker now.
    #[error(
        "to_worker_id is {0}: the gateway of this worker is out of the broker's reach, nothing was \
         sent: try again"
    )]
    GatewayAway(WorkerId),
    /// Too many bytes on their way.
    #[error("{0}, nothing was sent: try again")]
    TooMuchPending(#[from] UsedUp),
    /// It may wait for the answer still, or have given up: then it must not find its push sent later.
    #[error(
        "the caller closed its side of the connection while its push waited for the broker, nothing \
         was sent: try again"
    )]
    CallerGone,
    /// This process goes.
    #[error("the publisher is shutting down, nothing was sent: try again")]
    ShuttingDown,
    /// The broker was told and did not answer in time.
    #[error("the broker did not answer within {} s: {unknown}", waited.as_secs_f32(), unknown = UNKNOWN)]
    Unanswered {
        /// How long the publisher waited.
        waited: Duration,
    },
    /// The broker was told, and the one that is there now does not know what it accepted.
    #[error("the broker lost its memory before it answered: {unknown}", unknown = UNKNOWN)]
    MemoryLost,
    /// The broker was told, and nobody said in time that the connection's gateway wrote it.
    #[error(
        "to_worker_id is {worker}: the gateway of this worker did not confirm within {} s: {unknown}",
        waited.as_secs_f32(),
        unknown = UNKNOWN_TO_ONE
    )]
    Unconfirmed {
        /// The connection's worker.
        worker: WorkerId,
        /// How long the publisher waited.
        waited: Duration,
    },
    /// The broker may or may not have been told about a push to one connection.
    #[error("the link to the broker broke before it answered: {unknown}", unknown = UNKNOWN_TO_ONE)]
    LinkLost,
    /// The broker may or may not have been told, and this process can not wait for the answer.
    #[error("the publisher ended before the broker answered: {unknown}", unknown = UNKNOWN)]
    PublisherEnded,
}
