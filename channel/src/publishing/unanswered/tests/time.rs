//! What happens when a limit is over.

use super::*;

#[test]
fn a_push_that_is_sent_again_keeps_its_first_deadline() {
    let start = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, start);
    hand_over_all(&mut pushes, start);
    pushes.link_lost();
    pushes.link_up(&welcome(9));
    hand_over_all(&mut pushes, start + Duration::from_secs(2));
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pushes.expire(start + waited, true),
        [failed(1, Unknown::Unanswered { waited })],
        "the second link has no time of its own"
    );
    assert!(pushes.is_empty());
}

#[test]
fn a_timeout_covers_both_waits_and_only_shortens_them() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let mut pushes = linked();
    pushes.add(within(everyone(), 2 * second), 1, start);
    let waited = 2 * second;
    assert_eq!(pushes.expire(start + second, true), []);
    hand_over_all(&mut pushes, start + second);
    pushes.add(within(everyone(), second), 2, start);
    let expired = pushes.expire(start + 2 * second, false);
    let never_sent = failed(2, NotSent::NoBroker { waited: second });
    assert_eq!(expired, [never_sent, failed(1, Unknown::Unanswered { waited })]);

    pushes.add(within(everyone(), 30 * second), 3, start);
    let waited = LIMITS.broker_wait;
    assert_eq!(pushes.expire(start + waited, true), [failed(3, NotSent::BrokerBusy { waited })]);
    pushes.add(within(everyone(), 30 * second), 4, start);
    hand_over_all(&mut pushes, start);
    let waited = LIMITS.confirm_limit;
    assert_eq!(pushes.expire(start + waited, true), [failed(4, Unknown::Unanswered { waited })]);
}

#[test]
fn gateways_get_the_time_that_is_left_to_count() {
    let start = Instant::now();
    for (push, waited_millis, given_millis) in [
        (counted(), 0, 4_750),
        (counted(), 4_000, 4_750),
        (within(counted(), Duration::from_secs(2)), 0, 1_750),
        (within(counted(), Duration::from_secs(2)), 1_600, 300),
        (within(counted(), Duration::from_millis(1)), 0, 1),
        (within(counted(), Duration::from_secs(30)), 0, 29_750),
    ] {
        let mut pushes = linked();
        pushes.add(push.clone(), 1, start);
        let now = start + Duration::from_millis(waited_millis);
        assert_eq!(hand_over_all(&mut pushes, now), [push.to_broker(1, 1, given_millis)]);
    }
}

#[test]
fn a_count_ends_with_its_time_or_its_link() {
    let start = Instant::now();
    let mut pushes = linked();
    pushes.add(counted(), 1, start);
    pushes.add(within(counted(), Duration::from_secs(20)), 2, start);
    hand_over_all(&mut pushes, start);
    for number in [1, 2] {
        assert_eq!(pushes.answered(&accepted_counting(number, 1, 0)), None);
    }
    assert!(!pushes.is_empty());
    let partial = |number| Accepted {
        delivery: Some(Delivery { written: 0, too_slow: 0, silent_gateways: 1 }),
        ..receipt(number)
    };
    assert_eq!(pushes.expire(start + COUNT_LIMIT, true), [ok(1, partial(1))]);
    assert_eq!(pushes.link_lost(), [ok(2, partial(2))]);
    assert!(pushes.is_empty());
}

#[test]
fn a_push_that_waits_too_long_is_never_sent() {
    let start = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, start);
    pushes.add(everyone(), 2, start + Duration::from_secs(1));
    assert_eq!(pushes.expire(start + Duration::from_millis(4_999), false), []);
    let waited = LIMITS.broker_wait;
    assert_eq!(
        pushes.expire(start + Duration::from_secs(5), false),
        [failed(1, NotSent::NoBroker { waited })]
    );
    assert_eq!(
        pushes.expire(start + Duration::from_secs(6), true),
        [failed(2, NotSent::BrokerBusy { waited })]
    );
    assert_eq!(pushes.next(start, |_| false), None);
    assert!(pushes.is_empty());
}

#[test]
fn a_push_without_an_answer_is_unknown() {
    let start = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, start);
    hand_over_all(&mut pushes, start + Duration::from_secs(4));
    assert_eq!(pushes.expire(start + Duration::from_secs(6), true), []);
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pushes.expire(start + Duration::from_secs(7), true),
        [failed(1, Unknown::Unanswered { waited })]
    );
    assert_eq!(pushes.answered(&accepted(1)), None, "it came too late");
    assert!(pushes.is_empty());
}

#[test]
fn a_push_to_one_connection_names_its_worker() {
    let start = Instant::now();
    let mut pushes = linked();
    pushes.add(everyone(), 1, start);
    pushes.add(to_one(), 2, start);
    hand_over_all(&mut pushes, start);
    let waited = LIMITS.confirm_limit;
    assert_eq!(
        pushes.expire(start + waited, true),
        [
            failed(1, Unknown::Unanswered { waited }),
            failed(2, Unknown::Unconfirmed { worker: WorkerId(3), waited }),
        ]
    );
}
