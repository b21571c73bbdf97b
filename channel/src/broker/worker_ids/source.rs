//! Where the ids of workers come from, so that none is given out twice. Pure.

use campanile_messages::WorkerId;
use campanile_messages::ids::ID_LIMIT;

use super::MAX_WORKERS;

/// How many ids are reserved on disk at once. More are reserved when half of them are given out, so
/// that a gateway does not have to wait for the disk unless many arrive while the disk is stuck. After
/// a crash at most this many ids are skipped.
pub const RESERVED_IDS: u64 = 4 * MAX_WORKERS as u64;

/// How far gateways can move the counter in one run of a broker by claiming ids: further than any
/// cluster counts, but so little that 8,000 hostile runs do not use up the ids.
pub(super) const MAX_AHEAD: u64 = 1 << 40;

/// A drawn id has 53 bits: a one, 31 bits of incarnation, and this many bits of counter. The one
/// distinguishes every id from the small numbers that people try out.
pub(super) const COUNTER_BITS: u32 = 21;

/// The least id that is ever drawn.
pub(super) const FIRST_DRAWN: u64 = ID_LIMIT / 2;

/// An incarnation that is never drawn, so that the largest number below 2^53 is not an id.
pub(super) const NO_INCARNATION: u32 = u32::MAX >> 1;

/// How a broker makes new ids.
pub enum Supply {
    /// For a broker without a disk: from a counter and a random incarnation, which this draws.
    Drawn(Box<dyn FnMut() -> u32>),
    /// From a counter that begins here. The next [`RESERVED_IDS`] are reserved on disk already.
    Counted(u64),
}

/// Makes new ids.
pub(super) enum IdSource {
    Drawn(Drawn),
    Counted(Counted),
}

pub(super) struct Drawn {
    random: Box<dyn FnMut() -> u32>,
    incarnation: u32,
    pub(super) counter: u32,
}

pub(super) struct Counted {
    next: u64,
    at_start: u64,
    /// What is on disk: after a crash, the next broker counts from here.
    reserved: u64,
    /// What `reserved` will be as soon as it is on disk.
    requested: u64,
}

/// The end of the ids that a broker reserves which counts from `start`.
pub fn reserved_from(start: u64) -> u64 {
    (start + RESERVED_IDS).min(limit_from(start)).max(start)
}

fn limit_from(start: u64) -> u64 {
    if start < FIRST_DRAWN { FIRST_DRAWN } else { ID_LIMIT }
}

impl IdSource {
    pub(super) fn new(supply: Supply) -> Self {
        match supply {
            Supply::Counted(next) => {
                let reserved = reserved_from(next);
                Self::Counted(Counted { next, at_start: next, reserved, requested: reserved })
            }
            Supply::Drawn(random) => {
                // This counter has run out, so the first id draws the first incarnation.
                let (incarnation, counter) = (NO_INCARNATION, 1 << COUNTER_BITS);
                Self::Drawn(Drawn { random, incarnation, counter })
            }
        }
    }

    /// The next id. A gateway may hold it already, if an earlier broker gave it out.
    pub(super) fn next(&mut self) -> WorkerId {
        match self {
            Self::Drawn(drawn) => drawn.next(),
            Self::Counted(counted) => {
                counted.next += 1;
                WorkerId(counted.next - 1)
            }
        }
    }

    /// Skips ids that gateways hold. Those above the counter are from a broker of whose data directory
    /// this is an older copy. Those above the limit were drawn by a broker without a disk, and the
    /// counter never reaches them.
    pub(super) fn skip(&mut self, ids: &[WorkerId]) {
        if let Self::Counted(counted) = self {
            let above = ids.iter().filter(|id| id.0 < counted.limit()).map(|id| id.0 + 1);
            counted.next = above.fold(counted.next, u64::max);
        }
    }

    /// The least id that was never given out, if ids are counted.
    pub(super) fn next_counted(&self) -> Option<u64> {
        match self {
            Self::Counted(counted) => Some(counted.next),
            Self::Drawn(_) => None,
        }
    }

    /// Whether this many ids are left.
    pub(super) fn has(&self, count: u16) -> bool {
        match self {
            Self::Counted(counted) => counted.next + u64::from(count) <= counted.limit(),
            Self::Drawn(_) => true,
        }
    }

    /// Whether an id is far above everything that this data directory, or an older copy of it, can have
    /// given out; then returns the least id that was never given out.
    pub(super) fn is_far_above(&self, WorkerId(id): WorkerId) -> Option<u64> {
        match self {
            Self::Counted(counted) => {
                let far = counted.at_start + MAX_AHEAD..counted.limit();
                far.contains(&id).then_some(counted.next)
            }
            Self::Drawn(_) => None,
        }
    }

    /// Whether this many ids cannot be given out before more are reserved.
    pub(super) fn must_wait(&self, count: u16) -> bool {
        match self {
            Self::Counted(counted) => {
                let next = counted.next + u64::from(count);
                counted.reserved < next && next <= counted.limit()
            }
            Self::Drawn(_) => false,
        }
    }

    /// The end of the ids that should be reserved on disk now. Returned once.
    pub(super) fn next_to_reserve(&mut self) -> Option<u64> {
        let Self::Counted(counted) = self else {
            return None;
        };
        let wanted = (counted.next + RESERVED_IDS).min(counted.limit());
        let are_enough = counted.next + RESERVED_IDS / 2 < counted.reserved;
        if are_enough || counted.requested > counted.reserved || wanted <= counted.reserved {
            return None;
        }
        counted.requested = wanted;
        Some(wanted)
    }

    /// Notes that the ids below `end` are reserved on disk.
    pub(super) fn reserved(&mut self, end: u64) {
        if let Self::Counted(counted) = self {
            counted.reserved = end;
        }
    }

    /// Whether an earlier broker may have given out an id.
    pub(super) fn may_be_from_before(&self, WorkerId(id): WorkerId) -> bool {
        match self {
            Self::Counted(counted) => id < counted.at_start,
            Self::Drawn(drawn) => {
                let incarnation = (id % FIRST_DRAWN) >> COUNTER_BITS;
                (FIRST_DRAWN..ID_LIMIT).contains(&id)
                    && incarnation != u64::from(drawn.incarnation)
                    && incarnation != u64::from(NO_INCARNATION)
            }
        }
    }
}

impl Counted {
    /// All counted ids are below this. The ids that a broker without a disk draws are above it.
    fn limit(&self) -> u64 {
        limit_from(self.at_start)
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
        let low = u64::from(self.incarnation) << COUNTER_BITS | u64::from(self.counter);
        self.counter += 1;
        WorkerId(FIRST_DRAWN | low)
    }
}
