//! What the log no longer has: the last dropped sequence of each audience. Pure.
//!
//! So an old cursor of a quiet group, after which nothing was lost, can be told from one after which
//! events were dropped. The number of entries is bounded: when there are too many, the oldest one is
//! evicted and raises the floor, and every cursor below the floor counts as too old.

use std::collections::{BTreeMap, HashMap};

use campanile_messages::Audience;

/// The last dropped sequences.
#[derive(Debug)]
pub struct Trimmed {
    last: HashMap<Audience, u64>,
    by_sequence: BTreeMap<u64, Audience>,
    floor: u64,
    max_entries: usize,
}

impl Trimmed {
    /// Nothing was dropped above `floor` yet. At most `max_entries` audiences have entries of their own.
    pub fn new(floor: u64, max_entries: usize) -> Self {
        Self { last: HashMap::new(), by_sequence: BTreeMap::new(), floor, max_entries }
    }

    /// Notes that an event was dropped, and returns the audience whose entry was evicted. Sequences must
    /// grow.
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

    /// The sequence up to which events of an audience may be lost. A cursor at or above it has lost
    /// nothing.
    pub fn lost_up_to(&self, audience: &Audience) -> u64 {
        self.last.get(audience).copied().unwrap_or(self.floor)
    }

    /// The sequence up to which events of audiences without an entry may be lost.
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
        /// The model is every event that was dropped. No result is too low, and all are exact as long as
        /// the audiences fit.
        #[test]
        fn no_dropped_event_is_missed(dropped in prop::collection::vec(0u8..8, 0..60)) {
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
