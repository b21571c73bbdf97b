//! Clients that come back, on their way to what they have missed: what this gateway does not have
//! is asked of the broker, once for all clients that lack the same. Pure: a part of the bridge's
//! core.
//!
//! ```text
//! add ──▶ unconfirmed ──confirmed──▶ ready ──judge──▶ all is there, or lost: answered
//!           │    ▲                    ▲                 │ something is unknown
//!           │    └── link_lost        └── fetched ◀── waits for the want that asks for it
//!           └── interest_sent: what is unknown is asked for at once
//! ```
//!
//! What a client lacks is asked for as soon as the broker was told of its interest. It is judged only
//! when the broker has confirmed that: by where the log ended then, for the gateway may have been
//! behind the one where the client was before; and by what is here then, for more may have come, and
//! some of what was here may be gone.
//!
//! What is fetched for one client may not be kept until it is judged again, if others fetch much.
//! So a client waits `MAX_WAITS` times, and then it has missed too much. A client that has missed
//! too much is known to have as soon as the first events past the bound are here.
//!
//! Bounded by the connections: each has one per step, until it goes away.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use campanile_messages::link::Want;
use campanile_messages::{Audience, Position};

use crate::bridge::recent::{Missed, Recent};
use crate::bridge::wants::{WantId, Wants};
use crate::delivery::{FoundEvents, ResumeOutcome};
use crate::report::{Resume, StepTicket};
use crate::resume::{Lost, ReplayStart};

/// How many clients are put off before the caller can look at the clock.
const JUDGED_AT_ONCE: usize = 100;

/// How often a client waits for fetches before it is told that it has missed too much.
const MAX_WAITS: u32 = 3;

/// How many audiences are looked up before the broker has confirmed any, some 20 ms of work. What is
/// not looked up then is when it has.
const LOOKED_UP_AT_ONCE: usize = 100_000;

/// Which worker's, from 0, and the worker's own number for it.
type ResumeKey = (usize, StepTicket);

/// See the module.
#[derive(Debug)]
pub struct Resumes {
    /// By worker: those whose interest the broker has not confirmed on this link.
    unconfirmed: Vec<BTreeMap<StepTicket, WaitingClient>>,
    /// Those whose interest it has.
    confirmed: HashMap<ResumeKey, ConfirmedClient>,
    /// ConfirmedClient ones to be judged, and some that are gone.
    ready: VecDeque<ResumeKey>,
    /// The same that wait, by the id of the want.
    waiting: BTreeMap<WantId, Vec<ResumeKey>>,
    wants: Wants,
}

#[derive(Debug)]
struct WaitingClient {
    start: ReplayStart,
    audiences: Vec<Audience>,
    /// The id of the want that asks for what it lacked when the broker was told of its interest.
    asked: Option<WantId>,
}

#[derive(Debug)]
struct ConfirmedClient {
    waiter: WaitingClient,
    /// Where the log ended when its interest was confirmed.
    head: Position,
    /// How often it has waited on this link.
    waits: u32,
}

/// What a client lacks: the events of these audiences above a sequence.
struct Lack {
    since: u64,
    audiences: Vec<Audience>,
}

impl WaitingClient {
    /// Whether it goes on in a log that ends here, as far as its position tells.
    fn belongs_to(&self, head: Position) -> bool {
        match self.start {
            ReplayStart::After(Position { epoch, sequence }) => {
                epoch == head.epoch && sequence <= head.sequence
            }
            ReplayStart::History(_) => true,
        }
    }

    /// What must be asked for before it can be judged, in a log of this epoch.
    fn lack(&self, epoch: u64, recent: &Recent, max_bytes: usize) -> Option<Lack> {
        let (since, audiences) = match self.start {
            ReplayStart::After(since) if since.epoch != epoch => return None,
            ReplayStart::After(Position { sequence, .. }) => {
                (sequence, recent.unknown(sequence, &self.audiences, max_bytes))
            }
            ReplayStart::History(history) => {
                let max_events = history.max_events();
                (0, recent.unknown_to_history(max_events, &self.audiences, max_bytes))
            }
        };
        (!audiences.is_empty()).then_some(Lack { since, audiences })
    }
}

impl ConfirmedClient {
    /// What the client is told.
    ///
    /// # Errors
    /// What must be asked for before.
    fn judge(&self, recent: &Recent, max_bytes: usize) -> Result<ResumeOutcome, Lack> {
        let Self { waiter: WaitingClient { start, audiences, .. }, head, waits } = self;
        let has_waited = *waits == MAX_WAITS;
        if !self.waiter.belongs_to(*head) {
            return Ok(Err(Lost::EpochChanged));
        }
        let sequence = match *start {
            ReplayStart::After(since) => since.sequence,
            ReplayStart::History(history) => {
                let max_events = history.max_events();
                let (found, unknown) = recent.history(max_events, audiences, max_bytes);
                // A new listener has missed nothing: where too much is fetched for others, it
                // begins with what is there.
                let is_done = unknown.is_empty() || has_waited;
                return if is_done {
                    Ok(Ok(found))
                } else {
                    Err(Lack { since: 0, audiences: unknown })
                };
            }
        };
        match recent.missed(sequence, audiences, max_bytes) {
            Missed::Events(events) => Ok(Ok(FoundEvents { events, is_complete: true })),
            Missed::Lost(lost) => Ok(Err(lost)),
            Missed::Unknown(_) if has_waited => Ok(Err(Lost::TooFar)),
            Missed::Unknown(audiences) => Err(Lack { since: sequence, audiences }),
        }
    }
}

impl Resumes {
    /// Nobody comes back yet, to so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            unconfirmed: std::iter::repeat_with(BTreeMap::new).take(workers).collect(),
            confirmed: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            wants: Wants::default(),
        }
    }

    /// A client of a worker comes back. Its interest is in the next report to the broker.
    pub fn add(&mut self, worker: usize, resume: Resume) {
        let Resume { ticket, start, audiences } = resume;
        self.unconfirmed[worker].insert(ticket, WaitingClient { start, audiences, asked: None });
    }

    /// Nobody waits for these any more.
    pub fn forget(&mut self, worker: usize, tickets: &[StepTicket]) {
        for ticket in tickets {
            if self.unconfirmed[worker].remove(ticket).is_none() {
                self.confirmed.remove(&(worker, *ticket));
            }
        }
    }

    /// All that was added is in what the broker was just told; its log is of this epoch. What is
    /// unknown is asked for, without waiting for the confirmation.
    pub fn interest_sent(&mut self, epoch: u64, recent: &Recent, max_bytes: usize) {
        let mut looked_up = 0;
        let mut unconfirmed = std::mem::take(&mut self.unconfirmed);
        for waiter in unconfirmed.iter_mut().flat_map(BTreeMap::values_mut) {
            looked_up += waiter.audiences.len();
            if looked_up > LOOKED_UP_AT_ONCE {
                break;
            }
            let lack = waiter.lack(epoch, recent, max_bytes);
            waiter.asked = lack.map(|Lack { since, audiences }| self.wants.ask(since, audiences));
        }
        self.unconfirmed = unconfirmed;
    }

    /// The broker has confirmed the interest of each worker up to these tickets. The log ended here.
    pub fn confirmed(&mut self, tickets: &[StepTicket], head: Position) {
        for (worker, ticket) in tickets.iter().enumerate() {
            let later = self.unconfirmed[worker].split_off(&(ticket + 1));
            for (ticket, waiter) in std::mem::replace(&mut self.unconfirmed[worker], later) {
                let key = (worker, ticket);
                // A part of the answer may be here, so not all of that is unknown any more.
                let asked = waiter.asked.filter(|_| waiter.belongs_to(head));
                let waits_for = asked.filter(|id| self.wants.is_to_come(*id));
                match waits_for {
                    Some(id) => self.waiting.entry(id).or_default().push(key),
                    None => self.ready.push_back(key),
                }
                let waits = u32::from(waits_for.is_some());
                self.confirmed.insert(key, ConfirmedClient { waiter, head, waits });
            }
        }
    }

    /// Nobody can be answered now.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Clients wait for the answer of the broker.
    pub fn is_fetching(&self) -> bool {
        self.wants.is_fetching()
    }

    /// The next client that can be answered: its worker, its ticket and the answer. `None` also where
    /// many had to wait for a fetch, though others may be ready. A client that has missed more than
    /// `max_bytes` is told so.
    pub fn judge(
        &mut self,
        recent: &Recent,
        max_bytes: usize,
    ) -> Option<(usize, StepTicket, ResumeOutcome)> {
        for _ in 0..JUDGED_AT_ONCE {
            let key = self.ready.pop_front()?;
            let Some(confirmed) = self.confirmed.get_mut(&key) else { continue };
            match confirmed.judge(recent, max_bytes) {
                Ok(outcome) => {
                    self.confirmed.remove(&key);
                    return Some((key.0, key.1, outcome));
                }
                Err(Lack { since, audiences }) => {
                    confirmed.waits += 1;
                    let id = self.wants.ask(since, audiences);
                    self.waiting.entry(id).or_default().push(key);
                }
            }
        }
        None
    }

    /// What to ask the broker for, under which number; `None` while it is being asked.
    pub fn fetch(&mut self) -> Option<(u64, Vec<Want>)> {
        self.wants.fetch()
    }

    /// Whether somebody may wait for what the fetch under way brings of an audience.
    pub fn is_fetched(&self, audience: &Audience) -> bool {
        self.wants.is_fetched(audience)
    }

    /// The broker has answered the first `served` wants of a fetch: those who waited for them are
    /// ready. The others are asked for again, if somebody waits for them.
    pub fn fetched(&mut self, number: u64, served: usize) {
        let Self { waiting, ready, wants, .. } = self;
        for id in wants.fetched(number, served, |id| waiting.contains_key(&id)) {
            ready.extend(waiting.remove(&id).into_iter().flatten());
        }
    }

    /// Nobody listens to these any more, so those who wait for them are gone. What a fetch brings of
    /// them is of no use: their later events do not come.
    pub fn withdraw(&mut self, audiences: &[Audience]) {
        let nobody_waits =
            self.confirmed.is_empty() && self.unconfirmed.iter().all(BTreeMap::is_empty);
        if nobody_waits && self.wants.is_empty() {
            return;
        }
        let withdrawn: HashSet<_> = audiences.iter().collect();
        let stays =
            |audiences: &[Audience]| !audiences.iter().any(|audience| withdrawn.contains(audience));
        for waiters in &mut self.unconfirmed {
            waiters.retain(|_, waiter| stays(&waiter.audiences));
        }
        self.confirmed.retain(|_, confirmed| stays(&confirmed.waiter.audiences));
        self.waiting.retain(|_, keys| {
            keys.retain(|key| self.confirmed.contains_key(key));
            !keys.is_empty()
        });
        self.wants.withdraw(&withdrawn);
    }

    /// What was asked for does not come any more, and what was confirmed is to be told to another
    /// broker.
    pub fn link_lost(&mut self) {
        for ((worker, ticket), confirmed) in self.confirmed.drain() {
            self.unconfirmed[worker].insert(ticket, confirmed.waiter);
        }
        self.ready.clear();
        self.waiting.clear();
        self.wants.clear();
    }

    /// Nobody waits for anything.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.unconfirmed.iter().all(BTreeMap::is_empty)
    }
}

#[cfg(test)]
mod tests;
