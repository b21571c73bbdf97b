//! What the broker keeps of what it has accepted, in the form in which it goes to disk.

use std::time::Duration;

use campanile_messages::link::Number;
use campanile_messages::{Address, Audience, Content, IdempotencyKey, InstanceId};

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number; numbers are dense.
    pub sequence: u64,
    /// When it was accepted, on the broker's clock; milliseconds are kept. For its age alone.
    pub at: Duration,
    /// Who it is for.
    pub audience: Audience,
    /// The one connection of the audience that does not get it.
    pub except: Option<Address>,
    /// What it says.
    pub content: Content,
    /// Who published it.
    pub publisher: InstanceId,
    /// Under which number.
    pub number: Number,
    /// What its publisher was answered: how many gateways had connections that listen.
    pub gateways: u32,
    /// What its publisher was answered: how many connections those were.
    pub matched: u64,
}

/// What is remembered of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownId {
    /// The key.
    pub key: IdempotencyKey,
    /// Of the event that was accepted under it.
    pub digest: [u8; 16],
    /// When that was, on the broker's clock.
    pub at: Duration,
    /// The event's number.
    pub sequence: u64,
    /// As in [`Record`].
    pub gateways: u32,
    /// As in [`Record`].
    pub matched: u64,
}

/// What is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trim {
    /// Events with a smaller sequence are no longer needed; never below an earlier one.
    pub below: u64,
    /// The last dropped sequence of audiences, oldest first.
    pub last: Vec<(Audience, u64)>,
    /// Audiences whose last dropped sequence is no longer remembered; if one is in `last` too, it is.
    pub evicted: Vec<Audience>,
    /// Up to which sequence events of audiences without a remembered one may be lost.
    pub floor: u64,
}

/// What changes on disk, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Accepted, each one after the last.
    pub events: Vec<Record>,
    /// Accepted with their events.
    pub ids: Vec<KnownId>,
    /// Old enough; if one is in `ids` too, it is remembered.
    pub forgotten_ids: Vec<IdempotencyKey>,
    /// Dropped from the log.
    pub trim: Option<Trim>,
}

/// What an entry of [`Changes`] costs in memory besides its content and its names.
const ENTRY_BYTES: usize = 256;

impl Changes {
    /// How much memory they hold, in bytes, as if nobody else held the contents.
    pub fn held_bytes(&self) -> usize {
        let name_bytes = |audience: &Audience| ENTRY_BYTES + audience.name().len();
        let event =
            |record: &Record| name_bytes(&record.audience) + record.content.as_bytes().len();
        let trimmed = |trim: &Trim| {
            let last = trim.last.iter().map(|(audience, _)| name_bytes(audience));
            last.chain(trim.evicted.iter().map(name_bytes)).sum()
        };
        self.events.iter().map(event).sum::<usize>()
            + self.ids.iter().map(|id| ENTRY_BYTES + id.key.len()).sum::<usize>()
            + self.forgotten_ids.iter().map(|key| ENTRY_BYTES + key.len()).sum::<usize>()
            + self.trim.as_ref().map_or(0, trimmed)
    }

    /// Nothing changes.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.forgotten_ids.is_empty() && self.trim.is_none()
    }
}
