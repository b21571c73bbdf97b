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
            answers.push(Answer {
                caller: first.remove().caller,
                result: Err(ApiError::Unanswered { waited }),
            });
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
mod tests {
    use campanile_messages::{Address, Audience, ConnectionId, WorkerId};
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { broker_wait: Duration::from_secs(5), confirm_limit: Duration::from_secs(3) };

    fn everyone() -> Push {
        Push { target: Target::Audience(Audience::Everyone), content: "hi".into() }
    }

    fn to_one() -> Push {
        Push {
            target: Target::Connection(Address {
                worker: WorkerId(3),
                connection: ConnectionId(7),
            }),
            content: "psst".into(),
        }
    }

    fn accepted(number: Number) -> FromBroker {
        FromBroker::Accepted { number, sequence: 100 + number, gateways: 1, matched: 2 }
    }

    fn told(caller: u32, error: ApiError) -> Answer<u32> {
        Answer { caller, result: Err(error) }
    }

    fn hand_over_all(pending: &mut Pending<u32>, now: Instant) -> Vec<ToBroker> {
        let mut handed = Vec::new();
        while let Some(message) = pending.next(|_| false) {
            handed.push(message);
            pending.handed_over(now);
        }
        handed
    }

    #[test]
    fn pushes_leave_in_the_order_in_which_they_came_under_growing_numbers() {
        let now = Instant::now();
        let mut pending = Pending::new(LIMITS);
        pending.add(everyone(), 1, now);
        pending.add(to_one(), 2, now);
        assert_eq!(
            hand_over_all(&mut pending, now),
            [everyone().to_broker(1), to_one().to_broker(2)]
        );
    }

    #[test]
    fn an_answer_reaches_the_caller_of_its_number_once() {
        let now = Instant::now();
        let mut pending = Pending::new(LIMITS);
        pending.add(everyone(), 11, now);
        pending.add(everyone(), 12, now);
        assert_eq!(pending.answered(&accepted(1), 9), None, "nothing was handed over");
        hand_over_all(&mut pending, now);
        let position = Position { epoch: 9, sequence: 102 };
        let receipt = Receipt::Accepted { position, gateways: 1, matched: 2 };
        let answer = Answer { caller: 12, result: Ok(receipt) };
        assert_eq!(pending.answered(&accepted(2), 9), Some(answer));
        assert_eq!(pending.answered(&accepted(2), 9), None);
        assert!(!pending.is_empty());
    }

    #[test]
    fn every_outcome_of_a_push_to_one_connection_names_what_is_wrong() {
        let now = Instant::now();
        for (outcome, result) in [
            (Outcome::Written, Ok(Receipt::Written)),
            (Outcome::UnknownWorker, Err(ApiError::UnknownWorker(WorkerId(3)))),
            (Outcome::UnknownConnection, Err(ApiError::UnknownConnection(ConnectionId(7)))),
            (Outcome::NotWritten, Err(ApiError::NotWritten(ConnectionId(7)))),
            (Outcome::GatewayAway, Err(ApiError::GatewayAway(WorkerId(3)))),
        ] {
            let mut pending = Pending::new(LIMITS);
            pending.add(to_one(), 1, now);
            hand_over_all(&mut pending, now);
            let answered = FromBroker::Answered { number: 1, outcome };
            assert_eq!(pending.answered(&answered, 9), Some(Answer { caller: 1, result }));
        }
    }

    #[test]
    fn what_waits_too_long_is_503_and_never_leaves() {
        let start = Instant::now();
        let mut pending = Pending::new(LIMITS);
        pending.add(everyone(), 1, start);
        pending.add(everyone(), 2, start + Duration::from_secs(1));
        assert_eq!(pending.expire(start + Duration::from_millis(4_999), false), []);
        let waited = LIMITS.broker_wait;
        assert_eq!(
            pending.expire(start + Duration::from_secs(5), false),
            [told(1, ApiError::NoBroker { waited })]
        );
        assert_eq!(
            pending.expire(start + Duration::from_secs(6), true),
            [told(2, ApiError::BrokerBusy { waited })]
        );
        assert_eq!(pending.next(|_| false), None);
        assert!(pending.is_empty());
    }

    #[test]
    fn what_was_handed_over_is_504_when_it_is_not_answered_or_the_link_is_lost() {
        let start = Instant::now();
        let mut pending = Pending::new(LIMITS);
        pending.add(everyone(), 1, start);
        hand_over_all(&mut pending, start + Duration::from_secs(4));
        assert_eq!(pending.expire(start + Duration::from_secs(6), true), []);
        let waited = LIMITS.confirm_limit;
        assert_eq!(
            pending.expire(start + Duration::from_secs(7), true),
            [told(1, ApiError::Unanswered { waited })]
        );
        assert_eq!(pending.answered(&accepted(1), 9), None, "it came too late");

        pending.add(everyone(), 2, start);
        hand_over_all(&mut pending, start);
        pending.add(everyone(), 3, start);
        assert_eq!(pending.link_lost(), [told(2, ApiError::LinkLost)]);
        assert_eq!(pending.next(|_| false), Some(everyone().to_broker(3)));
        assert_eq!(pending.shut_down(), [told(3, ApiError::ShuttingDown)]);
        assert!(pending.is_empty());
    }

    #[test]
    fn what_waits_for_a_caller_that_is_gone_is_not_sent() {
        let now = Instant::now();
        let mut pending = Pending::new(LIMITS);
        for caller in 1..=4 {
            pending.add(everyone(), caller, now);
        }
        assert!(pending.next(|&caller| caller == 1).is_some());
        pending.handed_over(now);
        assert_eq!(pending.give_up(|&caller| caller == 4), [told(4, ApiError::CallerGone)]);
        pending.handed_over(now);
        assert_eq!(pending.next(|_| false), None);
        assert_eq!(pending.link_lost(), [told(2, ApiError::LinkLost), told(3, ApiError::LinkLost)]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add,
        HandOver,
        Answer(Number),
        Lose,
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Add),
            3 => Just(Step::HandOver),
            3 => (0u64..12).prop_map(Step::Answer),
            1 => Just(Step::Lose),
            2 => (0u64..4).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn every_caller_is_answered_exactly_once_and_503_only_if_nothing_left(
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut now = Instant::now();
            let mut pending = Pending::new(LIMITS);
            let mut added = 0;
            let mut left = Vec::new();
            let mut answers = Vec::new();
            for step in steps {
                match step {
                    Step::Add => {
                        added += 1;
                        let mut push = everyone();
                        push.content = campanile_messages::Content::Text(added.to_string().into());
                        pending.add(push, added, now);
                    }
                    Step::HandOver => {
                        if let Some(ToBroker::Publish { content, .. }) = pending.next(|_| false) {
                            left.push(String::from_utf8_lossy(content.as_bytes()).parse().expect("a caller"));
                            pending.handed_over(now);
                        }
                    }
                    Step::Answer(number) => answers.extend(pending.answered(&accepted(number), 1)),
                    Step::Lose => answers.extend(pending.link_lost()),
                    Step::Pass(seconds) => {
                        now += Duration::from_secs(seconds);
                        answers.extend(pending.expire(now, false));
                    }
                }
            }
            answers.extend(pending.link_lost());
            answers.extend(pending.shut_down());
            prop_assert!(pending.is_empty());
            prop_assert!(left.is_sorted(), "{left:?}");
            for answer in &answers {
                let unsent = answer.result.as_ref().is_err_and(|error| error.status() == 503);
                prop_assert_eq!(unsent, !left.contains(&answer.caller));
            }
            let mut callers: Vec<i32> = answers.into_iter().map(|answer| answer.caller).collect();
            callers.sort_unstable();
            prop_assert_eq!(callers, (1..=added).collect::<Vec<i32>>());
        }
    }
}
