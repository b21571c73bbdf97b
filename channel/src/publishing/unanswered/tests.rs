use bytestring::ByteString;
use campanile_messages::{Audience, ConnectionId, Content, WorkerId};

use super::*;
use crate::courier::Unavailable;
use crate::push::BadRequest;
use crate::push::receipt::Delivery;

mod model;

const LIMITS: Limits =
    Limits { broker_wait: Duration::from_secs(5), confirm_limit: Duration::from_secs(3) };

fn everyone() -> Push {
    Push::new(Target::Audience(Audience::Everyone), "hi".into())
}

fn to_one() -> Push {
    let to = Address { worker: WorkerId(3), connection: ConnectionId(7) };
    Push::new(Target::Connection(to), "psst".into())
}

fn counted() -> Push {
    Push { wait: Wait::Delivered, ..everyone() }
}

fn within(mut push: Push, timeout: Duration) -> Push {
    push.timeout = Some(timeout);
    push
}

fn welcome(epoch: u64) -> Welcome {
    let head = Position { epoch, sequence: 0 };
    Welcome { head, durability: Durability::Written, workers: Vec::new() }
}

fn linked() -> Pending<u32> {
    let mut pending = Pending::new(LIMITS);
    assert_eq!(pending.link_up(&welcome(9)), []);
    pending
}

fn accepted(number: Number) -> FromBroker {
    accepted_counting(number, 0, 0)
}

fn accepted_counting(number: Number, counting: u32, away: u32) -> FromBroker {
    let sequence = 100 + number;
    FromBroker::Accepted { number, sequence, gateways: 1, matched: 2, counting, away }
}

fn receipt(number: Number) -> Accepted {
    Accepted {
        position: Position { epoch: 9, sequence: 100 + number },
        durability: Durability::Written,
        gateways: 1,
        matched: 2,
        delivery: None,
    }
}

fn ok(caller: u32, receipt: Accepted) -> Answer<u32> {
    Answer { caller, result: Ok(Receipt::Accepted(receipt)) }
}

fn told(caller: u32, error: ApiError) -> Answer<u32> {
    Answer { caller, result: Err(error) }
}

fn next(pending: &mut Pending<u32>, now: Instant) -> Option<ToBroker> {
    pending.next(now, |_| false).map(whole)
}

fn whole((head, content): (ToBroker<ContentKind>, &Bytes)) -> ToBroker {
    let message = head.try_map_content(|kind| {
        assert_eq!(kind, ContentKind::Text);
        ByteString::try_from(content.clone()).map(Content::Text)
    });
    message.expect("UTF-8")
}

/// What the broker is told of a push.
trait ToldTo {
    fn to_broker(&self, number: Number, unanswered: Number, within_millis: u32) -> ToBroker;
}

impl ToldTo for Push {
    fn to_broker(&self, number: Number, unanswered: Number, within_millis: u32) -> ToBroker {
        whole((self.head(number, unanswered, within_millis), self.content.as_bytes()))
    }
}

fn hand_over_all(pending: &mut Pending<u32>, now: Instant) -> Vec<ToBroker> {
    let mut handed = Vec::new();
    while let Some(message) = next(pending, now) {
        handed.push(message);
        pending.handed_over(now);
    }
    handed
}

#[test]
fn pushes_leave_in_the_order_in_which_they_came_under_growing_numbers() {
    let now = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, now);
    pending.add(to_one(), 2, now);
    assert_eq!(
        hand_over_all(&mut pending, now),
        [everyone().to_broker(1, 1, 0), to_one().to_broker(2, 1, 0)]
    );
}

#[test]
fn an_answer_reaches_the_caller_of_its_number_once() {
    let now = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 11, now);
    pending.add(everyone(), 12, now);
    assert_eq!(pending.answered(&accepted(1)), None, "nothing was handed over");
    hand_over_all(&mut pending, now);
    assert_eq!(pending.answered(&accepted(2)), Some(ok(12, receipt(2))));
    assert_eq!(pending.answered(&accepted(2)), None);
    assert!(!pending.is_empty());
}

#[test]
fn the_lowest_event_for_an_audience_that_waits_is_unanswered() {
    let now = Instant::now();
    let mut pending = linked();
    assert_eq!(pending.unanswered(), 1);
    for (push, caller) in [(to_one(), 1), (everyone(), 2), (everyone(), 3), (everyone(), 4)] {
        pending.add(push, caller, now);
    }
    assert_eq!(pending.unanswered(), 1);
    hand_over_all(&mut pending, now);
    assert_eq!(pending.unanswered(), 2);
    pending.answered(&accepted(3));
    assert_eq!(pending.unanswered(), 2);
    pending.answered(&accepted(2));
    assert_eq!(pending.unanswered(), 4);
    pending.add(everyone(), 5, now);
    assert_eq!(hand_over_all(&mut pending, now), [everyone().to_broker(5, 4, 0)]);
    pending.expire(now + LIMITS.confirm_limit, true);
    assert_eq!(pending.unanswered(), 6);
}

#[test]
fn what_was_handed_to_a_link_that_broke_is_handed_to_the_next_before_anything_new() {
    let now = Instant::now();
    let mut pending = linked();
    for caller in 1..=4 {
        pending.add(everyone(), caller, now);
    }
    pending.add(to_one(), 5, now);
    hand_over_all(&mut pending, now);
    pending.answered(&accepted(2));
    assert_eq!(pending.link_lost(), [told(5, Unavailable::LinkLost.into())]);
    pending.add(everyone(), 6, now);
    assert_eq!(pending.unanswered(), 1);
    assert_eq!(pending.link_up(&welcome(9)), []);
    let again = [1, 3, 4, 6].map(|number| everyone().to_broker(number, 1, 0));
    assert_eq!(hand_over_all(&mut pending, now), again);

    // Also if the second link broke in the middle of it.
    pending.link_lost();
    pending.link_up(&welcome(9));
    assert!(pending.next(now, |_| false).is_some());
    pending.handed_over(now);
    assert_eq!(pending.answered(&accepted(1)), Some(ok(1, receipt(1))));
    pending.link_lost();
    pending.link_up(&welcome(9));
    let again = [3, 4, 6].map(|number| everyone().to_broker(number, 3, 0));
    assert_eq!(hand_over_all(&mut pending, now), again);
}

#[test]
fn another_log_gets_nothing_that_the_old_one_may_have() {
    let now = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, now);
    hand_over_all(&mut pending, now);
    pending.link_lost();
    pending.add(everyone(), 2, now);
    assert_eq!(pending.link_up(&welcome(10)), [told(1, Unavailable::MemoryLost.into())]);
    assert_eq!(hand_over_all(&mut pending, now), [everyone().to_broker(2, 2, 0)]);
    let in_the_new_log = Accepted { position: Position { epoch: 10, sequence: 102 }, ..receipt(2) };
    assert_eq!(pending.answered(&accepted(2)), Some(ok(2, in_the_new_log)));
}

#[test]
fn what_is_kept_for_another_link_is_504_at_its_first_limit() {
    let start = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, start);
    hand_over_all(&mut pending, start);
    pending.link_lost();
    pending.link_up(&welcome(9));
    hand_over_all(&mut pending, start + Duration::from_secs(2));
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pending.expire(start + waited, true),
        [told(1, Unavailable::Unanswered { waited }.into())],
        "the second link has no time of its own"
    );
    assert!(pending.is_empty());
}

#[test]
fn a_callers_own_limit_is_for_the_whole_and_only_shortens() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut pending = linked();
    pending.add(within(everyone(), 2 * second), 1, start);
    let waited = 2 * second;
    assert_eq!(pending.expire(start + second, true), []);
    hand_over_all(&mut pending, start + second);
    pending.add(within(everyone(), second), 2, start);
    let expired = pending.expire(start + 2 * second, false);
    let never_sent = told(2, Unavailable::NoBroker { waited: second }.into());
    assert_eq!(expired, [never_sent, told(1, Unavailable::Unanswered { waited }.into())]);

    pending.add(within(everyone(), 30 * second), 3, start);
    let waited = LIMITS.broker_wait;
    assert_eq!(
        pending.expire(start + waited, true),
        [told(3, Unavailable::BrokerBusy { waited }.into())]
    );
    pending.add(within(everyone(), 30 * second), 4, start);
    hand_over_all(&mut pending, start);
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pending.expire(start + waited, true),
        [told(4, Unavailable::Unanswered { waited }.into())]
    );
}

#[test]
fn gateways_get_what_is_left_of_the_callers_time_save_for_the_way_back() {
    let start = Instant::now();
    for (push, waited_millis, given_millis) in [
        (counted(), 0, 4_750),
        (counted(), 4_000, 4_750),
        (within(counted(), Duration::from_secs(2)), 0, 1_750),
        (within(counted(), Duration::from_secs(2)), 1_600, 300),
        (within(counted(), Duration::from_millis(1)), 0, 1),
        (within(counted(), Duration::from_secs(30)), 0, 29_750),
    ] {
        let mut pending = linked();
        pending.add(push.clone(), 1, start);
        let now = start + Duration::from_millis(waited_millis);
        assert_eq!(hand_over_all(&mut pending, now), [push.to_broker(1, 1, given_millis)]);
    }
}

#[test]
fn a_counted_push_is_answered_when_all_gateways_have_counted() {
    let now = Instant::now();
    let mut pending = linked();
    pending.add(counted(), 1, now);
    hand_over_all(&mut pending, now);
    assert_eq!(pending.answered(&accepted_counting(1, 2, 1)), None);
    assert_eq!(pending.unanswered(), 2, "the broker has answered");
    let tally = Tally { matched: 10, written: 9, too_slow: 1 };
    let message = FromBroker::Counted { number: 1, tally };
    assert_eq!(pending.answered(&message), None);
    let delivery = Some(Delivery { written: 18, too_slow: 2, silent_gateways: 1 });
    let complete = Accepted { matched: 20, delivery, ..receipt(1) };
    assert_eq!(pending.answered(&message), Some(ok(1, complete)));
    assert!(pending.is_empty());
}

#[test]
fn a_count_ends_with_its_time_or_its_link() {
    let start = Instant::now();
    let mut pending = linked();
    pending.add(counted(), 1, start);
    pending.add(within(counted(), Duration::from_secs(20)), 2, start);
    hand_over_all(&mut pending, start);
    for number in [1, 2] {
        assert_eq!(pending.answered(&accepted_counting(number, 1, 0)), None);
    }
    assert!(!pending.is_empty());
    let partial = |number| Accepted {
        delivery: Some(Delivery { written: 0, too_slow: 0, silent_gateways: 1 }),
        ..receipt(number)
    };
    assert_eq!(pending.expire(start + COUNT_LIMIT, true), [ok(1, partial(1))]);
    assert_eq!(pending.link_lost(), [ok(2, partial(2))]);
    assert!(pending.is_empty());
}

#[test]
fn a_broker_that_takes_one_kind_of_push_for_the_other_is_not_believed() {
    let now = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, now);
    pending.add(to_one(), 2, now);
    hand_over_all(&mut pending, now);
    let refusal = Refusal::IdsFull;
    for message in [
        FromBroker::Answered { number: 1, outcome: Outcome::Written },
        accepted(2),
        FromBroker::Refused { number: 2, refusal },
    ] {
        assert_eq!(pending.answered(&message), None);
    }
    assert_eq!(pending.answered(&accepted(1)), Some(ok(1, receipt(1))));
}

#[test]
fn every_refusal_has_its_error() {
    let now = Instant::now();
    for (refusal, error) in [
        (Refusal::IdsFull, Unavailable::IdsFull.into()),
        (Refusal::IdTaken, BadRequest::IdTaken { id: "".into() }.into()),
        (Refusal::TooManyUnanswered, Unavailable::TooManyUnanswered.into()),
        (Refusal::ShuttingDown, Unavailable::BrokerShuttingDown.into()),
    ] {
        let mut pending = linked();
        pending.add(everyone(), 1, now);
        hand_over_all(&mut pending, now);
        let refused = FromBroker::Refused { number: 1, refusal };
        assert_eq!(pending.answered(&refused), Some(told(1, error)));
    }
}

#[test]
fn every_outcome_of_a_push_to_one_connection_names_what_is_wrong() {
    let now = Instant::now();
    for (outcome, result) in [
        (Outcome::Written, Ok(Receipt::Written)),
        (Outcome::UnknownWorker, Err(BadRequest::UnknownWorker(WorkerId(3)).into())),
        (Outcome::UnknownConnection, Err(BadRequest::UnknownConnection(ConnectionId(7)).into())),
        (Outcome::NotWritten, Err(BadRequest::NotWritten(ConnectionId(7)).into())),
        (Outcome::GatewayAway, Err(Unavailable::GatewayAway(WorkerId(3)).into())),
    ] {
        let mut pending = linked();
        pending.add(to_one(), 1, now);
        hand_over_all(&mut pending, now);
        let answered = FromBroker::Answered { number: 1, outcome };
        assert_eq!(pending.answered(&answered), Some(Answer { caller: 1, result }));
    }
}

#[test]
fn what_waits_too_long_is_503_and_never_leaves() {
    let start = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, start);
    pending.add(everyone(), 2, start + Duration::from_secs(1));
    assert_eq!(pending.expire(start + Duration::from_millis(4_999), false), []);
    let waited = LIMITS.broker_wait;
    assert_eq!(
        pending.expire(start + Duration::from_secs(5), false),
        [told(1, Unavailable::NoBroker { waited }.into())]
    );
    assert_eq!(
        pending.expire(start + Duration::from_secs(6), true),
        [told(2, Unavailable::BrokerBusy { waited }.into())]
    );
    assert_eq!(pending.next(start, |_| false), None);
    assert!(pending.is_empty());
}

#[test]
fn what_was_handed_over_is_504_when_it_is_not_answered() {
    let start = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, start);
    hand_over_all(&mut pending, start + Duration::from_secs(4));
    assert_eq!(pending.expire(start + Duration::from_secs(6), true), []);
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pending.expire(start + Duration::from_secs(7), true),
        [told(1, Unavailable::Unanswered { waited }.into())]
    );
    assert_eq!(pending.answered(&accepted(1)), None, "it came too late");
    assert!(pending.is_empty());
}

#[test]
fn this_process_goes_without_what_waits_and_with_what_was_handed_over() {
    let now = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, now);
    hand_over_all(&mut pending, now);
    pending.add(everyone(), 2, now);
    assert_eq!(pending.shut_down(), [told(2, Unavailable::ShuttingDown.into())]);
    assert!(!pending.is_empty());
    assert_eq!(pending.last_call(), [told(1, Unavailable::PublisherEnded.into())]);
    assert!(pending.is_empty());
}

#[test]
fn an_unanswered_push_to_one_connection_names_the_gateway_and_not_the_broker() {
    let start = Instant::now();
    let mut pending = linked();
    pending.add(everyone(), 1, start);
    pending.add(to_one(), 2, start);
    hand_over_all(&mut pending, start);
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pending.expire(start + waited, true),
        [
            told(1, Unavailable::Unanswered { waited }.into()),
            told(2, Unavailable::Unconfirmed { worker: WorkerId(3), waited }.into()),
        ]
    );
}

#[test]
fn what_waits_for_a_caller_that_is_gone_is_not_sent() {
    let now = Instant::now();
    let mut pending = linked();
    for caller in 1..=4 {
        pending.add(everyone(), caller, now);
    }
    assert!(pending.next(now, |&caller| caller == 1).is_some());
    pending.handed_over(now);
    assert_eq!(pending.give_up(|&caller| caller == 4), [told(4, Unavailable::CallerGone.into())]);
    pending.handed_over(now);
    assert_eq!(pending.next(now, |_| false), None);
    assert_eq!(pending.answered(&accepted(1)), Some(ok(2, receipt(1))));
    assert_eq!(pending.answered(&accepted(2)), Some(ok(3, receipt(2))));
    assert!(pending.is_empty());
}
