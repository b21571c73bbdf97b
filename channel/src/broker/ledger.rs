//! The ledger: what follows from the blocks of the log, and nothing else. Pure and deterministic: no clock, no
//! settings, no local state. Two brokers that apply the same blocks decide alike.
//!
//! ```text
//! publishers' links ──▶ Proposals ──form──▶ Block ──append──▶ journal ──▶ Ledger::apply ──▶ Decided
//! ```
//!
//! Each push is checked three times. The look-up on arrival only saves work, the second one keeps known pushes
//! out of the next block, and the decision is made when that block is applied.
//!
//! Brokers start at different places of the log, and forget in turns, so they do not all know the same. They decide
//! alike because a decision uses only what blocks above the `seen` of its own block brought: its producer looked up
//! everything else. A block whose `seen` is too old to be sure of that is stale or too early, and nothing of it counts.

pub mod block;
pub mod decisions;
pub mod digest;
pub mod ids;
pub mod numbers;
pub mod producers;
pub mod proposals;
pub mod snapshot;

#[cfg(test)]
mod tests;

use std::time::Duration;

use campanile_messages::InstanceId;
use campanile_messages::link::Number;

use self::block::{Block, Entry, MAX_ENTRIES, Push, Seen, end_of, sequence};
use self::decisions::{Applied, Decided, Verdict};
use self::digest::Digest;
use self::ids::{IdCount, Ids, KnownKey};
use self::numbers::{KnownNumber, Numbers};
use self::producers::Producers;
use self::snapshot::Hold;
use crate::broker::repeat_key::RepeatKey;

/// How long a producer may take from forming a block to its place in the log, if other blocks come between, in
/// milliseconds. Less than any table remembers.
const STALE_MILLIS: u64 = 60_000;

/// What is known from the blocks of the log.
#[derive(Debug)]
pub struct Ledger {
    epoch: u64,
    /// It decides like other ledgers about blocks that have seen this block.
    start: u64,
    /// The last block that was applied. Its time is the log time.
    last: Seen,
    ids: Ids,
    numbers: Numbers,
    producers: Producers,
    /// All worker ids below this one are given out or reserved.
    next_worker: u64,
    /// The snapshot that is being made.
    hold: Hold,
}

impl Ledger {
    /// A ledger that knows nothing of the blocks up to `after`; 0 means that there are none.
    pub fn new(epoch: u64, after: u64) -> Self {
        Self {
            epoch,
            start: after,
            last: Seen { block: after, ..Seen::default() },
            ids: Ids::default(),
            numbers: Numbers::default(),
            producers: Producers::default(),
            next_worker: 0,
            hold: Hold::default(),
        }
    }

    /// Applies the next block of the log. Its `number` is above that of the last one. `at` is its time as the journal
    /// says, which counts as not before that of the last one; `print` is its hash where logs can diverge.
    pub fn apply(&mut self, number: u64, at: Duration, print: u64, block: Block) -> Applied {
        debug_assert!(number > self.last.block, "{number} is not above {}", self.last.block);
        let (producer, its_number, entries) = (block.producer, block.number, block.entries.len());
        let before = self.last.block;
        self.last = Seen { block: number, at: at.max(self.last.at), print };
        let now = millis(self.last.at);
        let (verdict, decided) = self.judge(before, block, now);
        if !self.hold.is_held() {
            self.ids.is_held = false;
            self.numbers.release();
        }
        self.ids.pass(now, entries);
        self.numbers.pass(now);
        self.producers.pass(now);
        Applied { verdict, producer, number: its_number, decided }
    }

    /// What is known about a publisher's number.
    pub fn known_number(&self, publisher: InstanceId, number: Number) -> KnownNumber {
        self.numbers.look_up(publisher, number, 0)
    }

    /// The number below which every push of a publisher has its answer, or 0.
    pub fn settled_below(&self, publisher: InstanceId) -> Number {
        self.numbers.settled_below(publisher, 0)
    }

    /// What is known about a key, at a time that is not before the last block's, for a push with this digest.
    pub fn known_id(&self, key: &RepeatKey, digest: Digest, now: Duration) -> KnownKey {
        self.ids.answer(key, digest, millis(now))
    }

    /// The key under which an event was accepted, while that is remembered.
    pub fn key_of(&self, sequence: u64) -> Option<&RepeatKey> {
        self.ids.key_of(sequence)
    }

    /// How many keys are answered for, at the time of the last block.
    pub fn answering_ids(&self) -> IdCount {
        self.ids.answering()
    }

    /// Whether there is room for another number of this publisher. Blocks are applied even without room.
    pub fn room_for(&self, publisher: InstanceId) -> bool {
        self.numbers.room_for(publisher)
    }

    /// The last block that was applied.
    pub fn seen(&self) -> Seen {
        self.last
    }

    /// The end of the last block that was applied.
    pub fn head(&self) -> u64 {
        end_of(self.last.block)
    }

    /// The epoch of the log.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The least worker id that was never given out.
    pub fn next_worker(&self) -> u64 {
        self.next_worker
    }

    /// Whether there is anything that a passing of time makes it forget, so that time should pass.
    pub fn remembers(&self) -> bool {
        !self.ids.is_empty() || !self.numbers.is_empty()
    }

    /// The block from which on it knows everything: it decides like other ledgers about blocks whose `seen` is not
    /// below. Rises with each block that is too early.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// A new epoch begins after a block. Ids, numbers and producers belong to the old one and are forgotten; worker
    /// ids stay given out, and time goes on.
    pub fn begin_epoch(&mut self, epoch: u64, after: u64) {
        let (at, next_worker) = (self.last.at, self.next_worker);
        let last = Seen { block: after, at, print: 0 };
        *self = Self { last, next_worker, ..Self::new(epoch, after) };
    }

    /// Decides what a block counts for. `before` is the block before it.
    fn judge(&mut self, before: u64, block: Block, now: u64) -> (Verdict, Vec<Decided>) {
        if block.epoch != self.epoch {
            return (Verdict::OtherEpoch, Vec::new());
        }
        if !self.producers.note(block.producer, block.number, now) {
            return (Verdict::SecondCopy, Vec::new());
        }
        let seen = block.seen;
        if seen.block != before && now.saturating_sub(millis(seen.at)) > STALE_MILLIS {
            return (Verdict::Stale(block), Vec::new());
        }
        if seen.block < self.start {
            self.start = self.last.block;
            return (Verdict::TooEarly(block), Vec::new());
        }
        for (publisher, unanswered) in block.settled {
            self.numbers.settle(publisher, unanswered, self.last.block, now);
        }
        // A block sees its own entries, whatever it says that it has seen.
        let above = end_of(seen.block.min(before));
        debug_assert!(block.entries.len() <= MAX_ENTRIES);
        let number = self.last.block;
        let places = (1..=u16::MAX).map(|place| sequence(number, place));
        let decided = places.zip(block.entries);
        let decided = decided.map(|(sequence, entry)| match entry {
            Entry::Push(push) => self.decide(sequence, push, above, now),
            Entry::Workers { below } => {
                self.next_worker = self.next_worker.max(below);
                Decided::Workers { below }
            }
        });
        (Verdict::Counts, decided.collect())
    }

    /// Decides about a push, from what was noted above a sequence.
    fn decide(&mut self, sequence: u64, push: Push, above: u64, now: u64) -> Decided {
        let (publisher, number) = (push.publisher, push.number);
        match self.numbers.look_up(publisher, number, above) {
            KnownNumber::New => {}
            KnownNumber::Settled => return Decided::Settled { publisher, number },
            KnownNumber::Accepted(first) => return Decided::Repeat { publisher, number, first },
        }
        if let Some((key, digest)) = &push.id {
            match self.ids.look_up(key, *digest, above) {
                KnownKey::New => {}
                KnownKey::Taken => return Decided::Taken { publisher, number },
                KnownKey::Accepted(first) => return Decided::Repeat { publisher, number, first },
            }
            self.ids.accept(key.clone(), *digest, sequence, now);
        }
        self.numbers.accept(publisher, number, sequence, now);
        Decided::Accepted { sequence, push }
    }
}

/// Log time as the tables have it.
fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}
