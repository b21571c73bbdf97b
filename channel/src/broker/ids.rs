//! The idempotency keys under which events were accepted. Pure: times are those of the broker's
//! clock.
//!
//! No key is forgotten before its time. When the table is full, new keys are refused.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::ledger::digest::Digest;
use super::publish_receipt::PublishReceipt;
use super::record::KnownId;
use super::repeat_key::RepeatKey;

/// How long a key is remembered: the two minutes that callers are promised, and the time that a repeat
/// which began within them may still take.
pub const REMEMBERED: Duration = Duration::from_secs(150);

/// The most keys that are forgotten in one turn, which takes about 60 ms. The rest follow in the next
/// turns.
const MAX_FORGOTTEN: usize = 200_000;

/// Which part of the table the keys of clients may take, so that they leave the rest to backends.
const CLIENTS_PART: usize = 10;

/// What is known about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The key is new.
    New,
    /// The key is new, and the table has no room for it.
    Full,
    /// It belongs to another event.
    Taken,
    /// Its event is staged under this sequence.
    Waiting(u64),
    /// Its event was accepted.
    Accepted(PublishReceipt),
}

/// The keys that are remembered.
#[derive(Debug)]
pub struct Ids {
    by_key: HashMap<RepeatKey, KeyEntry>,
    /// The keys by age, oldest first.
    order: VecDeque<(Duration, RepeatKey)>,
    /// How many of the keys are those of clients.
    clients: usize,
    max_keys: usize,
}

#[derive(Debug)]
struct KeyEntry {
    digest: Digest,
    receipt: PublishReceipt,
    is_accepted: bool,
}

impl Ids {
    /// An empty table for up to `max_keys`.
    pub fn new(max_keys: usize) -> Self {
        Self { by_key: HashMap::new(), order: VecDeque::new(), clients: 0, max_keys }
    }

    /// What is known about a key, for an event with this digest.
    pub fn look_up(&self, key: &RepeatKey, digest: Digest) -> Known {
        match self.by_key.get(key) {
            None if self.is_full_for(key) => Known::Full,
            None => Known::New,
            Some(entry) if entry.digest != digest => Known::Taken,
            Some(entry) if entry.is_accepted => Known::Accepted(entry.receipt),
            Some(entry) => Known::Waiting(entry.receipt.sequence),
        }
    }

    fn is_full_for(&self, key: &RepeatKey) -> bool {
        self.by_key.len() >= self.max_keys
            || key.is_clients() && self.clients >= self.max_keys / CLIENTS_PART
    }

    /// The event of a new key is staged.
    pub fn stage(&mut self, key: RepeatKey, digest: Digest, receipt: PublishReceipt, at: Duration) {
        let entry = KeyEntry { digest, receipt, is_accepted: false };
        let is_new = self.by_key.insert(key.clone(), entry).is_none();
        self.clients += usize::from(is_new && key.is_clients());
        self.order.push_back((at, key));
    }

    /// The event of a key is accepted.
    pub fn accept(&mut self, key: &RepeatKey) {
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.is_accepted = true;
        }
    }

    /// The key under which an event was accepted, if it is remembered. Keys are staged in the order of their
    /// events, so few of them are looked at.
    pub fn key_of(&self, sequence: u64) -> Option<&RepeatKey> {
        let of = |key: &RepeatKey| self.by_key.get(key).map_or(0, |entry| entry.receipt.sequence);
        let place = self.order.partition_point(|(_, key)| of(key) < sequence);
        let (_, key) = self.order.get(place)?;
        (of(key) == sequence).then_some(key)
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// An empty table with the same bound.
    pub fn emptied(&self) -> Self {
        Self::new(self.max_keys)
    }

    /// Adds what an earlier broker remembered. Keys from the future count as from now.
    pub fn recover(&mut self, mut known: Vec<KnownId>, now: Duration) {
        known.iter_mut().for_each(|known| known.at = known.at.min(now));
        known.sort_by_key(|known| (known.at, known.sequence));
        for KnownId { key, digest, at, sequence, gateways, matched } in known {
            let receipt = PublishReceipt { sequence, gateways, matched };
            self.stage(key.clone(), digest, receipt, at);
            self.accept(&key);
        }
    }

    /// Forgets keys that are old enough, and adds them to `forgotten`. A key whose event is still staged
    /// stays, and so do all younger ones.
    pub fn expire(&mut self, now: Duration, forgotten: &mut Vec<RepeatKey>) {
        let most = forgotten.len() + MAX_FORGOTTEN;
        while let Some((at, key)) = self.order.front()
            && *at + REMEMBERED <= now
            && forgotten.len() < most
        {
            if self.by_key.get(key).is_some_and(|entry| !entry.is_accepted) {
                break;
            }
            let is_removed = self.by_key.remove(key).is_some();
            self.clients -= usize::from(is_removed && key.is_clients());
            forgotten.extend(self.order.pop_front().map(|(_, key)| key));
        }
        if self.by_key.capacity() > 4 * self.by_key.len() {
            self.by_key.shrink_to(2 * self.by_key.len());
            self.order.shrink_to(2 * self.order.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::{IdempotencyKey, UserName};

    use super::*;

    fn key(name: &str) -> RepeatKey {
        IdempotencyKey::new(name.to_owned()).unwrap().into()
    }

    fn clients_key(user: &str, name: &str) -> RepeatKey {
        let user = UserName::new(user.to_owned()).unwrap();
        RepeatKey::new(Some(&user), &IdempotencyKey::new(name.to_owned()).unwrap())
    }

    fn receipt(sequence: u64) -> PublishReceipt {
        PublishReceipt { sequence, gateways: 1, matched: 2 }
    }

    fn known(name: &str, at: Duration) -> KnownId {
        KnownId { at, ..known_key(key(name)) }
    }

    fn known_key(key: RepeatKey) -> KnownId {
        KnownId { key, digest: D, at: AT, sequence: 7, gateways: 1, matched: 2 }
    }

    const D: Digest = [1; 16];
    const AT: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_key_is_new_then_waits_then_has_a_receipt() {
        let mut ids = Ids::new(10);
        assert_eq!(ids.look_up(&key("a"), D), Known::New);
        ids.stage(key("a"), D, receipt(7), AT);
        assert_eq!(ids.look_up(&key("a"), D), Known::Waiting(7));
        assert_eq!(ids.look_up(&key("a"), [2; 16]), Known::Taken);
        ids.accept(&key("a"));
        assert_eq!(ids.look_up(&key("a"), D), Known::Accepted(receipt(7)));
    }

    #[test]
    fn the_key_of_an_event_is_found_by_its_sequence() {
        let mut ids = Ids::new(10);
        for (name, sequence) in [("a", 3), ("b", 4), ("c", 9)] {
            ids.stage(key(name), D, receipt(sequence), AT);
        }
        let found = |sequence| ids.key_of(sequence).map(RepeatKey::as_str);
        assert_eq!([3, 4, 9].map(found), [Some("a"), Some("b"), Some("c")]);
        assert_eq!([0, 2, 5, 10].map(found), [None; 4]);
    }

    #[test]
    fn the_key_of_an_event_is_found_after_a_recovery() {
        let mut ids = Ids::new(10);
        let recovered = |name, sequence| KnownId { sequence, ..known(name, AT) };
        ids.recover(vec![recovered("c", 9), recovered("a", 3), recovered("b", 4)], AT);
        let found = |sequence| ids.key_of(sequence).map(RepeatKey::as_str);
        assert_eq!([3, 4, 9].map(found), [Some("a"), Some("b"), Some("c")]);
    }

    #[test]
    fn a_full_table_refuses_new_keys_and_forgets_none_early() {
        let mut ids = Ids::new(1);
        ids.recover(vec![known("a", AT)], AT);
        let mut forgotten = Vec::new();
        ids.expire(AT + REMEMBERED - Duration::from_nanos(1), &mut forgotten);
        assert_eq!(ids.look_up(&key("b"), D), Known::Full);
        assert_eq!(ids.look_up(&key("a"), D), Known::Accepted(receipt(7)));
        ids.expire(AT + REMEMBERED, &mut forgotten);
        assert_eq!(forgotten, [key("a")]);
        assert_eq!(ids.look_up(&key("a"), D), Known::New);
    }

    #[test]
    fn the_keys_of_clients_take_at_most_a_tenth_of_the_table() {
        let mut ids = Ids::new(20);
        ids.recover(vec![known_key(clients_key("42", "a")), known_key(key("a"))], AT);
        assert_eq!(ids.look_up(&clients_key("43", "a"), D), Known::New);
        ids.stage(clients_key("43", "a"), D, receipt(8), AT);
        assert_eq!(ids.look_up(&clients_key("42", "b"), D), Known::Full);
        assert_eq!(ids.look_up(&clients_key("42", "a"), D), Known::Accepted(receipt(7)));
        for name in 0..17 {
            assert_eq!(ids.look_up(&key(&format!("b{name}")), D), Known::New);
            ids.stage(key(&format!("b{name}")), D, receipt(9), AT);
        }
        assert_eq!(ids.look_up(&key("c"), D), Known::Full, "backends have the rest");
        let mut forgotten = Vec::new();
        ids.accept(&clients_key("43", "a"));
        ids.expire(AT + REMEMBERED, &mut forgotten);
        assert_eq!(ids.look_up(&clients_key("42", "b"), D), Known::New);
    }

    #[test]
    fn a_key_from_the_future_does_not_delay_others() {
        let mut ids = Ids::new(10);
        let future = AT + Duration::from_secs(3_600);
        ids.recover(vec![known("a", future), known("b", AT)], AT);
        let mut forgotten = Vec::new();
        ids.expire(AT + REMEMBERED, &mut forgotten);
        forgotten.sort();
        assert_eq!(forgotten, [key("a"), key("b")]);
        assert!(ids.is_empty());
    }

    #[test]
    fn a_key_whose_event_is_staged_is_not_forgotten() {
        let mut ids = Ids::new(10);
        ids.stage(key("a"), D, receipt(7), AT);
        let mut forgotten = Vec::new();
        ids.expire(AT + 2 * REMEMBERED, &mut forgotten);
        assert_eq!(forgotten, []);
        assert_eq!(ids.look_up(&key("a"), D), Known::Waiting(7));
    }
}
