//! Who says what on a link: `ToBroker` by gateways and publishers, `FromBroker` by the broker.
//!
//! ```text
//! gateway                          broker                       publisher
//!   Hello{Gateway} ─────────────────▶ │ ◀──────────────── Hello{Publisher}
//!   ◀──────── Welcome{worker ids}     │     Welcome ────────────────────▶
//!   Interest{1, ..} ────────────────▶ │
//!   Attach{cursor} ─────────────────▶ │
//!   ◀── Event* (missed), Attached     │
//!   ◀──────────── Confirmed{1, head}  │ ◀── Publish{1, Everyone, "hi"}
//!   ◀───────────── Event{1, "hi"}     │     Accepted{1, position, ..} ──▶
//!                                     │ ◀── Push{2, worker 0 / connection 7, "psst"}
//!   ◀── Deliver{ticket, connection 7} │
//!   Delivered{ticket, Written} ─────▶ │     Answered{2, Written} ───────▶
//! ```
//!
//! Both sides say `Heartbeat` when they have nothing else to say; a side that hears nothing for long
//! ends the link. Messages that carry content are generic over it: `C` is [`Content`] in a program
//! and [`ContentKind`](crate::ContentKind) in the head of a frame.

use serde::{Deserialize, Serialize};

use crate::{Address, Audience, Content, Event, InstanceId, Position, WorkerId};

/// The version of this protocol. Both ends of a link must speak the same.
pub const PROTOCOL_VERSION: u16 = 1;

/// The first frame of a link, to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// This life of the process.
    pub instance: InstanceId,
    /// What the process is.
    pub role: Role,
}

/// What stands at the other end of a broker's link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Holds connections.
    Gateway {
        /// How many workers it has, at least 1.
        workers: u16,
        /// The ids its workers hold from an earlier link: none or exactly one a worker.
        held: Vec<WorkerId>,
    },
    /// Takes pushes.
    Publisher,
}

/// The broker's answer to [`Hello`], the first frame of the other direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Where the log ends now. Sequences on this link belong to this position's epoch.
    pub head: Position,
    /// The ids of the gateway's workers: those it held, or new ones. Empty for a publisher.
    pub workers: Vec<WorkerId>,
}

/// A publisher's number for one request, unique on its link.
pub type Number = u64;

/// Whose question a `Deliver` answers. The gateway gives it back as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ticket {
    /// The broker's own number for the publisher's link.
    pub link: u64,
    /// The publisher's number for its request.
    pub number: Number,
}

/// How many local connections listen to an audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterestChange {
    /// What they listen to.
    pub audience: Audience,
    /// How many there are; `Some(0)` keeps the interest for those who may come back soon, `None`
    /// withdraws it.
    pub connections: Option<u32>,
}

/// What became of an event for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its last byte entered the kernel of the gateway's host.
    Written,
    /// No live worker of the cluster has this id.
    UnknownWorker,
    /// The worker has no such connection.
    UnknownConnection,
    /// The connection ended before the event was written.
    NotWritten,
    /// The worker's gateway has lost its link and may come back; nothing was handed to it.
    GatewayAway,
}

/// Why the broker did not accept a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The log has no room until gateways had their time to come back.
    LogFull,
    /// The broker is shutting down.
    ShuttingDown,
}

/// What gateways and publishers say after their hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBroker<C = Content> {
    /// Nothing; the link is alive.
    Heartbeat,
    /// Gateway: what its connections listen to has changed. The answer is `Confirmed` with the same
    /// revision; revisions grow.
    Interest {
        /// The gateway's number for this state of its interest.
        revision: u64,
        /// At most one an audience.
        changes: Vec<InterestChange>,
    },
    /// Gateway: its interest is complete on this link. The broker hands over what the gateway
    /// missed since its cursor, then `Attached`; until then the link receives no event.
    Attach {
        /// The last position that the gateway has seen, on whichever link; `None` the first time.
        cursor: Option<Position>,
    },
    /// Gateway: the answer to a `Deliver`.
    Delivered {
        /// As it came.
        ticket: Ticket,
        /// What became of the event.
        outcome: Outcome,
    },
    /// Publisher: an event for an audience.
    Publish {
        /// Comes back in the answer.
        number: Number,
        /// Who it is for.
        audience: Audience,
        /// What it says.
        content: C,
    },
    /// Publisher: an event for one connection.
    Push {
        /// Comes back in the answer.
        number: Number,
        /// Which connection.
        to: Address,
        /// What it says.
        content: C,
    },
}

/// What the broker says after its welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromBroker<C = Content> {
    /// Nothing; the link is alive.
    Heartbeat,
    /// To a gateway: the interest up to this revision counts from here on. Never before `Attached`.
    Confirmed {
        /// As in `Interest`.
        revision: u64,
        /// Where the log ended at this moment: all that this gateway wanted up to there is before
        /// this message.
        head: u64,
    },
    /// To a gateway: what it missed has been handed over, the stream is live from here.
    Attached {
        /// How many events since the cursor were no longer kept, for whatever audience.
        lost: u64,
    },
    /// To a gateway: an event that some of its connections listen to.
    Event(Event<C>),
    /// To a gateway: an event for one of its connections. The answer is `Delivered`.
    Deliver {
        /// Given back in the answer.
        ticket: Ticket,
        /// Which connection.
        to: Address,
        /// What it says.
        content: C,
    },
    /// To a publisher: a `Publish` was accepted.
    Accepted {
        /// As in `Publish`.
        number: Number,
        /// Where the event stands in the log.
        sequence: u64,
        /// How many gateways had connections that listen.
        gateways: u32,
        /// How many connections those were, as the gateways reported them.
        matched: u64,
    },
    /// To a publisher: a `Publish` was not accepted.
    Refused {
        /// As in `Publish`.
        number: Number,
        /// Why.
        refusal: Refusal,
    },
    /// To a publisher: what became of a `Push`.
    Answered {
        /// As in `Push`.
        number: Number,
        /// What became of the event.
        outcome: Outcome,
    },
    /// The broker ends the link, and why; the last frame, and the first where a hello was refused.
    Goodbye {
        /// A sentence for the log.
        reason: String,
    },
}

impl<C> ToBroker<C> {
    /// Puts another content in the content's place.
    ///
    /// # Errors
    /// Whatever `replace` answers; it is called at most once.
    pub fn try_map_content<D, E>(
        self,
        replace: impl FnOnce(C) -> Result<D, E>,
    ) -> Result<ToBroker<D>, E> {
        Ok(match self {
            Self::Heartbeat => ToBroker::Heartbeat,
            Self::Interest { revision, changes } => ToBroker::Interest { revision, changes },
            Self::Attach { cursor } => ToBroker::Attach { cursor },
            Self::Delivered { ticket, outcome } => ToBroker::Delivered { ticket, outcome },
            Self::Publish { number, audience, content } => {
                ToBroker::Publish { number, audience, content: replace(content)? }
            }
            Self::Push { number, to, content } => {
                ToBroker::Push { number, to, content: replace(content)? }
            }
        })
    }
}

impl<C> FromBroker<C> {
    /// Puts another content in the content's place.
    ///
    /// # Errors
    /// Whatever `replace` answers; it is called at most once.
    pub fn try_map_content<D, E>(
        self,
        replace: impl FnOnce(C) -> Result<D, E>,
    ) -> Result<FromBroker<D>, E> {
        Ok(match self {
            Self::Heartbeat => FromBroker::Heartbeat,
            Self::Confirmed { revision, head } => FromBroker::Confirmed { revision, head },
            Self::Attached { lost } => FromBroker::Attached { lost },
            Self::Event(Event { sequence, audience, content }) => {
                FromBroker::Event(Event { sequence, audience, content: replace(content)? })
            }
            Self::Deliver { ticket, to, content } => {
                FromBroker::Deliver { ticket, to, content: replace(content)? }
            }
            Self::Accepted { number, sequence, gateways, matched } => {
                FromBroker::Accepted { number, sequence, gateways, matched }
            }
            Self::Refused { number, refusal } => FromBroker::Refused { number, refusal },
            Self::Answered { number, outcome } => FromBroker::Answered { number, outcome },
            Self::Goodbye { reason } => FromBroker::Goodbye { reason },
        })
    }
}
