//! The clients that return with a position, and new listeners that ask for earlier events, until they
//! have their answer. Events that this gateway does not have are fetched from the broker, once for all
//! clients that lack the same. Pure: a part of the bridge's core.
//!
//! ```text
//! add ──▶ unconfirmed ──confirmed──▶ ready ──judge──▶ all events are here, or some are lost: answered
//!           │    ▲                    ▲                 │ some audiences are unknown
//!           │    └── link_lost        └── fetched ◀── waits for a want that asks for them
//!           └── interest_sent: asks for unknown audiences at once
//! ```
//!
//! The events that a client lacks are requested as soon as its interest is reported to the broker. The
//! client is judged only when the broker has confirmed the interest: by where the log ended then,
//! because this gateway may have been behind the one that the client was connected to before; and by the
//! events that are here then, because some may have arrived and others may have been dropped.
//!
//! Events that were fetched for a client may be dropped again before the client is judged, if much is
//! fetched for others. So a client waits for at most `MAX_WAITS` fetches, and then counts as having
//! missed too much. A client that really has missed too much is known as soon as the first events beyond
//! the bound are here.
//!
//! Bounded by the connections: each has one entry per step, until it goes away.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use campanile_messages::link::Want;
use campanile_messages::{Audience, Position};

use crate::bridge::recent::{Missed, Recent};
use crate::bridge::wants::{WantId, Wants};
use crate::delivery::{FoundEvents, ResumeOutcome};
use crate::report::{Resume, StepTicket};
use crate::resume::{Lost, ReplayStart};

/// How many clients are deferred before the caller can look at the clock.
const JUDGED_AT_ONCE: usize = 100;

/// How many fetches a client waits for before it counts as having missed too much.
const MAX_WAITS: u32 = 3;

/// How many audiences are looked up each time interest is reported: some 20 ms of work. The others are
/// looked up once their interest is confirmed.
const LOOKED_UP_AT_ONCE: usize = 100_000;

/// The worker, counted from 0, and its ticket for the step.
type ResumeKey = (usize, StepTicket);

/// The clients that wait for an answer, and the wants that they wait for.
#[derive(Debug)]
pub struct Resumes {
    /// For each worker, the clients whose interest the broker has not confirmed on this link.
    unconfirmed: Vec<BTreeMap<StepTicket, WaitingClient>>,
    /// The clients whose interest is confirmed.
    confirmed: HashMap<ResumeKey, ConfirmedClient>,
    /// The confirmed clients to judge next; some of them may be gone.
    ready: VecDeque<ResumeKey>,
    /// The confirmed clients that wait for a want, by its id; some of them may be gone.
    waiting: BTreeMap<WantId, Vec<ResumeKey>>,
    wants: Wants,
}

#[derive(Debug)]
struct WaitingClient {
    start: ReplayStart,
    audiences: Vec<Audience>,
    /// The want for what the client lacked when its interest was reported.
    asked: Option<WantId>,
}

#[derive(Debug)]
struct ConfirmedClient {
    waiter: WaitingClient,
    /// Where the log ended when the client's interest was confirmed.
    head: Position,
    /// How many fetches the client has waited for on this link.
    waits: u32,
}

/// The events that a client lacks: those of these audiences above a sequence.
struct Lack {
    since: u64,
    audiences: Vec<Audience>,
}

impl WaitingClient {
    /// Whether the client's position can belong to a log that ends at `head`.
    fn belongs_to(&self, head: Position) -> bool {
        match self.start {
            ReplayStart::After(Position { epoch, sequence }) => {
                epoch == head.epoch && sequence <= head.sequence
            }
            ReplayStart::History(_) => true,
        }
    }

    /// Returns what must be fetched before the client can be judged, in a log of this epoch.
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
    /// Returns the answer for the client.
    ///
    /// # Errors
    /// [`Lack`]: the events that must be fetched first.
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
                // A new listener has missed nothing, so if too much is fetched for others, it gets the
                // events that are here.
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
    /// Starts without clients.
    pub fn new(workers: usize) -> Self {
        Self {
            unconfirmed: std::iter::repeat_with(BTreeMap::new).take(workers).collect(),
            confirmed: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            wants: Wants::default(),
        }
    }

    /// Adds a client of a worker. Its interest must be in the next report to the broker.
    pub fn add(&mut self, worker: usize, resume: Resume) {
        let Resume { ticket, start, audiences } = resume;
        self.unconfirmed[worker].insert(ticket, WaitingClient { start, audiences, asked: None });
    }

    /// Forgets clients that no longer wait for an answer.
    pub fn forget(&mut self, worker: usize, tickets: &[StepTicket]) {
        for ticket in tickets {
            if self.unconfirmed[worker].remove(ticket).is_none() {
                self.confirmed.remove(&(worker, *ticket));
            }
        }
    }

    /// Records that the interest of every added client was just reported to the broker, whose log has
    /// this epoch. Requests what they lack, without waiting for the confirmation.
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

    /// Records that the broker has confirmed each worker's interest up to its ticket, and that the log
    /// ended at `head` then.
    pub fn confirmed(&mut self, tickets: &[StepTicket], head: Position) {
        for (worker, ticket) in tickets.iter().enumerate() {
            let later = self.unconfirmed[worker].split_off(&(ticket + 1));
            for (ticket, waiter) in std::mem::replace(&mut self.unconfirmed[worker], later) {
                let key = (worker, ticket);
                // A part of the fetch may be here already, so asking for what is unknown now would ask
                // for the rest once more.
                let asked = waiter.asked.filter(|_| waiter.belongs_to(head));
                let waits_for = asked.filter(|id| self.wants.is_pending(*id));
                match waits_for {
                    Some(id) => self.waiting.entry(id).or_default().push(key),
                    None => self.ready.push_back(key),
                }
                let waits = u32::from(waits_for.is_some());
                self.confirmed.insert(key, ConfirmedClient { waiter, head, waits });
            }
        }
    }

    /// Whether no client can be answered now.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether a fetch is under way.
    pub fn is_fetching(&self) -> bool {
        self.wants.is_fetching()
    }

    /// Returns the next client that can be answered: its worker, its ticket and the answer. Also returns
    /// `None` after it has deferred many clients that need a fetch, even if others are ready. A client
    /// that has missed more than `max_bytes` gets [`Lost::TooFar`].
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

    /// Begins the next fetch: returns its number and its wants. `None` while another fetch is under way,
    /// or if there is nothing to fetch.
    pub fn fetch(&mut self) -> Option<(u64, Vec<Want>)> {
        self.wants.fetch()
    }

    /// Whether a client may wait for the events of an audience that the current fetch brings.
    pub fn is_fetched(&self, audience: &Audience) -> bool {
        self.wants.is_fetched(audience)
    }

    /// Records that the broker has answered the first `served` wants of a fetch. The clients that waited
    /// for them are ready. The other wants are requested again, if a client waits for them.
    pub fn fetched(&mut self, number: u64, served: usize) {
        let Self { waiting, ready, wants, .. } = self;
        for id in wants.fetched(number, served, |id| waiting.contains_key(&id)) {
            ready.extend(waiting.remove(&id).into_iter().flatten());
        }
    }

    /// Forgets audiences that have no listeners any more, and the clients that waited for them, which are
    /// gone. What a fetch brings of these audiences is ignored, because their later events do not come.
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

    /// Records that the link is lost: fetches are not answered any more, and all interest must be
    /// confirmed again on the next link.
    pub fn link_lost(&mut self) {
        for ((worker, ticket), confirmed) in self.confirmed.drain() {
            self.unconfirmed[worker].insert(ticket, confirmed.waiter);
        }
        self.ready.clear();
        self.waiting.clear();
        self.wants.clear();
    }

    /// Whether no client waits for an answer.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.unconfirmed.iter().all(BTreeMap::is_empty)
    }
}

#[cfg(test)]
mod tests;
