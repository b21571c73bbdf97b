//! What the messages of a link are made of.

use serde::{Deserialize, Deserializer, Serialize};

use super::MAX_WANTED_AUDIENCES;
use super::bounded::{Bound, list};
use crate::Audience;

/// A publisher's number for one of its requests. Numbers begin at 1, grow, and are unique in the life
/// of the publisher's process.
pub type Number = u64;

/// Identifies the publisher's request that a `Deliver` or `Count` belongs to. The gateway returns it
/// unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestTicket {
    /// The broker's own number for the publisher's link.
    pub link: u64,
    /// The publisher's number for its request.
    pub number: Number,
}

/// How many of a gateway's connections listen to an audience.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterestChange {
    /// What they listen to.
    pub audience: Audience,
    /// How many connections listen. `Some(0)` keeps the interest for clients that may come back soon;
    /// `None` withdraws it.
    pub connections: Option<u32>,
}

/// Asks for what clients have missed that come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The clients have seen everything up to this sequence.
    pub since: u64,
    /// The audiences that they listen to, each once.
    #[serde(deserialize_with = "audiences")]
    pub audiences: Vec<Audience>,
}

fn audiences<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Audience>, D::Error> {
    let bound: Bound<Audience> = ("audiences of wants", MAX_WANTED_AUDIENCES, |_| 1);
    list(deserializer, [bound])
}

/// What happened to an event for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectOutcome {
    /// Its last byte was passed to the kernel of the gateway's host.
    Written,
    /// No live worker of the cluster has this id.
    UnknownWorker,
    /// The worker has no such connection.
    UnknownConnection,
    /// The connection ended before the event was written.
    NotWritten,
    /// The worker's gateway has lost its link and may come back; the event was not sent to it.
    GatewayAway,
}

/// How many listened to the audience of an event when it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// How many gateways had connections that listened.
    pub gateways: u32,
    /// How many connections those were, as the gateways had reported them.
    pub connections: u64,
}

/// What happened to an event at one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many of the gateway's connections listened.
    pub matched: u64,
    /// To how many of those it was written: its last byte was passed to the kernel.
    pub written: u64,
    /// How many of those were closed because they read too slowly.
    pub too_slow: u64,
}

/// Why a stream of events cannot continue where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gap {
    /// The position belongs to another log, or is beyond the end of this one.
    EpochChanged,
    /// Events after the position are no longer kept.
    Expired,
}

/// Why the broker did not accept a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The table of idempotency keys is full until some of them are old enough.
    IdsFull,
    /// Another event was published under the same idempotency key.
    IdTaken,
    /// The publisher has too many publishes without an answer.
    TooManyUnanswered,
    /// The broker is shutting down.
    ShuttingDown,
}
