//! The ids of workers: gives them out, never twice, and knows on which link each of them is. Pure:
//! times are durations since the broker started.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use campanile_messages::ids::ID_LIMIT;
use campanile_messages::{InstanceId, WorkerId};

use super::LinkNumber;

/// The most workers of one gateway: more threads than a host of today has.
pub const MAX_WORKERS: u16 = 1_024;

/// How long the ids of a gateway without a link are remembered: it needs up to
/// [`SILENCE_LIMIT`](crate::link::SILENCE_LIMIT) to notice and then up to a second to come back.
pub const AWAY_LIMIT: Duration = Duration::from_secs(10);

/// The most ids of gateways without a link; past it the longest gone are forgotten first.
const MAX_AWAY_IDS: usize = 1 << 16;

/// An id is a one, 31 bits of incarnation and this many bits of counter: 53 in all. The one in front
/// tells every id from the small numbers that people try.
const COUNTER_BITS: u32 = 21;

/// The least id that is ever given out.
const FIRST_ID: u64 = ID_LIMIT / 2;

/// Never drawn, so that the largest number below 2^53 is no id either.
const NO_INCARNATION: u32 = u32::MAX >> 1;

/// Why a gateway's ids are not as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWorkers {
    /// None, or too many.
    #[error("{workers} workers, a gateway has 1 to 1024")]
    Count {
        /// What the hello said.
        workers: u16,
    },
    /// Ids for some workers only.
    #[error("{held} held worker ids for {workers} workers, either none or all must be held")]
    HeldCount {
        /// How many ids.
        held: usize,
        /// How many workers.
        workers: u16,
    },
    /// The same id for two workers.
    #[error("worker id {0} is held twice")]
    Repeated(WorkerId),
    /// Not below 2^53.
    #[error("worker id {0} is not below 2^53")]
    TooLarge(WorkerId),
    /// Two gateways claim it: one of them would get the other's messages.
    #[error("worker id {id} belongs to the gateway of instance {instance}")]
    Taken {
        /// The id.
        id: WorkerId,
        /// Whose it is.
        instance: InstanceId,
    },
}

/// Where a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// Behind this link.
    At(LinkNumber),
    /// Its gateway lost its link not long ago, or may have had it to the broker before this one.
    Away,
    /// No gateway has such a worker.
    Unknown,
}

/// The worker ids of a broker that keeps nothing on disk: a random incarnation and a counter.
pub struct WorkerIds {
    random: Box<dyn FnMut() -> u32>,
    incarnation: u32,
    counter: u32,
    holders: HashMap<WorkerId, InstanceId>,
    gateways: HashMap<InstanceId, Held>,
    /// Who left when, in that order; a gateway that came back is still there.
    left: VecDeque<Left>,
    away_ids: usize,
}

struct Held {
    ids: Vec<WorkerId>,
    link: Option<LinkNumber>,
    left_at: Duration,
}

struct Left {
    at: Duration,
    instance: InstanceId,
    ids: usize,
}

impl WorkerIds {
    /// No ids yet. `random` is asked for an incarnation, and again whenever one is used up.
    pub fn new(random: impl FnMut() -> u32 + 'static) -> Self {
        Self {
            random: Box::new(random),
            incarnation: NO_INCARNATION,
            // The first id draws the first incarnation.
            counter: 1 << COUNTER_BITS,
            holders: HashMap::new(),
            gateways: HashMap::new(),
            left: VecDeque::new(),
            away_ids: 0,
        }
    }

    /// Gives a gateway on a new link the ids that it holds, or new ones. What the same instance had
    /// besides is forgotten.
    ///
    /// # Errors
    /// [`InvalidWorkers`], and nothing has changed.
    pub fn take(
        &mut self,
        instance: InstanceId,
        link: LinkNumber,
        workers: u16,
        held: Vec<WorkerId>,
    ) -> Result<Vec<WorkerId>, InvalidWorkers> {
        self.check(instance, workers, &held)?;
        self.forget(instance);
        let ids = if held.is_empty() { (0..workers).map(|_| self.next()).collect() } else { held };
        self.holders.extend(ids.iter().map(|id| (*id, instance)));
        let gateway = Held { ids: ids.clone(), link: Some(link), left_at: Duration::ZERO };
        self.gateways.insert(instance, gateway);
        Ok(ids)
    }

    /// Where a worker is. A broker that started less than [`AWAY_LIMIT`] ago cannot know yet which
    /// ids of earlier brokers are in use.
    pub fn find(&self, id: WorkerId, now: Duration) -> Whereabouts {
        let gateway = self.holders.get(&id).and_then(|of| self.gateways.get(of));
        match gateway {
            None if now < AWAY_LIMIT && self.may_be_from_before(id) => Whereabouts::Away,
            None => Whereabouts::Unknown,
            Some(gateway) => gateway.link.map_or(Whereabouts::Away, Whereabouts::At),
        }
    }

    /// Notes that a gateway has lost this link. It may have a newer one already.
    pub fn leave(&mut self, instance: InstanceId, link: LinkNumber, now: Duration) {
        let Some(gateway) = self.gateways.get_mut(&instance) else {
            return;
        };
        if gateway.link != Some(link) {
            return;
        }
        gateway.link = None;
        gateway.left_at = now;
        let ids = gateway.ids.len();
        self.away_ids += ids;
        self.left.push_back(Left { at: now, instance, ids });
        self.expire(now);
    }

    /// Forgets those that were away for [`AWAY_LIMIT`].
    pub fn expire(&mut self, now: Duration) {
        while let Some(left) = self.left.front()
            && (left.at + AWAY_LIMIT <= now || self.away_ids > MAX_AWAY_IDS)
        {
            let (at, instance) = (left.at, left.instance);
            self.away_ids -= left.ids;
            self.left.pop_front();
            let still_away = self
                .gateways
                .get(&instance)
                .is_some_and(|gateway| gateway.link.is_none() && gateway.left_at == at);
            if still_away {
                self.forget(instance);
            }
        }
    }

    fn check(
        &self,
        instance: InstanceId,
        workers: u16,
        held: &[WorkerId],
    ) -> Result<(), InvalidWorkers> {
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(InvalidWorkers::Count { workers });
        }
        if !held.is_empty() && held.len() != usize::from(workers) {
            return Err(InvalidWorkers::HeldCount { held: held.len(), workers });
        }
        let mut seen = HashSet::new();
        for &id in held {
            if id.0 >= ID_LIMIT {
                return Err(InvalidWorkers::TooLarge(id));
            }
            if !seen.insert(id) {
                return Err(InvalidWorkers::Repeated(id));
            }
            match self.holders.get(&id) {
                Some(&holder) if holder != instance => {
                    return Err(InvalidWorkers::Taken { id, instance: holder });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn forget(&mut self, instance: InstanceId) {
        if let Some(gateway) = self.gateways.remove(&instance) {
            for id in &gateway.ids {
                self.holders.remove(id);
            }
        }
    }

    fn may_be_from_before(&self, WorkerId(id): WorkerId) -> bool {
        let incarnation = (id % FIRST_ID) >> COUNTER_BITS;
        (FIRST_ID..ID_LIMIT).contains(&id)
            && incarnation != u64::from(self.incarnation)
            && incarnation != u64::from(NO_INCARNATION)
    }

    fn next(&mut self) -> WorkerId {
        loop {
            if self.counter >> COUNTER_BITS != 0 {
                self.incarnation = (self.random)() >> 1;
                self.counter = 0;
            }
            if self.incarnation == NO_INCARNATION {
                self.counter = 1 << COUNTER_BITS;
                continue;
            }
            let place = u64::from(self.incarnation) << COUNTER_BITS | u64::from(self.counter);
            let id = WorkerId(FIRST_ID | place);
            self.counter += 1;
            if !self.holders.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: InstanceId = InstanceId(1);
    const B: InstanceId = InstanceId(2);

    fn ids_from(incarnations: impl IntoIterator<Item = u32, IntoIter: 'static>) -> WorkerIds {
        let mut incarnations = incarnations.into_iter();
        WorkerIds::new(move || incarnations.next().expect("incarnations are enough") << 1)
    }

    fn id(incarnation: u64, counter: u64) -> WorkerId {
        WorkerId(FIRST_ID | incarnation << COUNTER_BITS | counter)
    }

    fn link(number: u64) -> LinkNumber {
        LinkNumber(number)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn every_worker_gets_another_id() {
        let mut ids = ids_from([5]);
        let of_a = ids.take(A, link(1), 2, vec![]);
        assert_eq!(of_a, Ok(vec![id(5, 0), id(5, 1)]));
        assert_eq!(ids.take(B, link(2), 1, vec![]), Ok(vec![id(5, 2)]));
        assert_eq!(ids.find(id(5, 1), AWAY_LIMIT), Whereabouts::At(link(1)));
        assert_eq!(ids.find(id(5, 2), AWAY_LIMIT), Whereabouts::At(link(2)));
        assert_eq!(ids.find(id(5, 3), AWAY_LIMIT), Whereabouts::Unknown);
    }

    #[test]
    fn ids_stay_below_the_limit_and_a_used_up_incarnation_is_followed_by_another() {
        const LAST: u32 = NO_INCARNATION - 1;
        let mut ids = ids_from([LAST, NO_INCARNATION, 9]);
        assert_eq!(ids.next(), id(u64::from(LAST), 0));
        ids.counter = (1 << COUNTER_BITS) - 1;
        assert_eq!(ids.next(), id(u64::from(LAST), (1 << COUNTER_BITS) - 1));
        assert_eq!(ids.next(), id(9, 0));
    }

    #[test]
    fn a_new_broker_does_not_call_a_worker_of_an_earlier_one_gone_before_it_can_be_back() {
        let mut ids = ids_from([5]);
        ids.take(A, link(1), 1, vec![]).unwrap();
        let early = AWAY_LIMIT - Duration::from_nanos(1);
        assert_eq!(ids.find(id(6, 0), early), Whereabouts::Away);
        assert_eq!(ids.find(id(6, 0), AWAY_LIMIT), Whereabouts::Unknown);
        // What no broker gives out, and what this one has not given out, is nobody's.
        for nobody in [WorkerId(0), WorkerId(FIRST_ID - 1), WorkerId(ID_LIMIT - 1), id(5, 1)] {
            assert_eq!(ids.find(nobody, early), Whereabouts::Unknown, "{nobody}");
        }
    }

    #[test]
    fn ids_of_another_broker_are_kept_and_never_given_out() {
        let mut ids = ids_from([5]);
        let held = vec![id(5, 1), id(77, 0)];
        assert_eq!(ids.take(A, link(1), 2, held.clone()), Ok(held));
        assert_eq!(ids.take(B, link(2), 2, vec![]), Ok(vec![id(5, 0), id(5, 2)]));
    }

    #[test]
    fn an_id_of_another_gateway_is_refused_and_nothing_changes() {
        let mut ids = ids_from([5]);
        ids.take(A, link(1), 1, vec![]).unwrap();
        let taken = InvalidWorkers::Taken { id: id(5, 0), instance: A };
        assert_eq!(ids.take(B, link(2), 1, vec![id(5, 0)]), Err(taken));
        assert_eq!(ids.find(id(5, 0), AWAY_LIMIT), Whereabouts::At(link(1)));
        ids.leave(A, link(1), secs(0));
        assert_eq!(ids.take(B, link(3), 1, vec![id(5, 0)]), Err(taken));
    }

    #[test]
    fn a_hello_that_contradicts_itself_is_refused() {
        let mut ids = ids_from([5]);
        let mut take = |workers, held: &[u64]| {
            let held = held.iter().copied().map(WorkerId).collect();
            ids.take(A, link(1), workers, held)
        };
        assert_eq!(take(0, &[]), Err(InvalidWorkers::Count { workers: 0 }));
        assert_eq!(take(1_025, &[]), Err(InvalidWorkers::Count { workers: 1_025 }));
        assert_eq!(take(2, &[1]), Err(InvalidWorkers::HeldCount { held: 1, workers: 2 }));
        assert_eq!(take(2, &[1, 1]), Err(InvalidWorkers::Repeated(WorkerId(1))));
        assert_eq!(take(1, &[ID_LIMIT]), Err(InvalidWorkers::TooLarge(WorkerId(ID_LIMIT))));
    }

    #[test]
    fn a_gateway_without_a_link_is_away_for_a_while_and_then_unknown() {
        let mut ids = ids_from([5]);
        ids.take(A, link(1), 1, vec![]).unwrap();
        ids.leave(A, link(1), secs(3));
        ids.expire(secs(13) - Duration::from_nanos(1));
        assert_eq!(ids.find(id(5, 0), AWAY_LIMIT), Whereabouts::Away);
        ids.expire(secs(13));
        assert_eq!(ids.find(id(5, 0), AWAY_LIMIT), Whereabouts::Unknown);
        assert!(ids.gateways.is_empty() && ids.holders.is_empty() && ids.left.is_empty());
    }

    #[test]
    fn a_gateway_that_came_back_is_not_forgotten_with_its_earlier_link() {
        let mut ids = ids_from([5]);
        let held = ids.take(A, link(1), 1, vec![]).unwrap();
        ids.leave(A, link(1), secs(0));
        ids.take(A, link(2), 1, held.clone()).unwrap();
        ids.leave(A, link(1), secs(1));
        ids.expire(secs(60));
        assert_eq!(ids.find(held[0], AWAY_LIMIT), Whereabouts::At(link(2)));
    }

    #[test]
    fn what_gateways_without_a_link_can_hold_is_bounded() {
        let mut ids = ids_from(1..);
        for instance in 0..1_000 {
            let instance = InstanceId(instance);
            ids.take(instance, link(instance.0), MAX_WORKERS, vec![]).unwrap();
            ids.leave(instance, link(instance.0), secs(0));
        }
        assert_eq!(ids.holders.len(), MAX_AWAY_IDS);
        assert_eq!(ids.find(id(1, 0), AWAY_LIMIT), Whereabouts::Unknown);
    }

    proptest! {
        /// The model: all ids that were ever given out, and who holds which on what link.
        #[test]
        fn no_id_is_given_out_twice_and_each_is_where_it_was_taken(
            steps in prop::collection::vec((0u64..4, 0u8..3, 1u16..4, 0u64..6), 0..60),
        ) {
            let mut ids = ids_from(1..);
            let mut given = HashSet::new();
            let mut model: HashMap<u64, (Vec<WorkerId>, LinkNumber, bool)> = HashMap::new();
            let mut now = Duration::ZERO;
            for (number, (instance, action, workers, wait)) in steps.into_iter().enumerate() {
                let number = link(number as u64);
                match action {
                    0 => {
                        let new = ids.take(InstanceId(instance), number, workers, vec![]).unwrap();
                        prop_assert_eq!(new.len(), usize::from(workers));
                        prop_assert!(new.iter().all(|id| given.insert(*id)));
                        model.insert(instance, (new, number, true));
                    }
                    1 => {
                        if let Some((held, link, linked)) = model.get_mut(&instance) {
                            let workers = held.len() as u16;
                            let kept = ids.take(InstanceId(instance), number, workers, held.clone());
                            prop_assert_eq!(kept.as_ref(), Ok(&*held));
                            (*link, *linked) = (number, true);
                        }
                    }
                    _ => {
                        if let Some((_, link, linked)) = model.get_mut(&instance) {
                            ids.leave(InstanceId(instance), *link, now);
                            *linked = false;
                        }
                    }
                }
                now += secs(wait);
                ids.expire(now);
                for (held, link, linked) in model.values() {
                    for id in held {
                        let found = ids.find(*id, AWAY_LIMIT);
                        if *linked {
                            prop_assert_eq!(found, Whereabouts::At(*link));
                        } else {
                            prop_assert!(!matches!(found, Whereabouts::At(_)));
                        }
                    }
                }
            }
        }
    }
}
