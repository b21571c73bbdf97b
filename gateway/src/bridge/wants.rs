//! What the broker is asked for on behalf of clients that come back: the same only once, and one fetch
//! at a time. Pure: a part of the bridge's core.
//!
//! Bounded by those who ask. A fetch is of at most `MAX_FETCHED` audiences, or one client's.

use std::collections::{HashMap, HashSet, VecDeque};

use campanile_messages::Audience;
use campanile_messages::link::Want;

/// How many audiences are fetched at a time: the next are asked for when these are here.
const MAX_FETCHED: usize = 1_000;

/// The id of a want among all that there ever were: they count up.
pub type WantId = u64;

/// See the module.
#[derive(Debug, Default)]
pub struct Wants {
    /// The wants that the broker is or will be asked for: by what they ask for, in order.
    asked: HashMap<Box<[Audience]>, Asked>,
    /// Not sent yet, by their ids.
    queue: VecDeque<(WantId, Want)>,
    last_id: WantId,
    last_number: u64,
    fetching: Option<Fetching>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    id: WantId,
    since: u64,
}

/// A fetch that is under way.
#[derive(Debug)]
struct Fetching {
    number: u64,
    wants: VecDeque<(WantId, Want)>,
    /// Those that somebody has listened to ever since.
    audiences: HashSet<Audience>,
}

impl Wants {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.fetching.is_none()
    }

    /// The answer of the broker is to come.
    pub fn is_fetching(&self) -> bool {
        self.fetching.is_some()
    }

    /// The id of a want that brings these audiences' events above a sequence. Who lacks the same
    /// waits for the same want, as long as that can still be widened or is wide enough.
    pub fn ask(&mut self, since: u64, mut audiences: Vec<Audience>) -> WantId {
        audiences.sort_unstable();
        let audiences = audiences.into_boxed_slice();
        if let Some(asked) = self.asked.get_mut(&audiences) {
            if asked.since <= since {
                return asked.id;
            }
            let in_queue = self.queue.binary_search_by_key(&asked.id, |(id, _)| *id);
            if let Ok(at) = in_queue {
                self.queue[at].1.since = since;
                asked.since = since;
                return asked.id;
            }
        }
        self.last_id += 1;
        let id = self.last_id;
        self.queue.push_back((id, Want { since, audiences: audiences.to_vec() }));
        self.asked.insert(audiences, Asked { id, since });
        id
    }

    /// Whether the answer to a want is not complete.
    pub fn is_to_come(&self, id: WantId) -> bool {
        let is_in = |wants: &VecDeque<(WantId, Want)>| {
            wants.binary_search_by_key(&id, |(id, _)| *id).is_ok()
        };
        is_in(&self.queue) || self.fetching.as_ref().is_some_and(|fetching| is_in(&fetching.wants))
    }

    /// What to ask the broker for, under which number; `None` while it is being asked.
    pub fn fetch(&mut self) -> Option<(u64, Vec<Want>)> {
        if self.fetching.is_some() {
            return None;
        }
        let mut wants = VecDeque::new();
        let mut audiences = HashSet::new();
        // Those that stand in several wants count for each: that is what the frame carries.
        let mut total = 0;
        while let Some((_, want)) = self.queue.front()
            && (wants.is_empty() || total + want.audiences.len() <= MAX_FETCHED)
        {
            total += want.audiences.len();
            audiences.extend(want.audiences.iter().cloned());
            wants.extend(self.queue.pop_front());
        }
        if wants.is_empty() {
            return None;
        }
        self.last_number += 1;
        let number = self.last_number;
        let asked = wants.iter().map(|(_, want)| want.clone()).collect();
        self.fetching = Some(Fetching { number, wants, audiences });
        Some((number, asked))
    }

    /// Whether somebody may wait for what the fetch under way brings of an audience.
    pub fn is_fetched(&self, audience: &Audience) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| fetching.audiences.contains(audience))
    }

    /// The broker has answered the first `served` wants of a fetch: returns their ids. The others
    /// are asked for again, if somebody awaits them.
    pub fn fetched(
        &mut self,
        number: u64,
        served: usize,
        is_awaited: impl Fn(WantId) -> bool,
    ) -> Vec<WantId> {
        let Some(mut fetching) = self.fetching.take_if(|fetching| fetching.number == number) else {
            return Vec::new();
        };
        // A broker that serves none would be asked for ever.
        let served = served.clamp(1, fetching.wants.len());
        let mut ids = Vec::with_capacity(served);
        for (id, want) in fetching.wants.drain(..served) {
            self.forget(id, &want);
            ids.push(id);
        }
        for (id, want) in fetching.wants.into_iter().rev() {
            if is_awaited(id) {
                self.queue.push_front((id, want));
            } else {
                self.forget(id, &want);
            }
        }
        ids
    }

    /// Nobody listens to these any more. What is asked for them is not asked, and what a fetch brings
    /// of them is of no use: their later events do not come.
    pub fn withdraw(&mut self, withdrawn: &HashSet<&Audience>) {
        let stays =
            |audiences: &[Audience]| !audiences.iter().any(|audience| withdrawn.contains(audience));
        self.asked.retain(|audiences, _| stays(audiences));
        self.queue.retain(|(_, want)| stays(&want.audiences));
        if let Some(fetching) = &mut self.fetching {
            fetching.audiences.retain(|audience| !withdrawn.contains(audience));
        }
    }

    /// What was asked for does not come any more.
    pub fn clear(&mut self) {
        self.asked.clear();
        self.queue.clear();
        self.fetching = None;
    }

    /// A want is no longer under way; a later one may ask for the same.
    fn forget(&mut self, id: WantId, want: &Want) {
        if self.asked.get(&*want.audiences).is_some_and(|asked| asked.id == id) {
            self.asked.remove(&*want.audiences);
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::GroupName;

    use super::*;

    #[test]
    fn wants_that_overlap_count_each_for_themselves() {
        let group =
            |number: usize| Audience::Group(GroupName::new(format!("{number}")).expect("a name"));
        let mut wants = Wants::default();
        // 100 clients, each with another 100 of the same 200 groups.
        for first in 0..100 {
            wants.ask(0, (first..first + 100).map(group).collect());
        }
        let mut fetched = 0;
        while let Some((number, asked)) = wants.fetch() {
            let audiences: usize = asked.iter().map(|want| want.audiences.len()).sum();
            assert!(audiences <= MAX_FETCHED, "{audiences} audiences in one fetch");
            fetched += wants.fetched(number, asked.len(), |_| true).len();
        }
        assert_eq!(fetched, 100);
    }
}
