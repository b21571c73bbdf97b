//! What the log no longer has: the last dropped sequence of each audience. Pure.
//!
//! It tells a quiet group's old cursor, behind which nothing is lost, from one behind which events
//! were dropped. Bounded in entries: the oldest is evicted and raises the floor, below which every
//! cursor counts as too old.

use std::collections::{BTreeMap, HashMap};

use campanile_messages::Audience;

/// See the module.
#[derive(Debug)]
pub struct Trimmed {
    last: HashMap<Audience, u64>,
    by_sequence: BTreeMap<u64, Audience>,
    floor: u64,
    max_entries: usize,
}

impl Trimmed {
    /// Nothing was dropped yet above `floor`; at most `max_entries` audiences are told apart.
    pub fn new(floor: u64, max_entries: usize) -> Self {
        Self { last: HashMap::new(), by_sequence: BTreeMap::new(), floor, max_entries }
    }

    /// Notes that an event was dropped, and answers the audience that is no longer told apart.
    /// Sequences grow.
    pub fn note(&mut self, audience: Audience, sequence: u64) -> Option<Audience> {
        self.by_sequence.insert(sequence, audience.clone());
        if let Some(earlier) = self.last.insert(audience, sequence) {
            self.by_sequence.remove(&earlier);
        }
        if self.last.len() <= self.max_entries {
            return None;
        }
        let (sequence, evicted) = self.by_sequence.pop_first()?;
        self.last.remove(&evicted);
        self.floor = self.floor.max(sequence);
        Some(evicted)
    }

    /// Up to which sequence events of an audience may be lost: of a cursor that is not below it,
    /// nothing is.
    pub fn lost_up_to(&self, audience: &Audience) -> u64 {
        self.last.get(audience).copied().unwrap_or(self.floor)
    }

    /// Up to which sequence events of any audience may be lost that has no entry of its own.
    pub fn floor(&self) -> u64 {
        self.floor
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::GroupName;
    use proptest::prelude::*;

    use super::*;

    fn group(name: u8) -> Audience {
        Audience::Group(GroupName::new(name.to_string()).unwrap())
    }

    proptest! {
        /// The model: every event that was dropped. What is answered is never too low, and exact
        /// while the audiences fit.
        #[test]
        fn nothing_that_was_dropped_is_missed(dropped in prop::collection::vec(0u8..8, 0..60)) {
            let mut exact = Trimmed::new(3, 8);
            let mut small = Trimmed::new(3, 4);
            let mut model = HashMap::new();
            for (sequence, name) in (4..).zip(dropped) {
                prop_assert_eq!(exact.note(group(name), sequence), None);
                let evicted = small.note(group(name), sequence);
                prop_assert!(evicted.is_none_or(|audience| audience != group(name)));
                model.insert(name, sequence);
                prop_assert!(small.last.len() <= 4 && small.by_sequence.len() == small.last.len());
                for name in 0..8 {
                    let expected = model.get(&name).copied().unwrap_or(3);
                    prop_assert_eq!(exact.lost_up_to(&group(name)), expected);
                    prop_assert!(small.lost_up_to(&group(name)) >= expected);
                }
            }
        }
    }
}
