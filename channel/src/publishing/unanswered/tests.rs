use bytestring::ByteString;
use campanile_messages::link::{Matched, Refusal};
use campanile_messages::{
    Address, Audience, ConnectionId, Content, IdempotencyKey, TraceContext, WorkerId,
};

use super::*;
use crate::publishing::Delivery;

mod model;
mod time;

const LIMITS: WaitLimits =
    WaitLimits { broker_wait: Duration::from_secs(5), confirm_limit: Duration::from_secs(3) };

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
    Welcome { head, durability: Durability::Written, workers: Vec::new(), log: None }
}

fn linked() -> Unanswered<u32> {
    let mut pushes = Unanswered::new(LIMITS);
    assert_eq!(pushes.link_up(&welcome(9)), []);
    pushes
}

fn accepted(number: Number) -> FromBroker {
    accepted_counting(number, 0, 0)
}

fn accepted_counting(number: Number, counting: u32, away: u32) -> FromBroker {
    let sequence = 100 + number;
    let matched = Some(Matched { gateways: 1, connections: 2 });
    FromBroker::Accepted { number, sequence, matched, counting, away }
}

fn receipt(number: Number) -> Accepted {
    Accepted {
        position: Position { epoch: 9, sequence: 100 + number },
        durability: Durability::Written,
        matched: Some(Matched { gateways: 1, connections: 2 }),
        delivery: None,
    }
}

fn ok(caller: u32, receipt: Accepted) -> Answer<u32> {
    Answer { caller, result: Ok(Receipt::Accepted(receipt)) }
}

fn failed(caller: u32, failure: impl Into<Failure>) -> Answer<u32> {
    Answer { caller, result: Err(failure.into()) }
}

fn next(pushes: &mut Unanswered<u32>, now: Instant) -> Option<ToBroker> {
    pushes.next(now, |_| false).map(whole)
}

fn whole(Outgoing { head, content, .. }: Outgoing<'_>) -> ToBroker {
    let message = head.try_map_content(|kind| {
        assert_eq!(kind, ContentKind::Text);
        ByteString::try_from(content.clone()).map(Content::Text)
    });
    message.expect("UTF-8")
}

#[test]
fn a_trace_goes_before_its_push_on_every_link() {
    let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = TraceContext::parse(header).unwrap();
    let (mut pushes, now) = (linked(), Instant::now());
    pushes.add(Push { trace: Some(context), ..everyone() }, 1, now);
    pushes.add(everyone(), 2, now);
    // A push to one connection is followed by nobody.
    pushes.add(Push { trace: Some(context), ..to_one() }, 3, now);
    let sent = |pushes: &mut Unanswered<u32>| {
        let trace = pushes.next(now, |_| false).and_then(|next| next.trace);
        pushes.handed_over(now);
        trace
    };
    let traced = Some(ToBroker::Traced { number: 1, context });
    assert_eq!([(); 3].map(|()| sent(&mut pushes)), [traced.clone(), None, None]);
    pushes.link_lost();
    assert_eq!(pushes.link_up(&welcome(9)), []);
    assert_eq!([(); 2].map(|()| sent(&mut pushes)), [traced, None]);
}

/// What the broker is sent for a push.
trait Sent {
    fn to_broker(&self, number: Number, unanswered: Number, within_millis: u32) -> ToBroker;
}

impl Sent for Push {
    fn to_broker(&self, number: Number, unanswered: Number, within_millis: u32) -> ToBroker {
        whole(self.outgoing(number, unanswered, within_millis))
    }
}

fn hand_over_all(pushes: &mut Unanswered<u32>, now: Instant) -> Vec<ToBroker> {
    let mut handed = Vec::new();
    while let Some(message) = next(pushes, now) {
        handed.push(message);
        pushes.handed_over(now);
    }
    handed
}

#[test]
fn pushes_leave_in_order_under_growing_numbers() {
    let now = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, now);
    pushes.add(to_one(), 2, now);
    assert_eq!(
        hand_over_all(&mut pushes, now),
        [everyone().to_broker(1, 1, 0), to_one().to_broker(2, 1, 0)]
    );
}

#[test]
fn an_answer_reaches_the_caller_of_its_number_once() {
    let now = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 11, now);
    pushes.add(everyone(), 12, now);
    assert_eq!(pushes.answered(&accepted(1)), None, "nothing was handed over yet");
    hand_over_all(&mut pushes, now);
    assert_eq!(pushes.answered(&accepted(2)), Some(ok(12, receipt(2))));
    assert_eq!(pushes.answered(&accepted(2)), None);
    assert!(!pushes.is_empty());
}

#[test]
fn the_lowest_number_is_of_a_push_for_an_audience() {
    let now = Instant::now();
    let mut pushes = linked();
    assert_eq!(pushes.lowest(), 1);
    for (push, caller) in [(to_one(), 1), (everyone(), 2), (everyone(), 3), (everyone(), 4)] {
        pushes.add(push, caller, now);
    }
    assert_eq!(pushes.lowest(), 1);
    hand_over_all(&mut pushes, now);
    assert_eq!(pushes.lowest(), 2);
    pushes.answered(&accepted(3));
    assert_eq!(pushes.lowest(), 2);
    pushes.answered(&accepted(2));
    assert_eq!(pushes.lowest(), 4);
    pushes.add(everyone(), 5, now);
    assert_eq!(hand_over_all(&mut pushes, now), [everyone().to_broker(5, 4, 0)]);
    pushes.expire(now + LIMITS.confirm_limit, true);
    assert_eq!(pushes.lowest(), 6);
}

#[test]
fn a_new_link_gets_unanswered_pushes_before_new_ones() {
    let now = Instant::now();
    let mut pushes = linked();
    for caller in 1..=4 {
        pushes.add(everyone(), caller, now);
    }
    pushes.add(to_one(), 5, now);
    hand_over_all(&mut pushes, now);
    pushes.answered(&accepted(2));
    assert_eq!(pushes.link_lost(), [failed(5, Unknown::LinkLost)]);
    pushes.add(everyone(), 6, now);
    assert_eq!(pushes.lowest(), 1);
    assert_eq!(pushes.link_up(&welcome(9)), []);
    let again = [1, 3, 4, 6].map(|number| everyone().to_broker(number, 1, 0));
    assert_eq!(hand_over_all(&mut pushes, now), again);

    // Also if the second link broke in the middle of it.
    pushes.link_lost();
    pushes.link_up(&welcome(9));
    assert!(pushes.next(now, |_| false).is_some());
    pushes.handed_over(now);
    assert_eq!(pushes.answered(&accepted(1)), Some(ok(1, receipt(1))));
    pushes.link_lost();
    pushes.link_up(&welcome(9));
    let again = [3, 4, 6].map(|number| everyone().to_broker(number, 3, 0));
    assert_eq!(hand_over_all(&mut pushes, now), again);
}

#[test]
fn another_log_gets_no_push_that_the_old_one_may_have() {
    let now = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, now);
    hand_over_all(&mut pushes, now);
    pushes.link_lost();
    pushes.add(everyone(), 2, now);
    assert_eq!(pushes.link_up(&welcome(10)), [failed(1, Unknown::LogLost)]);
    assert_eq!(hand_over_all(&mut pushes, now), [everyone().to_broker(2, 2, 0)]);
    let in_the_new_log = Accepted { position: Position { epoch: 10, sequence: 102 }, ..receipt(2) };
    assert_eq!(pushes.answered(&accepted(2)), Some(ok(2, in_the_new_log)));
}

#[test]
fn a_counted_push_is_answered_when_all_gateways_have_counted() {
    let now = Instant::now();
    let mut pushes = linked();
    pushes.add(counted(), 1, now);
    hand_over_all(&mut pushes, now);
    assert_eq!(pushes.answered(&accepted_counting(1, 2, 1)), None);
    assert_eq!(pushes.lowest(), 2, "the broker has answered");
    let tally = Tally { matched: 10, written: 9, too_slow: 1 };
    let message = FromBroker::Counted { number: 1, tally };
    assert_eq!(pushes.answered(&message), None);
    let delivery = Some(Delivery { written: 18, too_slow: 2, silent_gateways: 1 });
    let matched = Some(Matched { gateways: 1, connections: 20 });
    let complete = Accepted { matched, delivery, ..receipt(1) };
    assert_eq!(pushes.answered(&message), Some(ok(1, complete)));
    assert!(pushes.is_empty());
}

#[test]
fn a_broker_that_confuses_two_kinds_of_push_is_ignored() {
    let now = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, now);
    pushes.add(to_one(), 2, now);
    hand_over_all(&mut pushes, now);
    let refusal = Refusal::IdsFull;
    for message in [
        FromBroker::Answered { number: 1, outcome: DirectOutcome::Written },
        accepted(2),
        FromBroker::Refused { number: 2, refusal },
    ] {
        assert_eq!(pushes.answered(&message), None);
    }
    assert_eq!(pushes.answered(&accepted(1)), Some(ok(1, receipt(1))));
}

#[test]
fn a_refusal_comes_with_the_id_of_the_push() {
    let now = Instant::now();
    let key = IdempotencyKey::new("order-42").expect("a key");
    for (id, refusal) in [(None, Refusal::IdsFull), (Some(key), Refusal::IdTaken)] {
        let mut pushes = linked();
        pushes.add(Push { id: id.clone(), ..everyone() }, 1, now);
        hand_over_all(&mut pushes, now);
        let refused = FromBroker::Refused { number: 1, refusal };
        let failure = Failure::Refused { refusal, id };
        assert_eq!(pushes.answered(&refused), Some(failed(1, failure)));
        assert!(pushes.is_empty());
    }
}

#[test]
fn an_outcome_other_than_written_is_a_failure() {
    let now = Instant::now();
    let to = to_one().target.address().expect("an address");
    let failure = |outcome| Err(Failure::NotDelivered { outcome, to });
    for (outcome, result) in [
        (DirectOutcome::Written, Ok(Receipt::Written)),
        (DirectOutcome::UnknownWorker, failure(DirectOutcome::UnknownWorker)),
        (DirectOutcome::UnknownConnection, failure(DirectOutcome::UnknownConnection)),
        (DirectOutcome::NotWritten, failure(DirectOutcome::NotWritten)),
        (DirectOutcome::GatewayAway, failure(DirectOutcome::GatewayAway)),
    ] {
        let mut pushes = linked();
        pushes.add(to_one(), 1, now);
        hand_over_all(&mut pushes, now);
        let answered = FromBroker::Answered { number: 1, outcome };
        assert_eq!(pushes.answered(&answered), Some(Answer { caller: 1, result }));
    }
}

#[test]
fn a_shutdown_gives_up_what_waits_and_then_the_rest() {
    let now = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, now);
    hand_over_all(&mut pushes, now);
    pushes.add(everyone(), 2, now);
    assert_eq!(pushes.shut_down(), [failed(2, NotSent::ShuttingDown)]);
    assert!(!pushes.is_empty());
    assert_eq!(pushes.last_call(), [failed(1, Unknown::ProcessEnds)]);
    assert!(pushes.is_empty());
}

#[test]
fn what_waits_for_a_caller_that_is_gone_is_not_sent() {
    let now = Instant::now();
    let mut pushes = linked();
    for caller in 1..=4 {
        pushes.add(everyone(), caller, now);
    }
    assert!(pushes.next(now, |&caller| caller == 1).is_some());
    pushes.handed_over(now);
    assert_eq!(pushes.give_up(|&caller| caller == 4), [failed(4, NotSent::CallerGone)]);
    pushes.handed_over(now);
    assert_eq!(pushes.next(now, |_| false), None);
    assert_eq!(pushes.answered(&accepted(1)), Some(ok(2, receipt(1))));
    assert_eq!(pushes.answered(&accepted(2)), Some(ok(3, receipt(2))));
    assert!(pushes.is_empty());
}
