//! What became of one event.
//!
//! A publisher asks twice. The first question only has the position: the broker says whom the event was for,
//! and publishers whether they pushed it. The second question repeats whom it was for, and gateways answer
//! what became of it at their connections. If the broker does not keep the event any more, there is no second
//! question, but a gateway may have answered the first one, too: what became of the event at a connection is
//! sometimes the same for every audience. Times are microseconds since 1970, by the wall clock of the
//! process that answers.

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::{Address, Audience, ConnectionId, InstanceId, Position, UserName, WorkerId};

/// What a gateway has to know of an event to say what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedEvent {
    /// Who it was for.
    pub audience: Audience,
    /// The one connection of the audience that does not get it.
    pub except: Option<Address>,
}

/// A client whose connection has ended before it got an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedClient {
    /// The user that it was.
    pub user: Option<String>,
    /// Its address, which is compared if it was no user.
    pub address: Option<String>,
    /// Its connection; `None` if an earlier release asks.
    #[serde(default)]
    pub at: Option<Address>,
    /// When its connection was opened; 0 if an earlier release asks.
    #[serde(default)]
    pub opened: u64,
    /// When its connection ended.
    pub ended: u64,
    /// The event.
    pub position: Position,
}

/// What one process knows of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Traced {
    /// The broker.
    Broker(BrokerTrace),
    /// A gateway.
    Gateway(GatewayTrace),
    /// A publisher that has pushed it.
    Publisher(PublisherTrace),
    /// A gateway at which a client of the same name or address has continued.
    Continued(ContinuedClient),
}

impl From<Traced> for Answer {
    fn from(traced: Traced) -> Self {
        Self::Trace(Box::new(traced))
    }
}

/// What the broker knows of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerTrace {
    /// Where the log ends.
    pub head: Option<Position>,
    /// The sequence before that of the oldest event that is kept.
    pub tail: u64,
    /// The event; `None` if it is not kept.
    pub event: Option<LoggedEvent>,
    /// The processes that have links, with their addresses.
    pub links: Vec<(InstanceId, String)>,
    /// The gateways that have lost their links and may come back, at most
    /// [`MAX_LISTED_LINKS`](super::MAX_LISTED_LINKS).
    pub away: Vec<InstanceId>,
    /// How many more there are.
    pub away_left_out: u64,
    /// Whether the gateway of the connection that was asked for has no link now, and may come back.
    pub is_gateway_away: bool,
}

/// An event as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// Who it is for.
    pub traced: TracedEvent,
    /// The length of its content.
    pub bytes: u64,
    /// The user whose client published it.
    pub user: Option<UserName>,
    /// When the broker took it.
    pub accepted: Option<u64>,
    /// When the broker knew that it is on disk; `None` without a disk, and if that is not kept.
    pub stored: Option<u64>,
    /// When it was sent to gateways; `None` if that is not kept.
    pub released: Option<u64>,
    /// To how many gateways; `None` if that is not kept.
    #[serde(with = "or_most")]
    pub gateways: Option<u32>,
    /// How many connections listened, as gateways had reported; `None` if that is not kept.
    #[serde(with = "or_most")]
    pub matched: Option<u32>,
    /// The id that its publisher gave to it, as long as ids are remembered.
    pub id: Option<String>,
}

/// A number that may be missing, which is the largest one then. A release that does not know that takes the
/// event for one that gateways have not answered for yet.
mod or_most {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        number: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(number.unwrap_or(u32::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        u32::deserialize(deserializer).map(|number| Some(number).filter(|it| *it != u32::MAX))
    }
}

/// What a publisher knows of an event that it has pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublisherTrace {
    /// The name of the caller's key; `None` without one.
    pub key: Option<String>,
}

/// A connection that continued where another one has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinuedClient {
    /// The connection.
    pub at: Address,
    /// When it was opened.
    pub opened: u64,
    /// After which position it continued.
    pub since: Position,
    /// Whether it got what it had missed.
    pub is_recovered: bool,
}

/// What a gateway knows of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayTrace {
    /// The last position of the log that the gateway has seen.
    pub position: Option<Position>,
    /// Its workers.
    pub workers: Vec<WorkerId>,
    /// Whether it got the event; `None` if it no longer knows.
    pub sent: Option<bool>,
    /// When the batch came that the event was in; `None` if it got none, or no longer knows.
    pub received: Option<u64>,
    /// How many connections listened.
    pub listeners: u64,
    /// To how many of them it was written.
    pub written: u64,
    /// In how many outboxes it may still wait.
    pub waiting: u64,
    /// How many were closed with it waiting, because they read too slowly.
    pub closed_too_slow: u64,
    /// How many ended in another way with it waiting.
    pub closed_waiting: u64,
    /// What cannot be known.
    pub unknown: Option<String>,
    /// The connection that was asked for, if it is one of this gateway.
    pub connection: Option<ConnectionTrace>,
}

/// What became of an event at one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionTrace {
    /// A fixed word, such as `written`.
    pub reason: String,
    /// The same as a sentence.
    pub sentence: String,
    /// When that was, if it is known.
    pub at: Option<u64>,
    /// What else is known of the connection; `None` if nothing is.
    pub details: Option<ConnectionDetails>,
}

/// What a gateway knows of a connection that lives, or ended lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionDetails {
    /// Its user, if it has one.
    pub user: Option<String>,
    /// The client's address; of IPv6 the first half.
    pub address: Option<String>,
    /// How it is spoken to.
    pub dialect: String,
    /// Some of the groups that it listens to, or listened to when it ended.
    pub groups: Vec<String>,
    /// How many more there are.
    pub groups_left_out: u64,
    /// When it was opened.
    pub opened: Option<u64>,
    /// When it ended; `None` while it lives.
    pub ended: Option<u64>,
    /// The position after which it listens, or listened.
    pub first_position: Option<Position>,
    /// The last position up to which events were handed to it.
    pub last_position: Option<Position>,
    /// The close code; `None` while it lives, and if it ended without one.
    pub code: Option<u16>,
    /// How many bytes were written to it.
    pub sent_bytes: u64,
    /// How many bytes wait in its outbox, or waited when it ended.
    pub waiting_bytes: u64,
    /// How many of them are in front of the event, at most.
    pub behind_bytes: Option<u64>,
    /// The connection.
    pub connection: Option<ConnectionId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inquiry::{pack, unpack};

    #[test]
    fn counts_that_are_not_kept_are_the_largest_number() {
        /// The part of the struct that earlier releases read in another way.
        #[derive(Debug, PartialEq, Deserialize)]
        struct Earlier {
            gateways: u32,
            matched: u32,
        }

        let event = |gateways, matched| LoggedEvent {
            traced: TracedEvent { audience: Audience::Everyone, except: None },
            bytes: 0,
            user: None,
            accepted: None,
            stored: None,
            released: None,
            gateways,
            matched,
            id: None,
        };
        for (counts, gateways, matched) in
            [(event(Some(2), Some(7)), 2, 7), (event(None, None), u32::MAX, u32::MAX)]
        {
            let packed = pack(&counts).expect("small");
            assert_eq!(unpack::<LoggedEvent>(&packed), Some(counts));
            assert_eq!(unpack::<Earlier>(&packed), Some(Earlier { gateways, matched }));
        }
    }
}
