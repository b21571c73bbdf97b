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
        target: Target::Connection(Address { worker: WorkerId(3), connection: ConnectionId(7) }),
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
    assert_eq!(hand_over_all(&mut pending, now), [everyone().to_broker(1), to_one().to_broker(2)]);
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
fn an_unanswered_push_to_one_connection_names_the_gateway_and_not_the_broker() {
    let start = Instant::now();
    let mut pending = Pending::new(LIMITS);
    pending.add(everyone(), 1, start);
    pending.add(to_one(), 2, start);
    hand_over_all(&mut pending, start);
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pending.expire(start + waited, true),
        [
            told(1, ApiError::Unanswered { waited }),
            told(2, ApiError::Unconfirmed { worker: WorkerId(3), waited }),
        ]
    );
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
