//! What becomes of the pushes that were accepted from callers: each waits for room on a link, is
//! handed over under a number, waits for the broker's answer and, where its caller asks for them, for
//! the counts of the gateways. Pure; `C` stands for a caller.
//!
//! ```text
//! add ──▶ waiting ──handed_over──▶ handed ──answered──▶ receipt, or what the broker refused
//!            │                       │ │                  ▲
//!            │ expire: 503           │ └─answered──▶ counting: all have, time over, link lost
//!                                    │
//!                                    │ expire: 504, nobody knows
//!                                    │ link_lost: 504 if it is for one connection
//!                                    │ link_up to another log: 504
//! ```
//!
//! A push is never in two places, and never goes back to `waiting`: what was answered 503 is not
//! sent at all. What was handed over and is for an audience outlives its link: on the next one, to
//! the same log, it is handed over again, under its number, in order, before anything new; the
//! broker accepts a number once. For one connection nothing is said twice: the gateway that has it
//! would write it again. Bounded by the callers, and their bytes by a
//! [`Budget`](crate::budget::Budget).

mod numbered;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_messages::link::{Number, Outcome, Refusal, Tally, Welcome};
use campanile_messages::{
    Address, ContentKind, Durability, FromBroker, IdempotencyKey, Position, ToBroker,
};
use numbered::Numbered;

use crate::ApiError;
use crate::counting::{Count, Counting};
use crate::courier::Unavailable;
use crate::deadline::Deadline;
use crate::push::BadRequest;
use crate::push::receipt::{Accepted, Answer, Receipt};
use crate::push::shown::Shown;
use crate::push::{Push, Target, Wait};

/// How long gateways may take to count what they wrote, from the handing over on, where the caller
/// does not say.
pub const COUNT_LIMIT: Duration = Duration::from_secs(5);

/// The part of that time that is kept for the way back: a quarter, at most this much.
const COUNT_MARGIN: Duration = Duration::from_millis(250);

/// How long a push may be in either place. A caller's own limit, for both, makes them shorter.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For room on a link.
    pub broker_wait: Duration,
    /// For the answer, over all links.
    pub confirm_limit: Duration,
}

/// The pushes that have no answer yet.
#[derive(Debug)]
pub struct Pending<C> {
    limits: Limits,
    /// Where the latest link leads. All that is handed over is meant for its epoch.
    log: Option<Log>,
    /// In the order in which they were accepted.
    waiting: VecDeque<Waiting<C>>,
    /// Handed over and for an audience: the broker answers nearly all of them in their order.
    publishes: Numbered<Handed<C>>,
    /// Handed over and for one connection: each answer takes as long as its gateway does.
    targeted: BTreeMap<Number, Handed<C>>,
    counting: Counting<C>,
    next_number: Number,
    /// What is handed over from this number on was handed to an earlier link and not yet to this.
    unsaid: Number,
}

#[derive(Debug, Clone, Copy)]
struct Log {
    epoch: u64,
    durability: Durability,
}

#[derive(Debug)]
struct Waiting<C> {
    push: Push,
    caller: C,
    until: Deadline,
    /// The caller's own limit for the whole.
    whole: Option<Deadline>,
}

#[derive(Debug)]
struct Handed<C> {
    push: Push,
    caller: C,
    until: Deadline,
    /// As in [`Waiting`].
    whole: Option<Deadline>,
    /// When counts are of no more use.
    count_until: Instant,
}

impl<C> Pending<C> {
    /// Nothing is pending.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            log: None,
            waiting: VecDeque::new(),
            publishes: Numbered::default(),
            targeted: BTreeMap::new(),
            counting: Counting::default(),
            next_number: 1,
            unsaid: 1,
        }
    }

    /// Nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.publishes.is_empty()
            && self.targeted.is_empty()
            && self.counting.is_empty()
    }

    /// Every event for an audience under a lower number has its answer, or nobody waits for it any
    /// more: the lowest that waits, or the number of the next.
    pub fn unanswered(&self) -> Number {
        self.publishes.first().unwrap_or(self.next_number)
    }

    /// A caller's push waits from now on.
    pub fn add(&mut self, push: Push, caller: C, now: Instant) {
        let whole = push.timeout.map(|limit| Deadline::new(now, limit));
        let until = Deadline::new(now, self.limits.broker_wait).or_sooner(whole);
        self.waiting.push_back(Waiting { push, caller, until, whole });
    }

    /// There is a link, and nothing was handed to it yet. Gives up what was handed over if the link
    /// leads to another log: only the old one knows what it has accepted.
    pub fn link_up(&mut self, welcome: &Welcome) -> Vec<Answer<C>> {
        let log = Log { epoch: welcome.head.epoch, durability: welcome.durability };
        let old = self.log.replace(log);
        self.unsaid = 0;
        if old.is_none_or(|old| old.epoch == log.epoch) {
            return Vec::new();
        }
        self.take_handed()
            .map(|handed| handed.answer(Err(Unavailable::MemoryLost.into())))
            .collect()
    }

    /// The next to hand to the link, under its number; see [`handed_over`](Self::handed_over). What
    /// stands before it for callers that are gone is dropped: nothing of it was sent.
    pub fn next(
        &mut self,
        now: Instant,
        is_gone: impl Fn(&C) -> bool,
    ) -> Option<(ToBroker<ContentKind>, &Bytes)> {
        let unanswered = self.unanswered();
        if self.unsaid < self.next_number {
            // A check of its own: what is found here is borrowed for as long as the answer is used.
            if self.publishes.first_from(self.unsaid).is_some() {
                let (number, handed) = self.publishes.first_from(self.unsaid)?;
                let within_millis = count_within_millis(count_until(handed.whole, now), now);
                let head = handed.push.head(number, unanswered, within_millis);
                return Some((head, handed.push.content.as_bytes()));
            }
        }
        while is_gone(&self.waiting.front()?.caller) {
            self.waiting.pop_front();
        }
        let Waiting { push, whole, .. } = self.waiting.front()?;
        let within_millis = count_within_millis(count_until(*whole, now), now);
        let head = push.head(self.next_number, unanswered, within_millis);
        Some((head, push.content.as_bytes()))
    }

    /// The [`next`](Self::next) is in the hands of the link: it may arrive, whatever happens.
    pub fn handed_over(&mut self, now: Instant) {
        if self.unsaid < self.next_number
            && let Some((number, handed)) = self.publishes.first_from(self.unsaid)
        {
            handed.count_until = count_until(handed.whole, now);
            self.unsaid = number + 1;
            return;
        }
        let Some(Waiting { push, caller, whole, .. }) = self.waiting.pop_front() else {
            return;
        };
        let until = Deadline::new(now, self.limits.confirm_limit).or_sooner(whole);
        let count_until = count_until(whole, now);
        let handed = Handed { push, caller, until, whole, count_until };
        match handed.push.target {
            Target::Audience(_) => self.publishes.push(self.next_number, handed),
            Target::Connection(_) => drop(self.targeted.insert(self.next_number, handed)),
        }
        self.next_number += 1;
        self.unsaid = self.next_number;
    }

    /// Gives up what waits for callers that may be gone: nothing of it was sent.
    pub fn give_up(&mut self, may_be_gone: impl Fn(&C) -> bool) -> Vec<Answer<C>> {
        let gone = self.take_waiting(|waiting| may_be_gone(&waiting.caller));
        gone.map(|waiting| waiting.refuse(Unavailable::CallerGone.into())).collect()
    }

    /// The broker said this on the link. `None` if nobody waits for it (any more), or more is to
    /// come; also where it takes a push to one connection for a publish, or the other way round: it
    /// knows what it did, we do not.
    pub fn answered(&mut self, message: &FromBroker) -> Option<Answer<C>> {
        match *message {
            FromBroker::Accepted { number, sequence, gateways, matched, counting, away } => {
                let handed = self.publishes.remove(number)?;
                let Log { epoch, durability } = self.log?;
                let position = Position { epoch, sequence };
                let accepted = Accepted { position, durability, gateways, matched, delivery: None };
                match handed.push.wait {
                    Wait::Accepted => Some(handed.answer(Ok(Receipt::Accepted(accepted)))),
                    Wait::Delivered => {
                        self.counting.start(number, handed.count(accepted, counting, away))
                    }
                }
            }
            FromBroker::Counted { number, tally } => self.counting.counted(number, tally),
            FromBroker::Refused { number, refusal } => {
                let handed = self.publishes.remove(number)?;
                let error = refused(refusal, handed.push.id.as_ref());
                Some(handed.answer(Err(error)))
            }
            FromBroker::Answered { number, outcome } => {
                let to = self.targeted.get(&number)?.push.target.address()?;
                Some(self.targeted.remove(&number)?.answer(judged(outcome, to)))
            }
            _ => None,
        }
    }

    /// The link is gone. What was handed to it may or may not have arrived: gives up what is for one
    /// connection, keeps the rest for the next link, and answers with the counts that came.
    pub fn link_lost(&mut self) -> Vec<Answer<C>> {
        let lost = std::mem::take(&mut self.targeted).into_values();
        let lost = lost.map(|handed| handed.answer(Err(Unavailable::LinkLost.into())));
        lost.chain(self.counting.end()).collect()
    }

    /// Gives up what is over its time, and answers with the counts that came. `linked`: there is a
    /// link, so it is room that was missing.
    pub fn expire(&mut self, now: Instant, linked: bool) -> Vec<Answer<C>> {
        let late = self.take_waiting(|waiting| waiting.until.is_over(now));
        let mut answers: Vec<_> = late
            .map(|waiting| {
                let waited = waiting.until.limit;
                waiting.refuse(match linked {
                    true => Unavailable::BrokerBusy { waited }.into(),
                    false => Unavailable::NoBroker { waited }.into(),
                })
            })
            .collect();
        let late = self.publishes.remove_if(|handed| handed.until.is_over(now)).into_iter();
        let targeted = self.targeted.extract_if(.., |_, handed| handed.until.is_over(now));
        answers.extend(late.chain(targeted.map(|(_, handed)| handed)).map(|handed| {
            let waited = handed.until.limit;
            let error = match handed.push.target {
                Target::Audience(_) => Unavailable::Unanswered { waited }.into(),
                Target::Connection(to) => {
                    Unavailable::Unconfirmed { worker: to.worker, waited }.into()
                }
            };
            handed.answer(Err(error))
        }));
        answers.extend(self.counting.expire(now));
        answers
    }

    /// This process goes: what waits is not sent any more.
    pub fn shut_down(&mut self) -> Vec<Answer<C>> {
        self.take_waiting(|_| true)
            .map(|waiting| waiting.refuse(Unavailable::ShuttingDown.into()))
            .collect()
    }

    /// This process goes now: nobody waits any longer. What waits is not sent any more, and nobody
    /// will hear what becomes of what was handed over.
    pub fn last_call(&mut self) -> Vec<Answer<C>> {
        let mut answers = self.shut_down();
        answers.extend(
            self.take_handed().map(|handed| handed.answer(Err(Unavailable::PublisherEnded.into()))),
        );
        answers.extend(self.counting.end());
        answers
    }

    fn take_waiting(
        &mut self,
        mut is_over: impl FnMut(&Waiting<C>) -> bool,
    ) -> std::collections::vec_deque::IntoIter<Waiting<C>> {
        if !self.waiting.iter().any(&mut is_over) {
            return VecDeque::new().into_iter();
        }
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (over, staying): (VecDeque<_>, VecDeque<_>) = waiting.partition(is_over);
        self.waiting = staying;
        over.into_iter()
    }

    fn take_handed(&mut self) -> impl Iterator<Item = Handed<C>> + use<C> {
        self.publishes.take().chain(std::mem::take(&mut self.targeted).into_values())
    }
}

impl<C> Waiting<C> {
    fn refuse(self, error: ApiError) -> Answer<C> {
        Answer { caller: self.caller, result: Err(error) }
    }
}

impl<C> Handed<C> {
    fn answer(self, result: Result<Receipt, ApiError>) -> Answer<C> {
        Answer { caller: self.caller, result }
    }

    fn count(self, accepted: Accepted, to_come: u32, away: u32) -> Count<C> {
        let Self { caller, count_until: until, .. } = self;
        Count { caller, accepted, to_come, away, sum: Tally::default(), until }
    }
}

fn count_until(whole: Option<Deadline>, now: Instant) -> Instant {
    whole.map_or(now + COUNT_LIMIT, |whole| whole.at)
}

fn count_within_millis(until: Instant, now: Instant) -> u32 {
    let left = until.saturating_duration_since(now);
    let left = left - COUNT_MARGIN.min(left / 4);
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}

fn refused(refusal: Refusal, id: Option<&IdempotencyKey>) -> ApiError {
    match refusal {
        Refusal::IdsFull => Unavailable::IdsFull.into(),
        Refusal::IdTaken => {
            BadRequest::IdTaken { id: Shown::from(id.map_or("", |id| &**id)) }.into()
        }
        Refusal::TooManyUnanswered => Unavailable::TooManyUnanswered.into(),
        Refusal::ShuttingDown => Unavailable::BrokerShuttingDown.into(),
    }
}

fn judged(outcome: Outcome, to: Address) -> Result<Receipt, ApiError> {
    match outcome {
        Outcome::Written => Ok(Receipt::Written),
        Outcome::UnknownWorker => Err(BadRequest::UnknownWorker(to.worker).into()),
        Outcome::UnknownConnection => Err(BadRequest::UnknownConnection(to.connection).into()),
        Outcome::NotWritten => Err(BadRequest::NotWritten(to.connection).into()),
        Outcome::GatewayAway => Err(Unavailable::GatewayAway(to.worker).into()),
    }
}

#[cfg(test)]
mod tests;
