//! The pushes that are staged or in flight, in order, and who repeats them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use campanile_messages::InstanceId;
use campanile_messages::link::{Number, Refusal};

use super::{Here, Taken};
use crate::broker::ledger::block::Push;
use crate::broker::ledger::digest::Digest;
use crate::broker::ledger::ids::IdCount;
use crate::broker::log::cost_bytes;
use crate::broker::repeat_key::RepeatKey;

/// How many repeats of one push may wait for it. One more is refused. All of them are answered in one turn of
/// the broker, which takes about 10 ms.
pub(super) const MAX_REPEATS: usize = 1 << 13;

/// How many bytes a repeat counts while it waits for the first.
pub(super) const REPEAT_BYTES: usize = 64;

/// A push that waits for a block.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) push: Push,
    pub(super) here: Here,
    /// How many bytes it adds to a block, at most.
    pub(super) len_bytes: usize,
    /// When it came, in log time.
    pub(super) at: Duration,
    /// How many blocks of other producers had been applied then.
    pub(super) others: u64,
    place: u64,
    cost_bytes: usize,
}

/// What is left here of a push that is in a block.
#[derive(Debug)]
struct Flying {
    publisher: InstanceId,
    number: Number,
    key: Option<RepeatKey>,
    here: Here,
    at: Duration,
    others: u64,
    place: u64,
    cost_bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Sorted by place; all places are before those of `staged`.
    flying: VecDeque<Flying>,
    /// Sorted by place.
    staged: VecDeque<Staged>,
    last_place: u64,
    numbers: HashSet<(InstanceId, Number)>,
    /// The digest and the place of the push with a key.
    keys: HashMap<RepeatKey, (Digest, u64)>,
    /// How many of the keys are those of clients.
    clients: usize,
    cost_bytes: usize,
}

impl Queue {
    pub(super) fn has_number(&self, publisher: InstanceId, number: Number) -> bool {
        self.numbers.contains(&(publisher, number))
    }

    pub(super) fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    pub(super) fn ids(&self) -> IdCount {
        IdCount { all: self.keys.len(), clients: self.clients }
    }

    /// How many bytes are staged or in flight.
    pub(super) fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// Whether a push with this key is here: the repeat waits with it then, or is refused.
    pub(super) fn repeat(
        &mut self,
        key: &RepeatKey,
        digest: Digest,
        repeat: (InstanceId, Number),
    ) -> Option<Taken> {
        let &(first, place) = self.keys.get(key)?;
        if first != digest {
            return Some(Taken::Refused(Refusal::IdTaken));
        }
        let (here, cost_bytes) = self.here(place)?;
        if here.repeated_by.contains(&repeat) {
            return Some(Taken::Staged);
        }
        if here.repeated_by.len() >= MAX_REPEATS {
            return Some(Taken::Refused(Refusal::TooManyUnanswered));
        }
        here.repeated_by.insert(repeat);
        *cost_bytes += REPEAT_BYTES;
        self.cost_bytes += REPEAT_BYTES;
        Some(Taken::Staged)
    }

    /// Adds a push whose number and key are not here.
    pub(super) fn stage(&mut self, push: Push, here: Here, at: Duration, others: u64) {
        self.last_place += 1;
        let place = self.last_place;
        self.numbers.insert((push.publisher, push.number));
        if let Some((key, digest)) = &push.id {
            self.keys.insert(key.clone(), (*digest, place));
            self.clients += usize::from(key.is_clients());
        }
        let from_bytes = push.from.as_deref().map_or(0, str::len);
        let cost_bytes = cost_bytes(&push.audience, push.content.as_bytes().len(), from_bytes);
        self.cost_bytes += cost_bytes;
        let len_bytes = push.len_bytes();
        self.staged.push_back(Staged { push, here, len_bytes, at, others, place, cost_bytes });
    }

    /// The first staged push.
    pub(super) fn next(&self) -> Option<&Staged> {
        self.staged.front()
    }

    /// Removes the first staged push.
    pub(super) fn drop_next(&mut self) -> Option<Staged> {
        let staged = self.staged.pop_front()?;
        let key = staged.push.id.as_ref().map(|(key, _)| key);
        self.forget((staged.push.publisher, staged.push.number), key, staged.cost_bytes);
        Some(staged)
    }

    /// The first staged push goes into the block that is formed.
    pub(super) fn fly(&mut self) -> Option<Push> {
        let Staged { push, here, at, others, place, cost_bytes, .. } = self.staged.pop_front()?;
        let (publisher, number) = (push.publisher, push.number);
        let key = push.id.as_ref().map(|(key, _)| key.clone());
        let flying = Flying { publisher, number, key, here, at, others, place, cost_bytes };
        self.flying.push_back(flying);
        Some(push)
    }

    /// The block is applied.
    pub(super) fn land(&mut self) -> impl Iterator<Item = Here> {
        std::mem::take(&mut self.flying).into_iter().map(|flying| {
            let Flying { publisher, number, key, here, cost_bytes, .. } = flying;
            self.forget((publisher, number), key.as_ref(), cost_bytes);
            here
        })
    }

    /// The block does not count. Its pushes are staged as before.
    pub(super) fn stage_again(&mut self, pushes: Vec<Push>) {
        debug_assert_eq!(pushes.len(), self.flying.len());
        let flying = std::mem::take(&mut self.flying);
        for (flying, push) in flying.into_iter().zip(pushes).rev() {
            let Flying { here, at, others, place, cost_bytes, .. } = flying;
            let len_bytes = push.len_bytes();
            self.staged.push_front(Staged { push, here, len_bytes, at, others, place, cost_bytes });
        }
    }

    fn here(&mut self, place: u64) -> Option<(&mut Here, &mut usize)> {
        if let Ok(at) = self.flying.binary_search_by_key(&place, |flying| flying.place) {
            let Flying { here, cost_bytes, .. } = self.flying.get_mut(at)?;
            return Some((here, cost_bytes));
        }
        let at = self.staged.binary_search_by_key(&place, |staged| staged.place).ok()?;
        let Staged { here, cost_bytes, .. } = self.staged.get_mut(at)?;
        Some((here, cost_bytes))
    }

    fn forget(
        &mut self,
        numbered: (InstanceId, Number),
        key: Option<&RepeatKey>,
        cost_bytes: usize,
    ) {
        self.numbers.remove(&numbered);
        if let Some(key) = key {
            self.keys.remove(key);
            self.clients -= usize::from(key.is_clients());
        }
        self.cost_bytes -= cost_bytes;
    }
}
