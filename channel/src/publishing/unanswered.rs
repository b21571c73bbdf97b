//! The pushes that have no answer yet. Each waits for room on a link, is handed over under a number,
//! waits for the broker's answer and, if its caller asks for them, for the counts of the gateways. `C`
//! stands for a caller.
//!
//! ```text
//! add ──▶ waiting ──handed_over──▶ handed ──answered──▶ a receipt, or why the broker refused
//!            │                       │ │                  ▲
//!            │ expire: not sent      │ └─answered──▶ counting: until all have reported, the time is
//!                                    │                         over, or the link is lost
//!                                    │ expire: unknown
//!                                    │ link_lost: unknown if it is for one connection
//!                                    │ link_up to another log: unknown
//! ```
//!
//! A push is never in two of these places, and never goes back to `waiting`: whoever was answered that a
//! push was not sent can rely on that. A push for an audience that was handed over outlives its link.
//! It is handed over again on the next link to the same log, under its number, in order, and before
//! anything new; the broker accepts a number once. A push to one connection is never sent twice, because
//! its gateway would write it twice. Bounded by the callers, who must have room for what they add.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_messages::link::{DirectOutcome, Number, Tally, Welcome};
use campanile_messages::{ContentKind, Durability, FromBroker, Position, ToBroker};

use super::counting::{Count, Counting};
use super::deadline::Deadline;
use super::failure::{Failure, NotSent, Unknown};
use super::numbered::Numbered;
use super::push::{Push, Target, Wait};
use super::receipt::{Accepted, Answer, Receipt};

/// How long gateways may take to count what they wrote, after the push was handed over, if its caller
/// has no timeout.
const COUNT_LIMIT: Duration = Duration::from_secs(5);

/// The part of that time that is reserved for the way back: a quarter, at most this.
const COUNT_MARGIN: Duration = Duration::from_millis(250);

/// How long a push waits. A push's own timeout, which is for both waits together, only shortens them.
#[derive(Debug, Clone, Copy)]
pub struct WaitLimits {
    /// For room on a link. After that it is not sent.
    pub broker_wait: Duration,
    /// For the broker's answer, over all links on which the push is sent.
    pub confirm_limit: Duration,
}

/// What is to be sent next.
#[derive(Debug, PartialEq)]
pub struct Outgoing<'a> {
    /// What goes right before the push, if the broker knows such messages.
    pub trace: Option<ToBroker>,
    /// The push, without its content.
    pub head: ToBroker<ContentKind>,
    /// The content of the push.
    pub content: &'a Bytes,
}

/// The pushes of a process that have no answer yet.
#[derive(Debug)]
pub struct Unanswered<C> {
    limits: WaitLimits,
    /// The log behind the latest link. What is handed over is meant for its epoch.
    log: Option<Log>,
    /// In the order in which they were added.
    waiting: VecDeque<Waiting<C>>,
    /// Handed over and for an audience. The broker answers nearly all of them in their order.
    publishes: Numbered<Handed<C>>,
    /// Handed over and for one connection. Each answer takes as long as its gateway does.
    directs: BTreeMap<Number, Handed<C>>,
    counting: Counting<C>,
    next_number: Number,
    /// What has this number or a higher one was handed to an earlier link, and not yet to this one.
    repeat_from: Number,
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
    /// The push's own timeout.
    whole: Option<Deadline>,
}

#[derive(Debug)]
struct Handed<C> {
    push: Push,
    caller: C,
    until: Deadline,
    /// As in [`Waiting`].
    whole: Option<Deadline>,
    /// When counts are no longer of use.
    count_until: Instant,
}

impl<C> Unanswered<C> {
    /// Starts without pushes and without a link.
    pub fn new(limits: WaitLimits) -> Self {
        Self {
            limits,
            log: None,
            waiting: VecDeque::new(),
            publishes: Numbered::default(),
            directs: BTreeMap::new(),
            counting: Counting::default(),
            next_number: 1,
            repeat_from: 1,
        }
    }

    /// Whether every push has its answer.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.publishes.is_empty()
            && self.directs.is_empty()
            && self.counting.is_empty()
    }

    /// Returns the lowest number of a push for an audience that waits for the broker's answer, or the
    /// next number if none waits. The broker need not remember any lower number.
    pub fn lowest(&self) -> Number {
        self.publishes.first().unwrap_or(self.next_number)
    }

    /// Adds a push, which waits for room on a link.
    pub fn add(&mut self, push: Push, caller: C, now: Instant) {
        let whole = push.timeout.map(|limit| Deadline::new(now, limit));
        let until = Deadline::new(now, self.limits.broker_wait).or_sooner(whole);
        self.waiting.push_back(Waiting { push, caller, until, whole });
    }

    /// Notes that there is a link, to which nothing was handed yet. If it leads to another log, what was
    /// handed over is given up, because only the old log knows what it has accepted.
    pub fn link_up(&mut self, welcome: &Welcome) -> Vec<Answer<C>> {
        let log = Log { epoch: welcome.head.epoch, durability: welcome.durability };
        let old = self.log.replace(log);
        self.repeat_from = 0;
        if old.is_none_or(|old| old.epoch == log.epoch) {
            return Vec::new();
        }
        self.take_handed().map(|handed| handed.answer(Err(Unknown::LogLost.into()))).collect()
    }

    /// Returns what is to be handed to the link next, until [`handed_over`](Self::handed_over) is called.
    /// What waits in front of it for callers that are gone is dropped, as it was not sent.
    pub fn next(&mut self, now: Instant, is_gone: impl Fn(&C) -> bool) -> Option<Outgoing<'_>> {
        let lowest = self.lowest();
        if self.repeat_from < self.next_number {
            // Two look-ups, because what is returned is borrowed for as long as the caller keeps it.
            if self.publishes.first_from(self.repeat_from).is_some() {
                let (number, handed) = self.publishes.first_from(self.repeat_from)?;
                let within_millis = count_within_millis(count_until(handed.whole, now), now);
                return Some(handed.push.outgoing(number, lowest, within_millis));
            }
        }
        while is_gone(&self.waiting.front()?.caller) {
            self.waiting.pop_front();
        }
        let Waiting { push, whole, .. } = self.waiting.front()?;
        let within_millis = count_within_millis(count_until(*whole, now), now);
        Some(push.outgoing(self.next_number, lowest, within_millis))
    }

    /// Notes that the link has taken the [`next`](Self::next): it may arrive, whatever happens now.
    pub fn handed_over(&mut self, now: Instant) {
        if self.repeat_from < self.next_number
            && let Some((number, handed)) = self.publishes.first_from(self.repeat_from)
        {
            handed.count_until = count_until(handed.whole, now);
            self.repeat_from = number + 1;
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
            Target::Connection(_) => drop(self.directs.insert(self.next_number, handed)),
        }
        self.next_number += 1;
        self.repeat_from = self.next_number;
    }

    /// Notes that the link cannot carry the [`next`](Self::next), because the broker is of an older release.
    /// What was handed to another broker before may have been accepted there.
    pub fn not_carried(&mut self) -> Option<Answer<C>> {
        if self.repeat_from < self.next_number
            && let Some((number, _)) = self.publishes.first_from(self.repeat_from)
        {
            self.repeat_from = number + 1;
            let handed = self.publishes.remove(number)?;
            return Some(handed.answer(Err(Unknown::LinkLost.into())));
        }
        let waiting = self.waiting.pop_front()?;
        Some(waiting.give_up(NotSent::BrokerTooOld))
    }

    /// Gives up what waits for callers that may be gone. It was not sent.
    pub fn give_up(&mut self, may_be_gone: impl Fn(&C) -> bool) -> Vec<Answer<C>> {
        let gone = self.take_waiting(|waiting| may_be_gone(&waiting.caller));
        gone.map(|waiting| waiting.give_up(NotSent::CallerGone)).collect()
    }

    /// Takes a message of the broker. Returns `None` if no caller waits for it (any more), or if more is
    /// to come; also if the broker takes a push to one connection for a publish or the other way round,
    /// because then it is unknown what it did.
    pub fn answered(&mut self, message: &FromBroker) -> Option<Answer<C>> {
        match *message {
            FromBroker::Accepted { number, sequence, matched, counting, away } => {
                let handed = self.publishes.remove(number)?;
                let Log { epoch, durability } = self.log?;
                let position = Position { epoch, sequence };
                let accepted = Accepted { position, durability, matched, delivery: None };
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
                let id = handed.push.id.clone();
                Some(handed.answer(Err(Failure::Refused { refusal, id })))
            }
            FromBroker::Answered { number, outcome } => {
                let to = self.directs.get(&number)?.push.target.address()?;
                let result = match outcome {
                    DirectOutcome::Written => Ok(Receipt::Written),
                    _ => Err(Failure::NotDelivered { outcome, to }),
                };
                Some(self.directs.remove(&number)?.answer(result))
            }
            _ => None,
        }
    }

    /// Notes that the link is lost. What was handed to it may or may not have arrived: pushes to one
    /// connection are given up, the others are kept for the next link. Returns also the receipts that
    /// waited for counts, with those that came.
    pub fn link_lost(&mut self) -> Vec<Answer<C>> {
        let lost = std::mem::take(&mut self.directs).into_values();
        let lost = lost.map(|handed| handed.answer(Err(Unknown::LinkLost.into())));
        lost.chain(self.counting.end()).collect()
    }

    /// Gives up what has waited too long. Returns also the receipts whose time for counts is over.
    /// `linked` says whether there is a link, so that only room on it was missing.
    pub fn expire(&mut self, now: Instant, linked: bool) -> Vec<Answer<C>> {
        let late = self.take_waiting(|waiting| waiting.until.is_over(now));
        let mut answers: Vec<_> = late
            .map(|waiting| {
                let waited = waiting.until.limit;
                waiting.give_up(match linked {
                    true => NotSent::BrokerBusy { waited },
                    false => NotSent::NoBroker { waited },
                })
            })
            .collect();
        let late = self.publishes.remove_if(|handed| handed.until.is_over(now)).into_iter();
        let directs = self.directs.extract_if(.., |_, handed| handed.until.is_over(now));
        answers.extend(late.chain(directs.map(|(_, handed)| handed)).map(|handed| {
            let waited = handed.until.limit;
            let reason = match handed.push.target {
                Target::Audience(_) => Unknown::Unanswered { waited },
                Target::Connection(to) => Unknown::Unconfirmed { worker: to.worker, waited },
            };
            handed.answer(Err(reason.into()))
        }));
        answers.extend(self.counting.expire(now));
        answers
    }

    /// Gives up what waits, because this process shuts down. What was handed over may still be answered.
    pub fn shut_down(&mut self) -> Vec<Answer<C>> {
        self.take_waiting(|_| true).map(|waiting| waiting.give_up(NotSent::ShuttingDown)).collect()
    }

    /// Gives up everything, because this process ends now. Whether what was handed over is accepted
    /// stays unknown.
    pub fn last_call(&mut self) -> Vec<Answer<C>> {
        let mut answers = self.shut_down();
        let handed = self.take_handed();
        answers.extend(handed.map(|handed| handed.answer(Err(Unknown::ProcessEnds.into()))));
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
        self.publishes.take().chain(std::mem::take(&mut self.directs).into_values())
    }
}

impl Push {
    fn outgoing(&self, number: Number, lowest: Number, within_millis: u32) -> Outgoing<'_> {
        let is_traced = matches!(self.target, Target::Audience(_));
        let trace = self.trace.filter(|_| is_traced);
        Outgoing {
            trace: trace.map(|context| ToBroker::Traced { number, context }),
            head: self.head(number, lowest, within_millis),
            content: self.content.as_bytes(),
        }
    }
}

impl<C> Waiting<C> {
    fn give_up(self, reason: NotSent) -> Answer<C> {
        Answer { caller: self.caller, result: Err(reason.into()) }
    }
}

impl<C> Handed<C> {
    fn answer(self, result: Result<Receipt, Failure>) -> Answer<C> {
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

#[cfg(test)]
mod tests;
