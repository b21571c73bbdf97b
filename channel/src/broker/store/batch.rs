//! What a group of changes does to the rows. Pure.
//!
//! All rows of a batch have the same age for the engine, so each key may occur only once in it. If
//! several changes concern the same key, the last one wins here.
//!
//! The rows of trimmed events are not removed one by one. The state says where the kept ones begin, rows
//! below that are never read, and the engine drops whole tables of them.

use std::collections::BTreeMap;

use super::rows::{self, StoreState};
use crate::broker::record::Changes;

/// A change of one row.
#[derive(Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds a row or replaces its value.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a row.
    Remove(Vec<u8>),
}

impl Edit {
    /// How many bytes its row has.
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Put(key, value) => key.len() + value.len(),
            Self::Remove(key) => key.len(),
        }
    }
}

/// Events that do not continue the sequence.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfSequence {
    pub expected: u64,
    pub found: u64,
}

/// The edits that a group of changes makes, and the state after them.
///
/// # Errors
/// [`OutOfSequence`], if an event does not follow the one before it.
pub fn edits(
    before: &StoreState,
    changes: &[Changes],
) -> Result<(Vec<Edit>, StoreState), OutOfSequence> {
    let mut state = before.clone();
    // `None` removes.
    let mut settled: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for change in changes {
        for record in &change.events {
            let expected = state.head + 1;
            if record.sequence != expected {
                return Err(OutOfSequence { expected, found: record.sequence });
            }
            state.head = expected;
        }
        for key in &change.forgotten_ids {
            settled.insert(rows::id_key(key), None);
        }
        for id in &change.ids {
            settled.insert(rows::id_key(&id.key), Some(rows::id_value(id)));
        }
        if let Some(trim) = &change.trim {
            state.first = trim.below.clamp(state.first, state.head + 1);
            state.floor = state.floor.max(trim.floor);
            for audience in &trim.evicted {
                settled.insert(rows::trimmed_key(audience), None);
            }
            for (audience, sequence) in &trim.last {
                let value = rows::trimmed_value(*sequence);
                settled.insert(rows::trimmed_key(audience), Some(value));
            }
        }
    }
    let mut edits = Vec::new();
    let kept = changes.iter().flat_map(|change| &change.events);
    for record in kept.filter(|record| record.sequence >= state.first) {
        let key = rows::event_key(record.sequence).to_vec();
        edits.push(Edit::Put(key, rows::event_value(record)));
    }
    edits.extend(settled.into_iter().map(|(key, value)| match value {
        Some(value) => Edit::Put(key, value),
        None => Edit::Remove(key),
    }));
    Ok((edits, state))
}

/// The edits that begin a new epoch, and the state after them. `forgotten` are the keys of the rows that
/// belong to the old epoch.
pub fn renewal(
    before: &StoreState,
    epoch: u64,
    forgotten: Vec<Vec<u8>>,
) -> (Vec<Edit>, StoreState) {
    let edits = forgotten.into_iter().map(Edit::Remove).collect();
    let state = StoreState { epoch, first: before.head + 1, floor: 0, ..before.clone() };
    (edits, state)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_messages::{Audience, Durability, IdempotencyKey, InstanceId};

    use super::super::rows::{DirectoryIdentity, Run};
    use super::*;
    use crate::broker::record::{KnownId, Record, Trim};
    use crate::broker::repeat_key::RepeatKey;

    fn state(first: u64, head: u64) -> StoreState {
        let directory = DirectoryIdentity { inode: 1, created_nanos: None };
        let run = Run { durability: Durability::Disk, boot: None, directory, clean: false };
        StoreState { changes: 1, epoch: 7, first, head, floor: 0, next_worker: 0, run, seen: None }
    }

    fn events(sequences: std::ops::RangeInclusive<u64>) -> Changes {
        let record = |sequence| Record {
            sequence,
            at: Duration::ZERO,
            audience: Audience::Everyone,
            except: None,
            from: None,
            content: "x".into(),
            publisher: InstanceId(1),
            number: 1,
            gateways: 0,
            matched: 0,
        };
        Changes { events: sequences.map(record).collect(), ..Changes::default() }
    }

    fn trim(below: u64) -> Changes {
        let trim = Trim { below, last: vec![], evicted: vec![], floor: 0 };
        Changes { trim: Some(trim), ..Changes::default() }
    }

    fn keys(edits: &[Edit]) -> Vec<(bool, &[u8])> {
        edits
            .iter()
            .map(|edit| match edit {
                Edit::Put(key, _) => (true, &key[..]),
                Edit::Remove(key) => (false, &key[..]),
            })
            .collect()
    }

    #[test]
    fn an_event_that_is_trimmed_at_once_is_never_written() {
        let group = [events(4..=6), trim(6)];
        let (edits, after) = edits(&state(3, 3), &group).unwrap();
        assert_eq!(keys(&edits), [(true, &rows::event_key(6)[..])]);
        assert_eq!((after.first, after.head), (6, 6));
    }

    #[test]
    fn a_trim_is_limited_to_the_events_that_are_there() {
        let (_, after) = edits(&state(3, 3), &[trim(9)]).unwrap();
        assert_eq!((after.first, after.head), (4, 3));
        let (_, after) = edits(&state(3, 3), &[trim(1)]).unwrap();
        assert_eq!((after.first, after.head), (3, 3));
    }

    #[test]
    fn the_last_change_of_a_key_wins() {
        let key = RepeatKey::from(IdempotencyKey::new("k").unwrap());
        let at = Duration::ZERO;
        let known =
            KnownId { key: key.clone(), digest: [0; 16], at, sequence: 1, gateways: 0, matched: 0 };
        let learn = Changes { ids: vec![known.clone()], ..Changes::default() };
        let forget = Changes { forgotten_ids: vec![key.clone()], ..Changes::default() };
        let row = rows::id_key(&key);
        let (edits_forgotten, _) = edits(&state(1, 1), &[learn, forget]).unwrap();
        assert_eq!(keys(&edits_forgotten), [(false, &row[..])]);
        let again = Changes { ids: vec![known], forgotten_ids: vec![key], ..Changes::default() };
        let (edits_again, _) = edits(&state(1, 1), &[again]).unwrap();
        assert_eq!(keys(&edits_again), [(true, &row[..])]);
    }

    #[test]
    fn events_out_of_sequence_are_refused() {
        let refused = edits(&state(1, 1), &[events(2..=2), events(4..=4)]);
        assert_eq!(refused, Err(OutOfSequence { expected: 3, found: 4 }));
        let refused = edits(&state(1, 1), &[events(1..=1)]);
        assert_eq!(refused, Err(OutOfSequence { expected: 2, found: 1 }));
    }

    #[test]
    fn a_new_epoch_keeps_no_event_and_continues_to_count() {
        let (edits, after) = renewal(&state(3, 4), 8, vec![vec![3, 9]]);
        assert_eq!(keys(&edits), [(false, &[3, 9][..])]);
        assert_eq!((after.epoch, after.first, after.head), (8, 5, 4));
    }
}
