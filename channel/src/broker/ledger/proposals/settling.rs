//! The news of publishers about their answers, on its way into the log.

use std::collections::BTreeMap;

use campanile_messages::InstanceId;
use campanile_messages::link::Number;

/// How many publishers' news go with one block, which takes less than a third of it. The rest waits.
const MAX_IN_BLOCK: usize = 1 << 14;

/// How many publishers' news may wait. More is dropped: the publisher says it again with its next push.
const MAX_WAITING: usize = 1 << 16;

/// The numbers below which publishers have all answers, if the log may not say so yet.
#[derive(Debug, Default)]
pub(super) struct Settling {
    waiting: BTreeMap<InstanceId, Number>,
    /// What goes with the block in flight, sorted.
    in_flight: Vec<(InstanceId, Number)>,
}

impl Settling {
    pub(super) fn note(&mut self, publisher: InstanceId, unanswered: Number) {
        if self.flying(publisher).is_some_and(|flying| unanswered <= flying) {
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&publisher) {
            *waiting = unanswered.max(*waiting);
        } else if self.waiting.len() < MAX_WAITING {
            self.waiting.insert(publisher, unanswered);
        }
    }

    pub(super) fn has_news(&self, publisher: InstanceId) -> bool {
        self.waiting.contains_key(&publisher) || self.flying(publisher).is_some()
    }

    /// How many go with the next block.
    pub(super) fn next_len(&self) -> usize {
        self.waiting.len().min(MAX_IN_BLOCK)
    }

    /// Returns what goes with the next block.
    pub(super) fn fly(&mut self) -> Vec<(InstanceId, Number)> {
        self.in_flight.clear();
        while self.in_flight.len() < MAX_IN_BLOCK
            && let Some(first) = self.waiting.pop_first()
        {
            self.in_flight.push(first);
        }
        self.in_flight.clone()
    }

    pub(super) fn landed(&mut self) {
        self.in_flight.clear();
    }

    /// The block does not count. What it said goes with the next one.
    pub(super) fn again(&mut self) {
        for (publisher, unanswered) in std::mem::take(&mut self.in_flight) {
            let waiting = self.waiting.entry(publisher).or_default();
            *waiting = unanswered.max(*waiting);
        }
    }

    fn flying(&self, publisher: InstanceId) -> Option<Number> {
        let place = self.in_flight.binary_search_by_key(&publisher, |(publisher, _)| *publisher);
        place.ok().map(|place| self.in_flight[place].1)
    }
}
