//! Who says what on a link: `ToBroker` by gateways and publishers, `FromBroker` by the broker.
//!
//! ```text
//! gateway                          broker                       publisher
//!   Offer{Hello{Gateway}} ──────────▶ │ ◀───────── Offer{Hello{Publisher}}
//!   ◀──────── Welcome{worker ids}     │     Welcome ────────────────────▶
//!   Interest{1, ..} ────────────────▶ │
//!   Attach{cursor} ─────────────────▶ │
//!   ◀── Attached, Event* (missed)     │
//!   ◀──────────── Confirmed{1, head}  │ ◀── Publish{1, Everyone, "hi"}
//!   ◀───────────── Event{1, "hi"}     │     Accepted{1, position, ..} ──▶
//!   ◀──────────────── Mark{head}      │
//!                                     │     what clients missed that come back:
//!   Fetch{1, [since 7, group a]} ───▶ │
//!   ◀── Past{group a, 2}, Event*2     │
//!   ◀─────────────── Fetched{1, 1}    │     what became of an event, where a publisher asks:
//!   ◀─ Count{ticket, 9}, Event{9, ..} │ ◀── Publish{2, .., count}
//!   Counted{ticket, tally} ─────────▶ │     Accepted{2, ..}, Counted{2, tally} ──▶
//!                                     │ ◀── Direct{3, worker 0 / connection 7, "psst"}
//!   ◀── Deliver{ticket, connection 7} │
//!   Delivered{ticket, Written} ─────▶ │     Answered{3, Written} ───────▶
//! ```
//!
//! How a link begins, and how this protocol may change, is in [`hello`](crate::hello). Messages of a
//! release that only some peers know belong to a feature: see [`ToBroker::needs`].
//!
//! Either asks where the log ends with `AskHead{number}`; the answer is `Head{number, position}`.
//!
//! Both sides say `Heartbeat` when they have nothing else to say; a side that hears nothing for long
//! ends the link. Messages that carry content are generic over it: `C` is [`Content`] in a program
//! and [`ContentKind`](crate::ContentKind) in the head of a frame.

use serde::{Deserialize, Serialize};

use crate::feature::Feature;
use crate::{Address, Audience, Content, Event, IdempotencyKey, InstanceId, Position, WorkerId};

/// Who calls: the part of an [`Offer`](crate::hello::Offer) that its sender's owner knows.
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
    Publisher {
        /// Every `Publish` below this number has its answer, or nobody waits for it any more.
        unanswered: Number,
    },
}

/// How durable an event is before anybody sees it and its publisher is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// On disk: it survives a loss of power.
    Disk,
    /// Handed to the operating system: it survives the end of the broker's process.
    Written,
    /// In the broker's memory.
    Memory,
}

impl Durability {
    /// The word of a receipt and of the flag `--durability`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Written => "written",
            Self::Memory => "memory",
        }
    }
}

/// What a caller needs to begin: the part of an [`HelloAnswer`](crate::hello::HelloAnswer) that is for the
/// owner of the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Where the log ends now. Sequences on this link belong to this position's epoch.
    pub head: Position,
    /// How durable an accepted event is.
    pub durability: Durability,
    /// The ids of the gateway's workers: those it held, or new ones. Empty for a publisher.
    pub workers: Vec<WorkerId>,
}

/// A publisher's number for one request: from 1, growing, unique in the life of its process.
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

/// What clients that come back have missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// They have seen everything up to this sequence.
    pub since: u64,
    /// The audiences that they listen to, each once.
    pub audiences: Vec<Audience>,
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

/// How an event fared at one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many of its connections listened.
    pub matched: u64,
    /// How many of those took it: its last byte entered the kernel of the gateway's host.
    pub written: u64,
    /// How many were closed because they read too slowly.
    pub too_slow: u64,
}

/// Why a stream of events does not go on where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gap {
    /// The position belongs to another log, or is ahead of this one.
    EpochChanged,
    /// Events behind the position are no longer kept.
    Expired,
}

/// Why the broker did not accept a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The table of idempotency keys has no room until some are old enough.
    IdsFull,
    /// Another event was published under the same idempotency key.
    IdTaken,
    /// The publisher has too many publishes without an answer.
    TooManyUnanswered,
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
    /// Gateway: its interest is complete on this link. The broker says `Attached`, then hands over
    /// what the gateway missed since its cursor; until then the link receives no event.
    Attach {
        /// The last position that the gateway has seen, on whichever link; `None` the first time.
        cursor: Option<Position>,
    },
    /// Gateway: asks for kept events of audiences in which it has told its interest on this link, be it
    /// confirmed or not. The answer is a `Past` for each audience of the wants that are served, and
    /// then `Fetched`.
    Fetch {
        /// Comes back in the answer.
        number: u64,
        /// What clients have missed, in the order in which it is to be served.
        wants: Vec<Want>,
        /// More bytes than this are of no use to a want as a whole, each event counted with 64 more:
        /// the newest are sent, up to the first that passes this bound. One event is of use whatever
        /// its size. When all that was sent has passed it, further wants are not served.
        max_bytes: u64,
    },
    /// Gateway: the answer to a `Count`.
    Counted {
        /// As it came.
        ticket: Ticket,
        /// How the event fared so far.
        tally: Tally,
    },
    /// Gateway: the answer to a `Deliver`.
    Delivered {
        /// As it came.
        ticket: Ticket,
        /// What became of the event.
        outcome: Outcome,
    },
    /// Publisher: an event for an audience. Said again under the same number, on whichever link to a
    /// log of the same epoch, it is accepted once, and answered again.
    Publish {
        /// Comes back in the answer.
        number: Number,
        /// Every number below this one has its answer, or nobody waits for it any more.
        unanswered: Number,
        /// A repeat under the same key, by whichever publisher, is accepted once.
        id: Option<IdempotencyKey>,
        /// Gateways are to count what they wrote within this time; `None`: nobody asks.
        count_within_millis: Option<u32>,
        /// Who it is for.
        audience: Audience,
        /// The one connection of the audience that does not get it. A repeat names the same.
        except: Option<Address>,
        /// What it says.
        content: C,
    },
    /// Publisher: every number below this one has its answer, or nobody waits for it any more. Said
    /// where no `Publish` has said it for a while, so that the broker can forget them.
    Settled {
        /// As in `Publish`.
        unanswered: Number,
    },
    /// Where does the log end? The answer is `Head` with the same number.
    AskHead {
        /// Comes back in the answer.
        number: u64,
    },
    /// Publisher: an event for one connection.
    Direct {
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
    /// To a gateway: the stream of events begins: what it missed, then what comes.
    Attached {
        /// Where it begins: at the gateway's cursor if it had one and nothing is lost.
        from: Position,
        /// Whether something that the gateway wanted is lost between its cursor and there.
        gap: Option<Gap>,
    },
    /// To a gateway: the log has come to here; all that the gateway wanted is before this message.
    Mark {
        /// Where the log ends.
        head: u64,
    },
    /// To a gateway: the next so many `Event`s are old ones, asked for by a `Fetch`.
    Past {
        /// The audience that all of them are for.
        audience: Audience,
        /// How many follow, oldest first.
        events: u32,
        /// Events of the audience up to this sequence may be lost.
        expired: u64,
        /// With those that follow, and those that this answer had before, the gateway has every
        /// event of the audience above this sequence: never below `expired`.
        complete_after: u64,
    },
    /// To a gateway: the answer to a `Fetch` is complete.
    Fetched {
        /// As in `Fetch`.
        number: u64,
        /// How many of the wants were served, from the first; at least one.
        served: u32,
    },
    /// To a gateway: the event that comes next is to be counted. The answer is `Counted`.
    Count {
        /// Given back in the answer.
        ticket: Ticket,
        /// The sequence of the event.
        sequence: u64,
        /// The answer is of use within this time.
        within_millis: u32,
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
    /// Where the log ended between the question and this answer: all that was accepted before it was
    /// asked is at or below, and what is accepted from here on is above.
    Head {
        /// As in `AskHead`.
        number: u64,
        /// The end of the log.
        head: Position,
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
        /// How many gateways were told to count; as many `Counted` follow, at most.
        counting: u32,
        /// How many gateways could not be told, because they have lost their links.
        away: u32,
    },
    /// To a publisher: how its event fared at one of the gateways that were told to count.
    Counted {
        /// As in `Publish`.
        number: Number,
        /// How it fared.
        tally: Tally,
    },
    /// To a publisher: a `Publish` was not accepted.
    Refused {
        /// As in `Publish`.
        number: Number,
        /// Why.
        refusal: Refusal,
    },
    /// To a publisher: what became of a `Direct`.
    Answered {
        /// As in `Direct`.
        number: Number,
        /// What became of the event.
        outcome: Outcome,
    },
    /// The broker waits for its disk for longer than it should, or does not any more. Said when that
    /// changes, and after the welcome if it waits then.
    Disk {
        /// Whether it waits: pushes may not be answered in time.
        is_waiting: bool,
    },
    /// The broker ends the link, and why; the last frame, and the first where a hello was refused.
    Goodbye {
        /// A sentence for the log.
        reason: String,
    },
}

impl<C> ToBroker<C> {
    /// What a broker must have to understand this message; `None` if each has it. Ask
    /// [`Features::allow`](crate::hello::Features::allow) before a message is sent that needs
    /// something.
    pub fn needs(&self) -> Option<Feature> {
        match self {
            Self::Heartbeat
            | Self::Interest { .. }
            | Self::Attach { .. }
            | Self::Fetch { .. }
            | Self::Counted { .. }
            | Self::Delivered { .. }
            | Self::Publish { .. }
            | Self::Settled { .. }
            | Self::AskHead { .. }
            | Self::Direct { .. } => None,
        }
    }

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
            Self::Fetch { number, wants, max_bytes } => {
                ToBroker::Fetch { number, wants, max_bytes }
            }
            Self::Counted { ticket, tally } => ToBroker::Counted { ticket, tally },
            Self::Delivered { ticket, outcome } => ToBroker::Delivered { ticket, outcome },
            Self::Publish {
                number,
                unanswered,
                id,
                count_within_millis,
                audience,
                except,
                content,
            } => ToBroker::Publish {
                number,
                unanswered,
                id,
                count_within_millis,
                audience,
                except,
                content: replace(content)?,
            },
            Self::Settled { unanswered } => ToBroker::Settled { unanswered },
            Self::AskHead { number } => ToBroker::AskHead { number },
            Self::Direct { number, to, content } => {
                ToBroker::Direct { number, to, content: replace(content)? }
            }
        })
    }
}

impl<C> FromBroker<C> {
    /// As [`ToBroker::needs`], for the peer of a broker.
    pub fn needs(&self) -> Option<Feature> {
        match self {
            Self::Heartbeat
            | Self::Confirmed { .. }
            | Self::Attached { .. }
            | Self::Mark { .. }
            | Self::Past { .. }
            | Self::Fetched { .. }
            | Self::Count { .. }
            | Self::Event(_)
            | Self::Deliver { .. }
            | Self::Head { .. }
            | Self::Accepted { .. }
            | Self::Counted { .. }
            | Self::Refused { .. }
            | Self::Answered { .. }
            | Self::Disk { .. }
            | Self::Goodbye { .. } => None,
        }
    }

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
            Self::Attached { from, gap } => FromBroker::Attached { from, gap },
            Self::Mark { head } => FromBroker::Mark { head },
            Self::Past { audience, events, expired, complete_after } => {
                FromBroker::Past { audience, events, expired, complete_after }
            }
            Self::Fetched { number, served } => FromBroker::Fetched { number, served },
            Self::Count { ticket, sequence, within_millis } => {
                FromBroker::Count { ticket, sequence, within_millis }
            }
            Self::Event(Event { sequence, audience, except, content }) => {
                FromBroker::Event(Event { sequence, audience, except, content: replace(content)? })
            }
            Self::Head { number, head } => FromBroker::Head { number, head },
            Self::Deliver { ticket, to, content } => {
                FromBroker::Deliver { ticket, to, content: replace(content)? }
            }
            Self::Accepted { number, sequence, gateways, matched, counting, away } => {
                FromBroker::Accepted { number, sequence, gateways, matched, counting, away }
            }
            Self::Counted { number, tally } => FromBroker::Counted { number, tally },
            Self::Refused { number, refusal } => FromBroker::Refused { number, refusal },
            Self::Answered { number, outcome } => FromBroker::Answered { number, outcome },
            Self::Disk { is_waiting } => FromBroker::Disk { is_waiting },
            Self::Goodbye { reason } => FromBroker::Goodbye { reason },
        })
    }
}
