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
//!                                     │     what returning clients have missed:
//!   Fetch{1, [since 7, group a]} ───▶ │
//!   ◀── Past{group a, 2}, Event*2     │
//!   ◀─────────────── Fetched{1, 1}    │     how an event fared, if a publisher asks:
//!   ◀─ Count{ticket, 9}, Event{9, ..} │ ◀── Publish{2, .., count}
//!   Counted{ticket, tally} ─────────▶ │     Accepted{2, ..}, Counted{2, tally} ──▶
//!                                     │ ◀── Direct{3, worker 0 / connection 7, "psst"}
//!   ◀── Deliver{ticket, connection 7} │
//!   Delivered{ticket, Written} ─────▶ │     Answered{3, Written} ───────▶
//! ```
//!
//! [`hello`](crate::hello) describes how a link begins and how this protocol may change. A message
//! that not every release knows belongs to a feature: see [`ToBroker::needs`].
//!
//! Gateways and publishers ask where the log ends with `AskHead{number}`; the answer is
//! `Head{number, position}`. What operators want to know is asked by publishers, and passed on by the broker
//! (see [`inquiry`](crate::inquiry)):
//!
//! ```text
//!   ◀────────── Asked{ticket, question} │ ◀── Ask{4, Gateways, question}
//!                                       │     Asking{4, [instance], the broker's own answer} ──▶
//!   Told{ticket, answer} ─────────────▶ │     Told{4, instance, answer} ──▶
//! ```
//!
//! Where a push belongs to a trace, its publisher sends `Traced{number, context}` right before the
//! `Publish`, and the broker sends `Traced{sequence, context}` right before the `Event`.
//!
//! Both sides send `Heartbeat` when they have nothing else to say. A side that hears nothing for too
//! long ends the link. Messages that carry content are generic over it: `C` is [`Content`] in a
//! program, and [`ContentKind`](crate::ContentKind) in the head of a frame.

mod accepted;
mod bounded;
mod contents;
mod greeting;
mod needs;
mod parts;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    Address, Audience, Content, Event, IdempotencyKey, InstanceId, Position, TraceContext,
    UserName, WorkerId,
};

use bounded::{Bound, list};
pub use greeting::{
    Durability, Hello, InvalidLogId, LogId, LogIdentity, LogKind, MAX_LOG_ID_BYTES, Role, Welcome,
};
pub use parts::{
    DirectOutcome, Gap, InterestChange, Matched, Number, Refusal, RequestTicket, Tally, Want,
};

/// The most changes of one `Interest`: at most 2.6 MB of names.
pub const MAX_CHANGES: usize = 10_000;

/// The most wants of one `Fetch`.
pub const MAX_WANTS: usize = 1_000;

/// The most audiences that the wants of one `Fetch` have together. One client of a gateway may listen to
/// 10,000 groups, to a user and to everyone.
pub const MAX_WANTED_AUDIENCES: usize = 16_384;

/// The most processes that one `Ask` may reach.
pub const MAX_ASKED: usize = 16_384;

fn instances<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<InstanceId>, D::Error> {
    let bound: Bound<InstanceId> = ("instances", MAX_ASKED, |_| 1);
    list(deserializer, [bound])
}

fn changes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<InterestChange>, D::Error> {
    let bound: Bound<InterestChange> = ("changes", MAX_CHANGES, |_| 1);
    list(deserializer, [bound])
}

fn wants<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Want>, D::Error> {
    let bounds: [Bound<Want>; 2] = [
        ("wants", MAX_WANTS, |_| 1),
        ("audiences of wants", MAX_WANTED_AUDIENCES, |want| want.audiences.len()),
    ];
    list(deserializer, bounds)
}

/// What gateways and publishers say after their hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBroker<C = Content> {
    /// The link is alive, and there is nothing else to say.
    Heartbeat,
    /// From a gateway: what its connections listen to has changed. The answer is `Confirmed` with the
    /// same revision.
    Interest {
        /// The gateway's number for this state of its interest. Revisions grow.
        revision: u64,
        /// At most one per audience, and at most [`MAX_CHANGES`].
        #[serde(deserialize_with = "changes")]
        changes: Vec<InterestChange>,
    },
    /// From a gateway: its interest is complete on this link. The broker answers `Attached`, then sends
    /// what the gateway missed since its cursor. Until then the link receives no event.
    Attach {
        /// The last position that the gateway has seen on any link; `None` the first time.
        cursor: Option<Position>,
    },
    /// From a gateway: asks for kept events of audiences in which it has reported its interest on this
    /// link, whether that is confirmed yet or not. The answer is a `Past` for each audience of the wants
    /// that are served, and then `Fetched`.
    Fetch {
        /// Returned in the answer.
        number: u64,
        /// What clients have missed: at most [`MAX_WANTS`], of [`MAX_WANTED_AUDIENCES`] together. Wants
        /// are served in this order.
        #[serde(deserialize_with = "wants")]
        wants: Vec<Want>,
        /// How many bytes of events the gateway can use for one want, where each event counts 64 bytes
        /// more than its content. The newest events are sent, up to and including the first one that
        /// exceeds this bound, and always at least one. As soon as everything that was sent exceeds
        /// the bound, or the broker has looked at very many events, no further wants are served.
        max_bytes: u64,
    },
    /// From a gateway: the answer to a `Count`.
    Counted {
        /// The ticket of the `Count`.
        ticket: RequestTicket,
        /// What has happened to the event so far.
        tally: Tally,
    },
    /// From a gateway: the answer to a `Deliver`.
    Delivered {
        /// The ticket of the `Deliver`.
        ticket: RequestTicket,
        /// What happened to the event.
        outcome: DirectOutcome,
    },
    /// From a publisher: an event for an audience. If it is sent again under the same number, on any
    /// link to a log of the same epoch, it is accepted once and answered again.
    Publish {
        /// Returned in the answer.
        number: Number,
        /// Every number below this one has its answer, or nobody waits for the answer any more.
        unanswered: Number,
        /// A repeat under the same key, by any publisher, is accepted once. The keys of each user's clients
        /// are apart from those of other users and of backends.
        id: Option<IdempotencyKey>,
        /// Gateways shall count what they write within this time; `None`: nobody asks for that.
        count_within_millis: Option<u32>,
        /// Who the event is for.
        audience: Audience,
        /// The one connection of the audience that does not get it. A repeat names the same one, except for
        /// that of a user's client, which may have a new connection.
        except: Option<Address>,
        /// The content of the event.
        content: C,
        /// The user whose client publishes the event; `None` for a backend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<UserName>,
    },
    /// From a publisher: says that numbers are answered when no `Publish` has said so for a while, so
    /// that the broker can forget them.
    Settled {
        /// As in `Publish`.
        unanswered: Number,
    },
    /// Asks where the log ends. The answer is `Head` with the same number.
    AskHead {
        /// Returned in the answer.
        number: u64,
    },
    /// From a publisher: an event for one connection.
    Direct {
        /// Returned in the answer.
        number: Number,
        /// The connection.
        to: Address,
        /// The content of the event.
        content: C,
    },
    /// From a publisher: the `Publish` that comes next belongs to this trace, if it has this number.
    Traced {
        /// As in `Publish`.
        number: Number,
        /// The span of the publisher.
        context: TraceContext,
    },
    /// From a publisher: a question of an operator. The answer is `Asking`, and then a `Told` from each
    /// process that answers.
    Ask {
        /// Returned in the answers.
        number: Number,
        /// Who is asked besides the broker.
        to: Asked,
        /// A packed [`Question`](crate::inquiry::Question).
        content: C,
    },
    /// From a gateway or publisher: the answer to an `Asked`.
    Told {
        /// The ticket of the `Asked`.
        ticket: RequestTicket,
        /// A packed [`Answer`](crate::inquiry::Answer).
        content: C,
    },
}

/// Who is asked besides the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// Every gateway and every publisher.
    Everybody,
    /// Every gateway.
    Gateways,
    /// The gateway that has this worker.
    Worker(WorkerId),
}

/// What the broker says after its welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromBroker<C = Content> {
    /// The link is alive, and there is nothing else to say.
    Heartbeat,
    /// To a gateway: from here on, its interest up to this revision is taken into account. Never sent
    /// before `Attached`.
    Confirmed {
        /// As in `Interest`.
        revision: u64,
        /// Where the log ended at this moment: every event up to there that the gateway wanted is
        /// before this message.
        head: u64,
    },
    /// To a gateway: its stream of events begins, first with what it missed.
    Attached {
        /// Where the stream begins: at the gateway's cursor, if it had one and nothing is lost.
        from: Position,
        /// Why events that the gateway wanted may be lost between its cursor and `from`; `None` if
        /// none are.
        gap: Option<Gap>,
    },
    /// To a gateway: the log ends here now. Every event that the gateway wanted is before this message.
    Mark {
        /// The last sequence of the log.
        head: u64,
    },
    /// To a gateway: the next `events` events are old ones that a `Fetch` asked for.
    Past {
        /// The audience that all of them are for.
        audience: Audience,
        /// How many events follow, oldest first.
        events: u32,
        /// Events of the audience up to this sequence may be lost.
        expired: u64,
        /// The gateway then has every event of the audience above this sequence, if it has also kept
        /// what came earlier in this answer. Never below `expired`.
        complete_after: u64,
    },
    /// To a gateway: the answer to a `Fetch` is complete.
    Fetched {
        /// As in `Fetch`.
        number: u64,
        /// How many of the wants were served, counted from the first; at least one.
        served: u32,
    },
    /// To a gateway: it shall count the event that comes next. The answer is `Counted`.
    Count {
        /// Returned in the answer.
        ticket: RequestTicket,
        /// The sequence of the event.
        sequence: u64,
        /// After this time nobody waits for the answer any more.
        within_millis: u32,
    },
    /// To a gateway: the event that comes next belongs to this trace, if it has this sequence.
    Traced {
        /// The sequence of the event.
        sequence: u64,
        /// The span of the publisher.
        context: TraceContext,
    },
    /// To a gateway: what the time of day was when the event that comes next was queued for this link. Before
    /// one event in 10 ms, if there are that many.
    Stamp {
        /// The time of the broker's host since 1970, in microseconds.
        unix_micros: u64,
    },
    /// To a gateway: an event that some of its connections listen to.
    Event(Event<C>),
    /// To a gateway: an event for one of its connections. The answer is `Delivered`.
    Deliver {
        /// Returned in the answer.
        ticket: RequestTicket,
        /// The connection.
        to: Address,
        /// The content of the event.
        content: C,
    },
    /// Where the log ended at some moment between question and answer. Everything that was accepted
    /// before the question is at or below it; everything that is accepted after the answer is above it.
    Head {
        /// As in `AskHead`.
        number: u64,
        /// The end of the log.
        head: Position,
    },
    /// To a publisher: a `Publish` was accepted.
    #[serde(with = "accepted")]
    Accepted {
        /// As in `Publish`.
        number: Number,
        /// The event's sequence in the log.
        sequence: u64,
        /// How many listened; `None` of a repeat, if the broker does not know that any more.
        matched: Option<Matched>,
        /// How many gateways count the event. At most as many `Counted` follow. 0 without `matched`.
        counting: u32,
        /// How many gateways cannot count it because they have lost their links. 0 without `matched`.
        away: u32,
    },
    /// To a publisher: what happened to its event at one of the gateways that count it.
    Counted {
        /// As in `Publish`.
        number: Number,
        /// The gateway's numbers.
        tally: Tally,
    },
    /// To a publisher: a `Publish` was not accepted.
    Refused {
        /// As in `Publish`.
        number: Number,
        /// The reason.
        refusal: Refusal,
    },
    /// To a publisher: the answer to a `Direct`.
    Answered {
        /// As in `Direct`.
        number: Number,
        /// What happened to the event.
        outcome: DirectOutcome,
    },
    /// To a gateway or publisher: a question of an operator. The answer is `Told`.
    Asked {
        /// Returned in the answer.
        ticket: RequestTicket,
        /// A packed [`Question`](crate::inquiry::Question).
        content: C,
    },
    /// To a publisher: an `Ask` was passed on.
    Asking {
        /// As in `Ask`.
        number: Number,
        /// The processes that were asked: of each, one answer may come.
        #[serde(deserialize_with = "instances")]
        instances: Vec<InstanceId>,
        /// The broker's own answer: a packed [`Answer`](crate::inquiry::Answer).
        content: C,
    },
    /// To a publisher: what one process answers to an `Ask`.
    Told {
        /// As in `Ask`.
        number: Number,
        /// The process.
        instance: InstanceId,
        /// A packed [`Answer`](crate::inquiry::Answer).
        content: C,
    },
    /// The broker has been waiting for its disk for too long, or no longer is. Sent when that changes,
    /// and after the welcome if the broker waits at that moment.
    Disk {
        /// While the broker waits, pushes may not be answered in time.
        is_waiting: bool,
    },
    /// The broker ends the link. The last frame.
    Goodbye {
        /// A sentence for the log.
        reason: String,
    },
}
