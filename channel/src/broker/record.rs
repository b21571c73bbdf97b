//! What the broker keeps of accepted events, in the form in which it goes to disk.

use std::time::Duration;

use campanile_messages::link::Number;
use campanile_messages::{Address, Audience, Content, InstanceId, UserName};

use super::repeat_key::RepeatKey;

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number. Each event has the number of the one before it plus one.
    pub sequence: u64,
    /// When it was accepted, by the broker's clock. Only used for its age; milliseconds are kept.
    pub at: Duration,
    /// Who it is for.
    pub audience: Audience,
    /// The one connection of the audience that does not get it.
    pub except: Option<Address>,
    /// What was pushed.
    pub content: Content,
    /// The user whose client published it; `None` for an event of a backend.
    pub from: Option<UserName>,
    /// The process that published it.
    pub publisher: InstanceId,
    /// The publisher's number for it.
    pub number: Number,
    /// How many gateways had connections that listen, according to the answer to its publisher.
    pub gateways: u32,
    /// How many connections those were, according to the same answer.
    pub matched: u64,
}

/// What is remembered about an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownId {
    /// The key that a repeat comes with.
    pub key: RepeatKey,
    /// The digest of the event that was accepted under it.
    pub digest: [u8; 16],
    /// When that was, by the broker's clock.
    pub at: Duration,
    /// The event's number.
    pub sequence: u64,
    /// As in [`Record`].
    pub gateways: u32,
    /// As in [`Record`].
    pub matched: u64,
}

/// What is dropped from the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trim {
    /// Events with a smaller sequence are no longer needed. It never goes back.
    pub below: u64,
    /// The last dropped sequence of each audience that lost events, oldest first.
    pub last: Vec<(Audience, u64)>,
    /// Audiences that were removed from `last` to make room. An audience in both counts as in `last`.
    pub evicted: Vec<Audience>,
    /// Audiences without a remembered sequence may have lost events up to this one.
    pub floor: u64,
}

/// A change on disk that is made as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// New events, in order.
    pub events: Vec<Record>,
    /// The idempotency keys of new events.
    pub ids: Vec<KnownId>,
    /// Keys that are old enough to be forgotten. `ids` takes precedence.
    pub forgotten_ids: Vec<RepeatKey>,
    /// What was dropped from the log.
    pub trim: Option<Trim>,
}

/// How much memory an entry of [`Changes`] takes in addition to its content and its names.
const ENTRY_BYTES: usize = 256;

impl Changes {
    /// Whether a client has published any of the new ones.
    pub fn are_of_clients(&self) -> bool {
        self.events.iter().any(|record| record.from.is_some())
            || self.ids.iter().any(|id| id.key.is_clients())
    }

    /// How much memory they hold, in bytes, as if nothing else shared the contents.
    pub fn held_bytes(&self) -> usize {
        let name_bytes = |audience: &Audience| ENTRY_BYTES + audience.name().len();
        let event = |record: &Record| {
            name_bytes(&record.audience)
                + record.from.as_deref().map_or(0, str::len)
                + record.content.as_bytes().len()
        };
        let trimmed = |trim: &Trim| {
            let last = trim.last.iter().map(|(audience, _)| name_bytes(audience));
            last.chain(trim.evicted.iter().map(name_bytes)).sum()
        };
        self.events.iter().map(event).sum::<usize>()
            + self.ids.iter().map(|id| ENTRY_BYTES + id.key.as_str().len()).sum::<usize>()
            + self.forgotten_ids.iter().map(|key| ENTRY_BYTES + key.as_str().len()).sum::<usize>()
            + self.trim.as_ref().map_or(0, trimmed)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.forgotten_ids.is_empty() && self.trim.is_none()
    }
}
