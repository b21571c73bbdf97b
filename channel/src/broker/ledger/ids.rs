//! The keys under which pushes were accepted. Pure: times are milliseconds of log time.
//!
//! A key is answered for as long as callers were promised, and kept longer: a block whose producer did not know of it
//! may still come.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use super::digest::Digest;
use crate::broker::repeat_key::RepeatKey;

/// How long a repeat is answered: the two minutes that callers are promised, and the time that a repeat which began
/// within them may still take.
pub const ANSWERED_MILLIS: u64 = 150_000;

/// How long a key is kept: a block may come a minute after it was formed.
pub const KEPT_MILLIS: u64 = 210_000;

/// The most keys that are forgotten with a block, besides two for each entry that it brings. It takes about a
/// millisecond.
const MAX_FORGOTTEN: usize = 1 << 12;

/// How many times as much room as is needed makes the table smaller. What is left then is moved in one turn.
const ROOMY: usize = 16;

/// What is known about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownKey {
    New,
    /// It belongs to another event.
    Taken,
    /// Its event was accepted, with this sequence.
    Accepted(u64),
}

/// How many keys there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdCount {
    pub all: usize,
    /// How many of them are keys of clients.
    pub clients: usize,
}

/// The keys that are remembered.
#[derive(Debug, Default)]
pub struct Ids {
    /// Where the last acceptance of each hash of a key is in `accepted`, counted from the first that ever was. With
    /// the keys themselves, a table that grows or shrinks would read all of them in one turn.
    latest: HashMap<u64, u64, BuildHasherDefault<HashItself>>,
    /// Nobody can choose keys that have the same hash.
    hashes: RandomState,
    /// Acceptances, oldest first. A key may be there again after it was no longer answered for.
    accepted: VecDeque<KnownId>,
    /// How many were taken from the front of `accepted`.
    forgotten: u64,
    /// The first that is answered for, counted as in `latest`.
    answering: u64,
    /// How many keys of clients there ever were.
    clients: u64,
    /// While set, nothing is forgotten.
    pub(super) is_held: bool,
}

/// The acceptance of a push with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownId {
    pub key: RepeatKey,
    pub digest: Digest,
    pub sequence: u64,
    pub at_millis: u64,
    /// How many keys of clients came before.
    clients_before: u64,
    /// Where the acceptance before this one is that has the same hash; of the same key, hardly ever of another one.
    /// It may be forgotten, or a place that never was.
    before: u64,
}

/// The hash of a hash.
#[derive(Debug, Default)]
struct HashItself(u64);

impl Hasher for HashItself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Ids {
    /// What was noted about a key above a sequence, for a push with this digest.
    pub fn look_up(&self, key: &RepeatKey, digest: Digest, above: u64) -> KnownKey {
        match self.find(key) {
            Some(known) if known.sequence > above => known.compare(digest),
            _ => KnownKey::New,
        }
    }

    /// What is answered to a push with this key and digest.
    pub fn answer(&self, key: &RepeatKey, digest: Digest, now: u64) -> KnownKey {
        match self.find(key) {
            Some(known) if now.saturating_sub(known.at_millis) < ANSWERED_MILLIS => {
                known.compare(digest)
            }
            _ => KnownKey::New,
        }
    }

    fn find(&self, key: &RepeatKey) -> Option<&KnownId> {
        let mut known = self.place(*self.latest.get(&self.hashes.hash_one(key))?)?;
        while known.key != *key {
            known = self.place(known.before)?;
        }
        Some(known)
    }

    /// The key under which an event was accepted.
    pub fn key_of(&self, sequence: u64) -> Option<&RepeatKey> {
        let place = self.accepted.binary_search_by_key(&sequence, |known| known.sequence).ok()?;
        Some(&self.accepted.get(place)?.key)
    }

    /// Notes that the push of a key was accepted. Sequences and times never go back.
    pub fn accept(&mut self, key: RepeatKey, digest: Digest, sequence: u64, now: u64) {
        let clients_before = self.clients;
        self.clients += u64::from(key.is_clients());
        let before = self.latest.insert(self.hashes.hash_one(&key), self.end());
        let before = before.unwrap_or(u64::MAX);
        let at_millis = now;
        let known = KnownId { key, digest, sequence, at_millis, clients_before, before };
        self.accepted.push_back(known);
    }

    /// Moves on to the time of a block that was applied with this many entries. Forgets keys that are old enough,
    /// some of them in each turn.
    pub fn pass(&mut self, now: u64, entries: usize) {
        let is_past = |known: &KnownId| now.saturating_sub(known.at_millis) >= ANSWERED_MILLIS;
        if self.place(self.answering).is_some_and(is_past) {
            self.answering = self.forgotten + self.accepted.partition_point(is_past) as u64;
        }
        if self.is_held {
            return;
        }
        let is_old = |known: &mut KnownId| now.saturating_sub(known.at_millis) >= KEPT_MILLIS;
        for _ in 0..MAX_FORGOTTEN + 2 * entries {
            let Some(known) = self.accepted.pop_front_if(is_old) else { break };
            let hash = self.hashes.hash_one(&known.key);
            if self.latest.get(&hash) == Some(&self.forgotten) {
                self.latest.remove(&hash);
            }
            self.forgotten += 1;
        }
        if self.latest.capacity() > ROOMY * self.latest.len().max(64) {
            self.latest.shrink_to(2 * self.latest.len());
            self.accepted.shrink_to(2 * self.accepted.len());
        }
    }

    /// How many keys are answered for.
    pub fn answering(&self) -> IdCount {
        let clients =
            self.place(self.answering).map_or(0, |first| self.clients - first.clients_before);
        let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
        IdCount { all: count(self.end() - self.answering), clients: count(clients) }
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.accepted.is_empty()
    }

    /// The places of all acceptances, counted from the first that ever was.
    pub fn places(&self) -> std::ops::Range<u64> {
        self.forgotten..self.end()
    }

    /// The acceptance at a place.
    pub fn place(&self, place: u64) -> Option<&KnownId> {
        self.accepted.get(usize::try_from(place.checked_sub(self.forgotten)?).ok()?)
    }

    /// The sequence of the last acceptance, or 0.
    pub fn last_sequence(&self) -> u64 {
        self.accepted.back().map_or(0, |known| known.sequence)
    }

    /// Reserves memory for this many more keys.
    pub fn reserve(&mut self, more: usize) {
        self.latest.reserve(more);
        self.accepted.reserve(more);
    }

    fn end(&self) -> u64 {
        self.forgotten + self.accepted.len() as u64
    }
}

impl KnownId {
    fn compare(&self, digest: Digest) -> KnownKey {
        match self.digest == digest {
            true => KnownKey::Accepted(self.sequence),
            false => KnownKey::Taken,
        }
    }
}

#[cfg(test)]
mod tests;
