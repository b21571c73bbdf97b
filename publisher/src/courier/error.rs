//! What a caller cannot change: the broker, the link to it or this process cannot take pushes now, or the
//! broker did not answer.

use std::time::Duration;

use campanile_channel::courier::NoHead;
use campanile_messages::WorkerId;

use crate::budget::UsedUp;

/// What to do about a push for an audience when its result is unknown.
const UNKNOWN: &str = "it is unknown whether the content was delivered; repeat with the same id \
                       (without an id, a repeat may deliver it twice)";

/// The same for a push to one connection, which has no id.
const UNKNOWN_TO_ONE: &str = "it is unknown whether the content was delivered; a push to one \
                              connection has no id, so a repeat may deliver it twice";

/// A time in whole seconds, as HTTP has it. It is never too short, and never 0.
pub(crate) fn seconds(wait: Duration) -> u64 {
    let started = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(started).max(1)
}

/// Why a valid push was not accepted, or why that is unknown. The caller should try again; if that does
/// not help, the operator has to look.
///
/// The `Display` string is the sentence that the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There was no link to the broker in time.
    #[error(
        "the broker could not be reached for {} s, nothing was sent: try again",
        waited.as_secs_f32()
    )]
    NoBroker { waited: Duration },
    /// The same for a caller that asks for the position.
    #[error("the broker could not be reached for {} s: try again", waited.as_secs_f32())]
    NoBrokerToAsk { waited: Duration },
    /// The broker did not answer a question for the position.
    #[error(
        "the broker did not say within {} s where the log ends: try again",
        waited.as_secs_f32()
    )]
    NoHead { waited: Duration },
    /// As many callers as may wait for the position do so already.
    #[error("too many callers are waiting for the position: try again")]
    TooManyAskers,
    /// The link was full all the time.
    #[error(
        "the broker took no more pushes for {} s, nothing was sent: try again",
        waited.as_secs_f32()
    )]
    BrokerBusy { waited: Duration },
    #[error(
        "the broker remembers as many ids as it may (its --max-ids), nothing was accepted: try again"
    )]
    IdsFull,
    /// The broker remembers as many numbers of this publisher as it may.
    #[error(
        "too many pushes of this publisher wait for the broker's answer, nothing was accepted: try \
         again"
    )]
    TooManyUnanswered,
    /// No push of a backend needs more than every broker knows.
    #[error("the broker is of an older release, which cannot take this push, nothing was sent")]
    BrokerTooOld,
    #[error("the broker is shutting down, nothing was accepted: try again")]
    BrokerShuttingDown,
    #[error(
        "to_worker_id is {0}: the gateway of this worker has no link to the broker now, nothing was \
         sent: try again"
    )]
    GatewayAway(WorkerId),
    /// There is no room in this publisher.
    #[error("{0}, nothing was sent: try again")]
    TooMuchPending(#[from] UsedUp),
    /// The caller's key has a rate.
    #[error(
        "this key is over its rate of {per_second} per second, nothing was sent: try again in {} s",
        seconds(*wait)
    )]
    TooOften { per_second: u32, wait: Duration },
    /// The caller may still wait, or it may have given up. Then its push must not be sent later.
    #[error(
        "the caller closed its side of the connection while its push waited for the broker, nothing \
         was sent: try again"
    )]
    CallerGone,
    #[error("the publisher is shutting down, nothing was sent: try again")]
    ShuttingDown,
    /// The push was sent, and the broker did not answer in time.
    #[error("the broker did not answer within {} s: {unknown}", waited.as_secs_f32(), unknown = UNKNOWN)]
    Unanswered { waited: Duration },
    /// The push was sent, and the broker that is there now does not know what was accepted.
    #[error("the broker lost its log before it answered: {unknown}", unknown = UNKNOWN)]
    MemoryLost,
    /// The push was sent, and the gateway did not confirm in time that it was written.
    #[error(
        "to_worker_id is {worker}: the gateway of this worker did not confirm within {} s: {unknown}",
        waited.as_secs_f32(),
        unknown = UNKNOWN_TO_ONE
    )]
    Unconfirmed { worker: WorkerId, waited: Duration },
    /// A push to one connection was sent, and may or may not have arrived.
    #[error("the link to the broker broke before it answered: {unknown}", unknown = UNKNOWN_TO_ONE)]
    LinkLost,
    /// The push was sent, and this process cannot wait for the answer.
    #[error("the publisher ended before the broker answered: {unknown}", unknown = UNKNOWN)]
    PublisherEnded,
}

impl From<NoHead> for Unavailable {
    fn from(reason: NoHead) -> Self {
        match reason {
            NoHead::ShuttingDown => Self::ShuttingDown,
            NoHead::TooManyAskers => Self::TooManyAskers,
            NoHead::NoBroker { waited } => Self::NoBrokerToAsk { waited },
            NoHead::Unanswered { waited } => Self::NoHead { waited },
        }
    }
}
