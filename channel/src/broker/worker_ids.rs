//! The ids of workers: gives them out, each only once, and knows on which link each worker is. Pure:
//! times are those of the broker's clock.

mod source;

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use campanile_messages::ids::ID_LIMIT;
use campanile_messages::{InstanceId, WorkerId};

use self::source::IdSource;
use super::routing::LinkNumber;

pub use self::source::{Supply, reserved_from};

/// The most workers of one gateway: more threads than a host of today has.
const MAX_WORKERS: u16 = 1_024;

/// The most ids of gateways without a link. When there are more, the gateways that left first are
/// forgotten.
const MAX_AWAY_IDS: usize = 1 << 16;

/// What is wrong with the worker ids in a gateway's hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWorkers {
    #[error("{workers} workers, but a gateway has 1 to {MAX_WORKERS}")]
    Count { workers: u16 },
    #[error("{held} held worker ids for {workers} workers, but a gateway holds none or all")]
    HeldCount { held: usize, workers: u16 },
    #[error("worker id {0} is held twice")]
    Repeated(WorkerId),
    #[error("worker id {0} is not below 2^53")]
    TooLarge(WorkerId),
    #[error(
        "worker id {id} was never given out by this cluster: the data directory has counted to \
         {next}; restart the gateway"
    )]
    TooFarAhead {
        id: WorkerId,
        /// The least id that was never given out.
        next: u64,
    },
    #[error("the data directory has given out all worker ids; give the broker a new one")]
    UsedUp,
    /// One of the two gateways would get the other's messages.
    #[error("worker id {id} belongs to the gateway of instance {instance}")]
    Taken { id: WorkerId, instance: InstanceId },
}

/// Where a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// Its gateway has this link.
    At(LinkNumber),
    /// Its gateway has lost its link a short while ago, or had one to the broker before this one and
    /// may come back.
    Away,
    /// No gateway has such a worker.
    Unknown,
}

/// All workers of the cluster.
pub struct WorkerIds {
    source: IdSource,
    started: Duration,
    return_limit: Duration,
    holders: HashMap<WorkerId, InstanceId>,
    gateways: HashMap<InstanceId, Gateway>,
    /// The gateways that have lost their links, in that order. Some of them may be back.
    left: VecDeque<Departure>,
    away_ids: usize,
    /// How many gateways have no link.
    away: u32,
}

struct Gateway {
    ids: Vec<WorkerId>,
    link: Option<LinkNumber>,
    left_at: Duration,
}

struct Departure {
    at: Duration,
    instance: InstanceId,
    ids: usize,
}

impl WorkerIds {
    /// No workers yet. The ids of a gateway without a link are remembered for `return_limit`: the
    /// gateway needs up to [`SILENCE_LIMIT`](crate::link::SILENCE_LIMIT) to notice, and then up to a
    /// second to return.
    pub fn new(supply: Supply, started: Duration, return_limit: Duration) -> Self {
        Self {
            source: IdSource::new(supply),
            started,
            return_limit,
            holders: HashMap::new(),
            gateways: HashMap::new(),
            left: VecDeque::new(),
            away_ids: 0,
            away: 0,
        }
    }

    /// Gives a gateway with a new link the ids that it holds, or new ones if it holds none. Any other
    /// ids of the same instance are forgotten.
    ///
    /// # Errors
    /// [`InvalidWorkers`]; nothing has changed then.
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
        self.source.skip(&ids);
        self.holders.extend(ids.iter().map(|id| (*id, instance)));
        let gateway = Gateway { ids: ids.clone(), link: Some(link), left_at: Duration::ZERO };
        self.gateways.insert(instance, gateway);
        Ok(ids)
    }

    /// The least id that was never given out, if ids are counted.
    pub fn next_counted(&self) -> Option<u64> {
        self.source.next_counted()
    }

    /// Whether this many new ids cannot be given out before more are [reserved](Self::ids_to_reserve) on
    /// disk: nobody may learn an id that would be given out again after a crash.
    pub fn must_wait(&self, workers: u16) -> bool {
        self.source.must_wait(workers)
    }

    /// The end of the ids that should be reserved on disk now. Returned once.
    pub fn ids_to_reserve(&mut self) -> Option<u64> {
        self.source.next_to_reserve()
    }

    /// Notes that the ids below `end` are reserved on disk.
    pub fn reserved(&mut self, end: u64) {
        self.source.reserved(end);
    }

    /// How many gateways have lost their links and may come back.
    pub fn away(&mut self, now: Duration) -> u32 {
        self.expire(now);
        self.away
    }

    /// The gateways that have lost their links and may come back.
    pub fn away_gateways(&self, now: Duration) -> impl Iterator<Item = InstanceId> {
        let away = self.gateways.iter().filter(move |(_, gateway)| {
            gateway.link.is_none() && now < gateway.left_at + self.return_limit
        });
        away.map(|(instance, _)| *instance)
    }

    /// Where a worker is. A broker that has just started does not know yet which ids of earlier brokers
    /// are in use.
    pub fn find(&self, id: WorkerId, now: Duration) -> Whereabouts {
        let gateway = self.holders.get(&id).and_then(|holder| self.gateways.get(holder));
        let is_early = now < self.started + self.return_limit;
        match gateway {
            None if is_early && self.source.may_be_from_before(id) => Whereabouts::Away,
            None => Whereabouts::Unknown,
            Some(gateway) => gateway.link.map_or(Whereabouts::Away, Whereabouts::At),
        }
    }

    /// Notes that a gateway has lost this link. It may already have a newer one.
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
        self.left.push_back(Departure { at: now, instance, ids });
        self.expire(now);
    }

    /// Forgets gateways that were away for too long.
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
        if held.is_empty() && !self.source.has(workers) {
            return Err(InvalidWorkers::UsedUp);
        }
        let mut seen = HashSet::new();
        for &id in held {
            if id.0 >= ID_LIMIT {
                return Err(InvalidWorkers::TooLarge(id));
            }
            if let Some(next) = self.source.is_far_above(id) {
                return Err(InvalidWorkers::TooFarAhead { id, next });
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

    fn next(&mut self) -> WorkerId {
        loop {
            let id = self.source.next();
            if !self.holders.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests;
