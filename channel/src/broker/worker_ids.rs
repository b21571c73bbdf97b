//! The ids of workers: gives them out, never twice, and knows on which link each of them is. Pure:
//! times are those of the broker's clock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use campanile_messages::ids::ID_LIMIT;
use campanile_messages::{InstanceId, WorkerId};

use super::LinkNumber;

/// The most workers of one gateway: more threads than a host of today has.
pub const MAX_WORKERS: u16 = 1_024;

/// The most ids of gateways without a link; past it the longest gone are forgotten first.
const MAX_AWAY_IDS: usize = 1 << 16;

/// How many ids are reserved on disk at once, and again when half of them are given out: a gateway does
/// not wait for the disk then, unless many come while it is stuck. A crash skips at most so many.
pub const RESERVED_IDS: u64 = 4 * MAX_WORKERS as u64;

/// How far gateways can move the counter in one run of a broker by what they say they hold: more than
/// any cluster gives out, and 8,000 hostile runs do not use up the ids.
const MAX_AHEAD: u64 = 1 << 40;

/// A drawn id is a one, 31 bits of incarnation and this many bits of counter: 53 in all. The one in front
/// tells every id from the small numbers that people try.
const COUNTER_BITS: u32 = 21;

/// The least id that is ever drawn.
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
    /// Far above all that this data directory or an older copy of it can have given out.
    #[error(
        "worker id {id} was never given out by this cluster: the data directory has counted to \
         {next}; restart the gateway"
    )]
    TooFarAhead {
        /// The id.
        id: WorkerId,
        /// The least that was never given out.
        next: u64,
    },
    /// There are no more ids below 2^53.
    #[error("the data directory has given out all worker ids; give the broker a new one")]
    UsedUp,
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

/// Where new ids come from.
pub enum Supply {
    /// From a broker that keeps nothing on disk: a random incarnation, drawn with this, and a counter.
    Drawn(Box<dyn FnMut() -> u32>),
    /// From a counter, which stands here; the next [`RESERVED_IDS`] are reserved on disk.
    Counted(u64),
}

/// See the module.
pub struct WorkerIds {
    source: Source,
    started: Duration,
    return_limit: Duration,
    holders: HashMap<WorkerId, InstanceId>,
    gateways: HashMap<InstanceId, Held>,
    /// Who left when, in that order; a gateway that came back is still there.
    left: VecDeque<Left>,
    away_ids: usize,
    /// How many gateways have no link.
    away: u32,
}

enum Source {
    Drawn(Drawn),
    Counted(Counted),
}

struct Counted {
    next: u64,
    at_start: u64,
    /// On disk: a broker that starts after a crash counts from here.
    reserved: u64,
    /// What `reserved` is to become.
    asked: u64,
}

impl Counted {
    /// All ids are below this. Those of a broker without a disk are above those that are counted.
    fn limit(&self) -> u64 {
        limit_from(self.at_start)
    }
}

fn limit_from(start: u64) -> u64 {
    if start < FIRST_ID { FIRST_ID } else { ID_LIMIT }
}

/// Up to where ids are reserved by a broker that counts from here.
pub fn reserved_from(start: u64) -> u64 {
    (start + RESERVED_IDS).min(limit_from(start)).max(start)
}

struct Drawn {
    random: Box<dyn FnMut() -> u32>,
    incarnation: u32,
    counter: u32,
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
    /// No ids yet. What a gateway without a link held is remembered for `return_limit`: it needs up
    /// to [`SILENCE_LIMIT`](crate::link::SILENCE_LIMIT) to notice and then up to a second to return.
    pub fn new(supply: Supply, started: Duration, return_limit: Duration) -> Self {
        let source = match supply {
            Supply::Counted(next) => {
                let reserved = reserved_from(next);
                Source::Counted(Counted { next, at_start: next, reserved, asked: reserved })
            }
            Supply::Drawn(random) => {
                // The first id draws the first incarnation.
                let (incarnation, counter) = (NO_INCARNATION, 1 << COUNTER_BITS);
                Source::Drawn(Drawn { random, incarnation, counter })
            }
        };
        Self {
            source,
            started,
            return_limit,
            holders: HashMap::new(),
            gateways: HashMap::new(),
            left: VecDeque::new(),
            away_ids: 0,
            away: 0,
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
        if let Source::Counted(counted) = &mut self.source {
            // Ids above the counter are from a broker of which this one is an older copy; those past
            // the limit were drawn by one without a disk, and are never counted to.
            let above = ids.iter().filter(|id| id.0 < counted.limit()).map(|id| id.0 + 1);
            counted.next = above.fold(counted.next, u64::max);
        }
        self.holders.extend(ids.iter().map(|id| (*id, instance)));
        let gateway = Held { ids: ids.clone(), link: Some(link), left_at: Duration::ZERO };
        self.gateways.insert(instance, gateway);
        Ok(ids)
    }

    /// The least id that was never given out, if ids are counted.
    pub fn next_counted(&self) -> Option<u64> {
        match &self.source {
            Source::Counted(counted) => Some(counted.next),
            Source::Drawn(_) => None,
        }
    }

    /// Whether this many new ids cannot be given out before more are [reserved](Self::ids_to_reserve) on
    /// disk: nobody may learn an id that a crash would have given out again.
    pub fn must_wait(&self, workers: u16) -> bool {
        match &self.source {
            Source::Counted(counted) => {
                let next = counted.next + u64::from(workers);
                counted.reserved < next && next <= counted.limit()
            }
            Source::Drawn(_) => false,
        }
    }

    /// Up to where ids are to be reserved on disk, if it is time to; said once.
    pub fn ids_to_reserve(&mut self) -> Option<u64> {
        let Source::Counted(counted) = &mut self.source else {
            return None;
        };
        let wanted = (counted.next + RESERVED_IDS).min(counted.limit());
        let are_enough = counted.next + RESERVED_IDS / 2 < counted.reserved;
        if are_enough || counted.asked > counted.reserved || wanted <= counted.reserved {
            return None;
        }
        counted.asked = wanted;
        Some(wanted)
    }

    /// Ids up to here are reserved on disk.
    pub fn reserved(&mut self, up_to: u64) {
        if let Source::Counted(counted) = &mut self.source {
            counted.reserved = up_to;
        }
    }

    /// How many gateways have lost their link and may come back.
    pub fn away(&mut self, now: Duration) -> u32 {
        self.expire(now);
        self.away
    }

    /// Where a worker is. A broker that has just started cannot know yet which ids of earlier
    /// brokers are in use.
    pub fn find(&self, id: WorkerId, now: Duration) -> Whereabouts {
        let gateway = self.holders.get(&id).and_then(|of| self.gateways.get(of));
        match gateway {
            None if now < self.started + self.return_limit && self.may_be_from_before(id) => {
                Whereabouts::Away
            }
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
        self.away += 1;
        let ids = gateway.ids.len();
        self.away_ids += ids;
        self.left.push_back(Left { at: now, instance, ids });
        self.expire(now);
    }

    /// Forgets those that were away for too long.
    pub fn expire(&mut self, now: Duration) {
        while let Some(left) = self.left.front()
            && (left.at + self.return_limit <= now || self.away_ids > MAX_AWAY_IDS)
        {
            let (at, instance) = (left.at, left.instance);
            self.away_ids -= left.ids;
            self.left.pop_front();
            if self.is_away(instance, at) {
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
        if let Source::Counted(counted) = &self.source
            && held.is_empty()
            && counted.next + u64::from(workers) > counted.limit()
        {
            return Err(InvalidWorkers::UsedUp);
        }
        let mut seen = HashSet::new();
        for &id in held {
            if id.0 >= ID_LIMIT {
                return Err(InvalidWorkers::TooLarge(id));
            }
            if let Source::Counted(counted) = &self.source
                && (counted.at_start + MAX_AHEAD..counted.limit()).contains(&id.0)
            {
                return Err(InvalidWorkers::TooFarAhead { id, next: counted.next });
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
            self.away -= u32::from(gateway.link.is_none());
            for id in &gateway.ids {
                self.holders.remove(id);
            }
        }
    }

    fn is_away(&self, instance: InstanceId, since: Duration) -> bool {
        let gateway = self.gateways.get(&instance);
        gateway.is_some_and(|gateway| gateway.link.is_none() && gateway.left_at == since)
    }

    fn may_be_from_before(&self, WorkerId(id): WorkerId) -> bool {
        match &self.source {
            Source::Counted(counted) => id < counted.at_start,
            Source::Drawn(drawn) => {
                let incarnation = (id % FIRST_ID) >> COUNTER_BITS;
                (FIRST_ID..ID_LIMIT).contains(&id)
                    && incarnation != u64::from(drawn.incarnation)
                    && incarnation != u64::from(NO_INCARNATION)
            }
        }
    }

    fn next(&mut self) -> WorkerId {
        loop {
            let id = match &mut self.source {
                Source::Drawn(drawn) => drawn.next(),
                Source::Counted(counted) => {
                    counted.next += 1;
                    WorkerId(counted.next - 1)
                }
            };
            if !self.holders.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Drawn {
    fn next(&mut self) -> WorkerId {
        while self.counter >> COUNTER_BITS != 0 {
            self.incarnation = (self.random)() >> 1;
            if self.incarnation != NO_INCARNATION {
                self.counter = 0;
            }
        }
        let place = u64::from(self.incarnation) << COUNTER_BITS | u64::from(self.counter);
        self.counter += 1;
        WorkerId(FIRST_ID | place)
    }
}

#[cfg(test)]
mod tests;
