//! What a group of changes does to the rows. Pure.
//!
//! The engine gives all rows of one batch the same age, so a key may stand in it once only: what
//! several changes say about one key is settled here.
//!
//! The rows of trimmed events are not removed one by one: the state says where the kept ones begin,
//! nobody reads below, and the engine drops whole tables of them.

use std::collections::BTreeMap;

use super::rows::{self, State};
use crate::broker::record::Changes;

/// A change of one row.
#[derive(Debug, PartialEq, Eq)]
pub enum Edit {
    /// A new row, or a new value.
    Put(Vec<u8>, Vec<u8>),
    /// No such row from here on.
    Remove(Vec<u8>),
}

impl Edit {
    /// The bytes of its row.
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
    /// The sequence that comes next.
    pub expected: u64,
    /// The sequence that was given.
    pub found: u64,
}

/// The edits of a group of changes, in its order, and the state behind them.
///
/// # Errors
/// [`OutOfSequence`].
pub fn edits(before: &State, changes: &[Changes]) -> Result<(Vec<Edit>, State), OutOfSequence> {
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

/// What begins a new epoch; `forgotten` are the keys of the rows that belong to the old one.
pub fn renewal(before: &State, epoch: u64, forgotten: Vec<Vec<u8>>) -> (Vec<Edit>, State) {
    let edits = forgotten.into_iter().map(Edit::Remove).collect();
    let state = State { epoch, first: before.head + 1, floor: 0, ..before.clone() };
    (edits, state)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_messages::{Audience, Durability, IdempotencyKey, InstanceId};

    use super::super::rows::{Place, Run};
    use super::*;
    use crate::broker::record::{KnownId, Record, Trim};

    fn state(first: u64, head: u64) -> State {
        let place = Place { inode: 1, created_nanos: None };
        let run = Run { durability: Durability::Disk, boot: None, place, clean: false };
        State { changes: 1, epoch: 7, first, head, floor: 0, next_worker: 0, run, seen: None }
    }

    fn events(sequences: std::ops::RangeInclusive<u64>) -> Changes {
        let record = |sequence| Record {
            sequence,
            at: Duration::ZERO,
            audience: Audience::Everyone,
            except: None,
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
    fn an_event_that_is_trimmed_in_the_group_it_came_in_is_never_written() {
        let group = [events(4..=6), trim(6)];
        let (edits, after) = edits(&state(3, 3), &group).unwrap();
        assert_eq!(keys(&edits), [(true, &rows::event_key(6)[..])]);
        assert_eq!((after.first, after.head), (6, 6));
    }

    #[test]
    fn a_trim_past_the_end_keeps_nothing_and_a_trim_of_old_does_nothing() {
        let (_, after) = edits(&state(3, 3), &[trim(9)]).unwrap();
        assert_eq!((after.first, after.head), (4, 3));
        let (_, after) = edits(&state(3, 3), &[trim(1)]).unwrap();
        assert_eq!((after.first, after.head), (3, 3));
    }

    #[test]
    fn the_last_word_on_a_key_is_the_only_one() {
        let key = IdempotencyKey::new("k").unwrap();
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
    fn a_new_epoch_keeps_no_event_and_goes_on_counting() {
        let (edits, after) = renewal(&state(3, 4), 8, vec![vec![3, 9]]);
        assert_eq!(keys(&edits), [(false, &[3, 9][..])]);
        assert_eq!((after.epoch, after.first, after.head), (8, 5, 4));
    }
}
