//! The numbers that publishers may still repeat, and below which they have all answers. Pure: times are milliseconds
//! of log time.
//!
//! Bounds are asked for at intake. What a block brings is always noted.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Included, Unbounded};

use campanile_messages::InstanceId;
use campanile_messages::link::Number;

use super::block::end_of;

/// How long a number is remembered if its publisher does not say that it has the answer, and a publisher after it was
/// last heard of. By then, every caller has got an answer long ago.
pub const REMEMBERED_MILLIS: u64 = 600_000;

/// How long a mark is kept after a higher one was there. Decisions use only those of the last minute.
const LOWER_MARK_MILLIS: u64 = 210_000;

/// The most numbers of one publisher. One more is refused until the publisher says that it has answers.
pub const MAX_UNANSWERED: usize = 1 << 16;

/// The most numbers of all publishers. When there are more, a publisher that has its share is refused more.
pub const MAX_NUMBERS: usize = 1 << 20;

/// How many numbers a publisher may always have, however many others have.
pub const SHARE: usize = 1 << 10;

/// The most publishers. When there are more, unknown ones are refused.
pub const MAX_PUBLISHERS: usize = 1 << 14;

/// The most publishers that are looked at with a block, which takes some 50 microseconds.
const MAX_SWEPT: usize = 1 << 10;

/// The most numbers that are forgotten with a block because of their age, but for those of the last publisher.
const MAX_EXPIRED: usize = 1 << 14;

/// How often all publishers are looked at.
const SWEEP_MILLIS: u64 = 1_000;

/// What is known about a publisher's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownNumber {
    New,
    /// Its publisher has the answer.
    Settled,
    /// Its event was accepted, with this sequence.
    Accepted(u64),
}

/// All publishers and their numbers.
#[derive(Debug, Default)]
pub struct Numbers {
    by_publisher: BTreeMap<InstanceId, Publisher>,
    /// How many numbers there are.
    accepted: usize,
    /// The last publisher that was looked at; `None` if all were.
    swept: Option<InstanceId>,
    /// When looking at all publishers began.
    sweep_millis: u64,
    /// While set, numbers that were accepted up to this sequence go to `held` when they are forgotten.
    hold: Option<u64>,
    held: Vec<(InstanceId, AcceptedNumber)>,
}

#[derive(Debug, Default)]
struct Publisher {
    /// Sorted by number, then by sequence. A number is there twice only if a producer did not know it and should have.
    numbers: VecDeque<AcceptedNumber>,
    /// Sorted by block. Each is below the one before it: the others say nothing that a later one does not say.
    marks: VecDeque<SettledMark>,
    heard_millis: u64,
}

/// A number that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcceptedNumber {
    pub number: Number,
    pub sequence: u64,
    pub at_millis: u64,
}

/// A number below which a publisher has all answers, as a block said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledMark {
    pub unanswered: Number,
    pub block: u64,
    pub at_millis: u64,
}

impl Numbers {
    /// What was noted about a number above a sequence.
    pub fn look_up(&self, publisher: InstanceId, number: Number, above: u64) -> KnownNumber {
        let Some(publisher) = self.by_publisher.get(&publisher) else {
            return KnownNumber::New;
        };
        if number < publisher.settled_below(above) {
            return KnownNumber::Settled;
        }
        match publisher.last_acceptance(number) {
            Some(sequence) if sequence > above => KnownNumber::Accepted(sequence),
            _ => KnownNumber::New,
        }
    }

    /// The highest mark of a publisher that was noted above a sequence, or 0.
    pub fn settled_below(&self, publisher: InstanceId, above: u64) -> Number {
        self.by_publisher.get(&publisher).map_or(0, |publisher| publisher.settled_below(above))
    }

    /// Notes that the push of a number was accepted. Sequences and times never go back.
    pub fn accept(&mut self, publisher: InstanceId, number: Number, sequence: u64, now: u64) {
        let publisher = self.by_publisher.entry(publisher).or_default();
        publisher.heard_millis = publisher.heard_millis.max(now);
        publisher.add(AcceptedNumber { number, sequence, at_millis: now });
        self.accepted += 1;
    }

    /// Notes that a publisher has the answers to all pushes below a number.
    pub fn settle(&mut self, publisher: InstanceId, unanswered: Number, block: u64, now: u64) {
        let entry = self.by_publisher.entry(publisher).or_default();
        entry.heard_millis = now;
        entry.mark(SettledMark { unanswered, block, at_millis: now });
        while let Some(first) = entry.numbers.pop_front_if(|first| first.number < unanswered) {
            self.accepted -= 1;
            if self.hold.is_some_and(|up_to| first.sequence <= up_to) {
                self.held.push((publisher, first));
            }
        }
        entry.shrink();
    }

    /// Whether there is room for another number of a publisher.
    pub fn room_for(&self, publisher: InstanceId) -> bool {
        let Some(publisher) = self.by_publisher.get(&publisher) else {
            return self.by_publisher.len() < MAX_PUBLISHERS;
        };
        let share = if self.accepted < MAX_NUMBERS { MAX_UNANSWERED } else { SHARE };
        publisher.numbers.len() < share
    }

    /// Whether there are no numbers.
    pub fn is_empty(&self) -> bool {
        self.accepted == 0
    }

    /// Time has passed. Forgets what is old enough, a part of it in each turn.
    pub fn pass(&mut self, now: u64) {
        if self.swept.is_none() {
            if now.saturating_sub(self.sweep_millis) < SWEEP_MILLIS {
                return;
            }
            self.sweep_millis = now;
        }
        let after = self.swept.map_or(Unbounded, Excluded);
        let is_old = |at_millis: u64| now.saturating_sub(at_millis) >= REMEMBERED_MILLIS;
        let (mut looked_at, mut expired, mut gone) = (0, 0, Vec::new());
        self.swept = None;
        for (id, publisher) in self.by_publisher.range_mut((after, Unbounded)) {
            while let Some(first) = publisher.numbers.pop_front_if(|first| is_old(first.at_millis))
            {
                expired += 1;
                if self.hold.is_some_and(|up_to| first.sequence <= up_to) {
                    self.held.push((*id, first));
                }
            }
            publisher.forget_marks(now);
            publisher.shrink();
            if publisher.numbers.is_empty() && is_old(publisher.heard_millis) {
                gone.push(*id);
            }
            looked_at += 1;
            if looked_at >= MAX_SWEPT || expired >= MAX_EXPIRED {
                self.swept = Some(*id);
                break;
            }
        }
        self.accepted -= expired;
        for id in gone {
            self.by_publisher.remove(&id);
        }
    }
}

/// For snapshots.
impl Numbers {
    /// Holds numbers that were accepted up to a sequence when they are forgotten.
    pub fn hold(&mut self, up_to: u64) {
        self.hold = Some(up_to);
        self.held = Vec::new();
    }

    /// Holds numbers no longer.
    pub fn release(&mut self) {
        if self.hold.take().is_some() {
            self.held = Vec::new();
        }
    }

    /// The numbers that are held.
    pub fn held(&self) -> &[(InstanceId, AcceptedNumber)] {
        &self.held
    }

    /// All publishers, when they were last heard of, and their marks.
    pub fn publishers(&self) -> impl Iterator<Item = (InstanceId, u64, &VecDeque<SettledMark>)> {
        let publishers = self.by_publisher.iter();
        publishers.map(|(id, publisher)| (*id, publisher.heard_millis, &publisher.marks))
    }

    /// All numbers behind one, by publisher and number.
    pub fn after(
        &self,
        last: Option<(InstanceId, AcceptedNumber)>,
    ) -> impl Iterator<Item = (InstanceId, AcceptedNumber)> {
        let publishers =
            self.by_publisher.range((last.map_or(Unbounded, |(id, _)| Included(id)), Unbounded));
        publishers.flat_map(move |(id, publisher)| {
            let of_last = last.filter(|(last, _)| last == id);
            let from = of_last
                .map_or(0, |(_, last)| publisher.numbers.partition_point(|number| *number <= last));
            publisher.numbers.range(from..).map(|number| (*id, *number))
        })
    }

    /// Adds a publisher that an earlier ledger knew.
    pub fn recover(&mut self, publisher: InstanceId, heard_millis: u64) {
        self.by_publisher.entry(publisher).or_default().heard_millis = heard_millis;
    }

    /// Adds a mark of such a publisher.
    pub fn recover_mark(&mut self, publisher: InstanceId, mark: SettledMark) {
        self.by_publisher.entry(publisher).or_default().mark(mark);
    }
}

impl Publisher {
    fn settled_below(&self, above: u64) -> Number {
        let mark = self.marks.iter().find(|mark| end_of(mark.block) > above);
        mark.map_or(0, |mark| mark.unanswered)
    }

    fn last_acceptance(&self, number: Number) -> Option<u64> {
        let last = self.numbers.back()?;
        if last.number < number {
            return None;
        }
        let end = self.numbers.partition_point(|known| known.number <= number);
        let known = self.numbers.get(end.checked_sub(1)?)?;
        (known.number == number).then_some(known.sequence)
    }

    fn add(&mut self, accepted: AcceptedNumber) {
        let is_before = |known: &AcceptedNumber| {
            (known.number, known.sequence) < (accepted.number, accepted.sequence)
        };
        if self.numbers.back().is_none_or(is_before) {
            self.numbers.push_back(accepted);
        } else {
            let place = self.numbers.partition_point(is_before);
            self.numbers.insert(place, accepted);
        }
    }

    fn mark(&mut self, mark: SettledMark) {
        while self.marks.pop_back_if(|last| last.unanswered <= mark.unanswered).is_some() {}
        // A lower mark of the same block says nothing.
        if self.marks.back().is_none_or(|last| last.block < mark.block) {
            self.marks.push_back(mark);
        }
        self.forget_marks(mark.at_millis);
    }

    /// Forgets marks that are neither the highest nor young.
    fn forget_marks(&mut self, now: u64) {
        let is_old = |mark: &SettledMark| now.saturating_sub(mark.at_millis) >= LOWER_MARK_MILLIS;
        while self.marks.get(1).is_some_and(is_old) {
            self.marks.remove(1);
        }
    }

    fn shrink(&mut self) {
        if self.numbers.capacity() > 16 * self.numbers.len().max(8) {
            self.numbers.shrink_to(2 * self.numbers.len());
        }
    }
}

#[cfg(test)]
mod tests;
