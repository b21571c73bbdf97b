//! Which events this publisher has pushed lately, and with which keys.
//!
//! The broker does not learn the keys of callers: to keep a name for each event there would take memory and
//! bytes on the link for every push, while here it is 16 bytes per event and nothing on any link.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_messages::Position;

/// How many events are remembered, of 16 bytes each.
pub const MAX_PUSHES: usize = 1 << 16;

/// How many names of keys are remembered. Settings have few, but may change often.
const MAX_NAMES: usize = 1_000;

/// The events that were pushed lately. Clones are the same; they are locked once per push, batch or turn of a
/// stream.
#[derive(Debug, Clone, Default)]
pub struct RecentPushes(Arc<Mutex<Remembered>>);

impl RecentPushes {
    /// Notes events that the broker has accepted. `key` is the name of the caller's key, or empty.
    pub fn note(&self, positions: &[Position], key: &str) {
        if !positions.is_empty() {
            let mut remembered = self.lock();
            positions.iter().for_each(|position| remembered.note(*position, key));
        }
    }

    /// The name of the key with which an event was pushed, empty for none; `None` if it was not pushed here, or
    /// that is forgotten.
    pub fn key_of(&self, position: Position) -> Option<String> {
        self.lock().key_of(position).map(str::to_owned)
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is remembered. Pure.
#[derive(Debug, Default)]
struct Remembered {
    /// The log that they are in.
    epoch: u64,
    /// The sequence of each event, and the number of the key's name.
    pushes: VecDeque<(u64, u16)>,
    names: Vec<Box<str>>,
}

impl Remembered {
    fn note(&mut self, position: Position, key: &str) {
        if position.epoch != self.epoch {
            (self.epoch, self.pushes) = (position.epoch, VecDeque::new());
        }
        let place = match self.names.iter().position(|name| **name == *key) {
            Some(place) => place,
            None => {
                if self.names.len() == MAX_NAMES {
                    // Few of them are still in use.
                    (self.pushes, self.names) = (VecDeque::new(), Vec::new());
                }
                self.names.push(key.into());
                self.names.len() - 1
            }
        };
        if self.pushes.len() == MAX_PUSHES {
            self.pushes.pop_front();
        }
        self.pushes.push_back((position.sequence, place as u16));
    }

    fn key_of(&self, position: Position) -> Option<&str> {
        let mut pushes = self.pushes.iter().filter(|_| position.epoch == self.epoch);
        let (_, name) = pushes.find(|(sequence, _)| *sequence == position.sequence)?;
        self.names.get(usize::from(*name)).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, sequence: u64) -> Position {
        Position { epoch, sequence }
    }

    #[test]
    fn the_key_of_an_event_is_found_by_its_position() {
        let mut pushes = Remembered::default();
        for (sequence, key) in [(3, "shop"), (4, ""), (7, "shop")] {
            pushes.note(at(1, sequence), key);
        }
        assert_eq!(
            [3, 4, 5, 7].map(|sequence| pushes.key_of(at(1, sequence))),
            [Some("shop"), Some(""), None, Some("shop")]
        );
        assert_eq!(pushes.names.len(), 2);
        pushes.note(at(2, 9), "shop");
        assert_eq!((pushes.key_of(at(1, 7)), pushes.key_of(at(2, 9))), (None, Some("shop")));
    }

    #[test]
    fn pushes_and_names_are_bounded() {
        let mut pushes = Remembered::default();
        (0..MAX_PUSHES as u64 + 5).for_each(|sequence| pushes.note(at(1, sequence), "shop"));
        assert_eq!((pushes.pushes.len(), pushes.key_of(at(1, 4))), (MAX_PUSHES, None));
        for n in 0..3_000 {
            pushes.note(at(1, n), &n.to_string());
            assert!(pushes.names.len() <= MAX_NAMES);
        }
        assert_eq!(pushes.key_of(at(1, 2_999)), Some("2999"));
    }
}
