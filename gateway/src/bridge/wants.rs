//! What is fetched from the broker for returning clients: the same events only once, and with one fetch
//! at a time. Pure: a part of the bridge's core.
//!
//! Bounded by the clients that wait. A fetch has at most `MAX_FETCHED` audiences, or those of one client.

use std::collections::{HashMap, HashSet, VecDeque};

use campanile_messages::Audience;
use campanile_messages::link::Want;

/// The most audiences in one fetch. The next fetch begins when this one is complete.
const MAX_FETCHED: usize = 1_000;

/// The id of a want. Ids count up and are never used again.
pub type WantId = u64;

/// The wants of all clients that wait.
#[derive(Debug, Default)]
pub struct Wants {
    /// The wants that are under way or in the queue, by their sorted audiences.
    asked: HashMap<Box<[Audience]>, Asked>,
    /// The wants that are not sent yet, in the order of their ids.
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
    /// Its audiences, except for those that were withdrawn in the meantime.
    audiences: HashSet<Audience>,
}

impl Wants {
    /// Whether nothing is under way or in the queue.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.fetching.is_none()
    }

    /// Whether a fetch is under way.
    pub fn is_fetching(&self) -> bool {
        self.fetching.is_some()
    }

    /// Returns the id of a want for these audiences' events above a sequence. Clients that lack events
    /// of the same audiences share a want, if it reaches back far enough or can still be widened.
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

    /// Whether a want is not answered completely yet.
    pub fn is_pending(&self, id: WantId) -> bool {
        let is_in = |wants: &VecDeque<(WantId, Want)>| {
            wants.binary_search_by_key(&id, |(id, _)| *id).is_ok()
        };
        is_in(&self.queue) || self.fetching.as_ref().is_some_and(|fetching| is_in(&fetching.wants))
    }

    /// Begins the next fetch: returns its number and its wants. `None` while another fetch is under way,
    /// or if the queue is empty.
    pub fn fetch(&mut self) -> Option<(u64, Vec<Want>)> {
        if self.fetching.is_some() {
            return None;
        }
        let mut wants = VecDeque::new();
        let mut audiences = HashSet::new();
        // An audience of several wants counts for each of them, because the frame contains it once per want.
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

    /// Whether a client may wait for the events of an audience that the current fetch brings.
    pub fn is_fetched(&self, audience: &Audience) -> bool {
        self.fetching.as_ref().is_some_and(|fetching| fetching.audiences.contains(audience))
    }

    /// Records that the broker has answered the first `served` wants of a fetch, and returns their ids.
    /// The others go back to the front of the queue, if a client waits for them.
    pub fn fetched(
        &mut self,
        number: u64,
        served: usize,
        is_awaited: impl Fn(WantId) -> bool,
    ) -> Vec<WantId> {
        let Some(mut fetching) = self.fetching.take_if(|fetching| fetching.number == number) else {
            return Vec::new();
        };
        // Otherwise a broker that answers none would be asked for ever.
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

    /// Forgets audiences that have no listeners any more. Their wants are not sent, and what the current
    /// fetch brings of them is ignored, because their later events do not come.
    pub fn withdraw(&mut self, withdrawn: &HashSet<&Audience>) {
        let stays =
            |audiences: &[Audience]| !audiences.iter().any(|audience| withdrawn.contains(audience));
        self.asked.retain(|audiences, _| stays(audiences));
        self.queue.retain(|(_, want)| stays(&want.audiences));
        if let Some(fetching) = &mut self.fetching {
            fetching.audiences.retain(|audience| !withdrawn.contains(audience));
        }
    }

    /// Forgets all wants, because they will not be answered any more.
    pub fn clear(&mut self) {
        self.asked.clear();
        self.queue.clear();
        self.fetching = None;
    }

    /// Forgets a want, so that a later one may ask for the same audiences.
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
    fn an_audience_counts_once_per_want_that_names_it() {
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
