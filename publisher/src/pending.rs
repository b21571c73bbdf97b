//! What becomes of the pushes that were accepted from callers: each waits for room on a link, is
//! handed over under a number, and waits for the broker's answer. Pure; `C` stands for a caller.
//!
//! ```text
//! add ──▶ waiting ──handed_over──▶ handed ──answered──▶ receipt, or what the broker refused
//!            │                       │
//!            │ expire: 503           │ expire, link_lost: 504, nobody knows
//! ```
//!
//! A push is never in both places, and never goes back: what was handed over once is not sent
//! again, what was answered 503 is not sent at all. Bounded by the callers: one push each, and
//! their bytes by a [`Budget`](crate::budget::Budget).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use campanile_messages::link::{Number, Outcome, Refusal};
use campanile_messages::{FromBroker, Position, ToBroker};

use crate::ApiError;
use crate::request::{Push, Target};

/// How long a push may be in either place.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For room on a link.
    pub broker_wait: Duration,
    /// For the answer.
    pub confirm_limit: Duration,
}

/// What a publish answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// An event for an audience is in the log.
    Accepted {
        /// Where it stands.
        position: Position,
        /// How many gateways had connections that listen.
        gateways: u32,
        /// How many connections those were.
        matched: u64,
    },
    /// An event for one connection was written to it.
    Written,
}

/// What a caller is told; the one effect of this core.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<C> {
    /// Whom to tell.
    pub caller: C,
    /// What.
    pub result: Result<Receipt, ApiError>,
}

/// The pushes that have no answer yet.
#[derive(Debug)]
pub struct Pending<C> {
    limits: Limits,
    /// In the order in which they were accepted, so the front is also the first to expire.
    waiting: VecDeque<Waiting<C>>,
    /// Numbers grow with time, so the first is also the first to expire.
    handed: BTreeMap<Number, Handed<C>>,
    next_number: Number,
}

#[derive(Debug)]
struct Waiting<C> {
    push: Push,
    caller: C,
    until: Instant,
}

#[derive(Debug)]
struct Handed<C> {
    target: Target,
    caller: C,
    until: Instant,
}

impl<C> Pending<C> {
    /// Nothing is pending.
    pub fn new(limits: Limits) -> Self {
        Self { limits, waiting: VecDeque::new(), handed: BTreeMap::new(), next_number: 1 }
    }

    /// Nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.handed.is_empty()
    }

    /// A caller's push waits from now on.
    pub fn add(&mut self, push: Push, caller: C, now: Instant) {
        self.waiting.push_back(Waiting { push, caller, until: now + self.limits.broker_wait });
    }

    /// The next to hand to a link, under its number; see [`handed_over`](Self::handed_over). What
    /// stands before it for callers that are gone is dropped: nothing of it was sent.
    pub fn next(&mut self, is_gone: impl Fn(&C) -> bool) -> Option<ToBroker> {
        while is_gone(&self.waiting.front()?.caller) {
            self.waiting.pop_front();
        }
        let first = self.waiting.front()?;
        Some(first.push.to_broker(self.next_number))
    }

    /// The [`next`](Self::next) is in the hands of a link: it may arrive, whatever happens.
    pub fn handed_over(&mut self, now: Instant) {
        let Some(Waiting { push, caller, .. }) = self.waiting.pop_front() else {
            return;
        };
        let handed = Handed { target: push.target, caller, until: now + self.limits.confirm_limit };
        self.handed.insert(self.next_number, handed);
        self.next_number += 1;
    }

    /// Gives up what waits for callers that may be gone: nothing of it was sent.
    pub fn give_up(&mut self, may_be_gone: impl Fn(&C) -> bool) -> Vec<Answer<C>> {
        let (gone, staying) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting: &Waiting<C>| may_be_gone(&waiting.caller));
        self.waiting = staying;
        let gone: VecDeque<Waiting<C>> = gone;
        gone.into_iter()
            .map(|waiting| Answer { caller: waiting.caller, result: Err(ApiError::CallerGone) })
            .collect()
    }

    /// The broker answered on a link of this epoch. `None` if nobody waits for it (any more).
    pub fn answered(&mut self, message: &FromBroker, epoch: u64) -> Option<Answer<C>> {
        let (number, outcome) = match *message {
            FromBroker::Accepted { number, sequence, gateways, matched } => {
                let position = Position { epoch, sequence };
                let receipt = Receipt::Accepted { position, gateways, matched };
                (number, Ok(receipt))
            }
            FromBroker::Refused { number, refusal } => (number, Err(refused(refusal))),
            FromBroker::Answered { number, outcome } => {
                let target = &self.handed.get(&number)?.target;
                (number, judged(outcome, target))
            }
            _ => return None,
        };
        let Handed { caller, .. } = self.handed.remove(&number)?;
        Some(Answer { caller, result: outcome })
    }

    /// The link that had them is gone: whatever was handed to it may or may not have arrived.
    pub fn link_lost(&mut self) -> Vec<Answer<C>> {
        std::mem::take(&mut self.handed)
            .into_values()
            .map(|handed| Answer { caller: handed.caller, result: Err(ApiError::LinkLost) })
            .collect()
    }

    /// Gives up what is over its time. `linked`: there is a link, so it is room that was missing.
    pub fn expire(&mut self, now: Instant, linked: bool) -> Vec<Answer<C>> {
        let mut answers = Vec::new();
        let waited = self.limits.broker_wait;
        while self.waiting.front().is_some_and(|first| first.until <= now) {
            let error = if linked {
                ApiError::BrokerBusy { waited }
            } else {
                ApiError::NoBroker { waited }
            };
            answers.extend(self.refuse_first(error));
        }
        let waited = self.limits.confirm_limit;
        while let Some(first) = self.handed.first_entry() {
            if first.get().until > now {
                break;
            }
            let Handed { target, caller, .. } = first.remove();
            let error = match target {
                Target::Audience(_) => ApiError::Unanswered { waited },
                Target::Connection(to) => ApiError::Unconfirmed { worker: to.worker, waited },
            };
            answers.push(Answer { caller, result: Err(error) });
        }
        answers
    }

    /// This process goes: what waits is not sent any more.
    pub fn shut_down(&mut self) -> Vec<Answer<C>> {
        let mut answers = Vec::new();
        while let Some(answer) = self.refuse_first(ApiError::ShuttingDown) {
            answers.push(answer);
        }
        answers
    }

    fn refuse_first(&mut self, error: ApiError) -> Option<Answer<C>> {
        let first = self.waiting.pop_front()?;
        Some(Answer { caller: first.caller, result: Err(error) })
    }
}

fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::LogFull => ApiError::LogFull,
        Refusal::ShuttingDown => ApiError::BrokerShuttingDown,
    }
}

fn judged(outcome: Outcome, target: &Target) -> Result<Receipt, ApiError> {
    let Target::Connection(to) = target else {
        // A broker that answers a publish as if it were a push: it knows what it did, we do not.
        return Err(ApiError::LinkLost);
    };
    match outcome {
        Outcome::Written => Ok(Receipt::Written),
        Outcome::UnknownWorker => Err(ApiError::UnknownWorker(to.worker)),
        Outcome::UnknownConnection => Err(ApiError::UnknownConnection(to.connection)),
        Outcome::NotWritten => Err(ApiError::NotWritten(to.connection)),
        Outcome::GatewayAway => Err(ApiError::GatewayAway(to.worker)),
    }
}

#[cfg(test)]
mod tests;
