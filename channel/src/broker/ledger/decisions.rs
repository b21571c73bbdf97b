//! What the ledger decides about a block and its entries.

use campanile_messages::InstanceId;
use campanile_messages::link::Number;

use super::block::{Block, Push};

/// What applying a block came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Applied {
    pub verdict: Verdict,
    /// Who formed the block.
    pub producer: InstanceId,
    /// Its number, as its producer counts.
    pub number: u64,
    /// One item per entry, in order, if the block counts; otherwise nothing.
    pub decided: Vec<Decided>,
}

/// Whether a block counts. One that its producer forms anew is handed back.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Counts,
    /// It was formed for another epoch.
    OtherEpoch,
    /// It has been in the log before, or a later one of its producer.
    SecondCopy,
    /// It was formed too long ago, and other blocks came since.
    Stale(Block),
    /// It was formed before the place in the log where this ledger began, so what it repeats may not be known.
    TooEarly(Block),
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It is an event with this sequence.
    Accepted { sequence: u64, push: Push },
    /// It repeats an event.
    Repeat { publisher: InstanceId, number: Number, first: u64 },
    /// Its id belongs to another event.
    Taken { publisher: InstanceId, number: Number },
    /// It repeats a push whose answer its publisher already has, so nobody waits for this one.
    Settled { publisher: InstanceId, number: Number },
    /// All worker ids below this one are given out, or reserved for the producer.
    Workers { below: u64 },
}
