//! What a broker continues with after a restart.

use super::*;

#[test]
fn events_of_an_earlier_broker_are_replayed_and_answered() {
    let mut earlier = TestBroker::on_disk();
    let publisher = earlier.publisher();
    earlier.hear(publisher, publish_as("k", 1, "hi"));
    earlier.hear(publisher, publish(2, Audience::Everyone));
    let Changes { events, ids, .. } = earlier.exchange.take_changes();
    let mut broker = TestBroker::starting(|start| {
        (start.keeps, start.durability) = (true, Durability::Disk);
        (start.events, start.ids, start.log.head) = (events, ids, 2);
    });
    let publisher = broker.publisher();
    assert_eq!(
        broker.hear(publisher, publish(2, Audience::Everyone)),
        [send(publisher, accepted(2, 2, 0, 0))]
    );
    assert_eq!(
        broker.hear(publisher, publish_as("k", 9, "hi")),
        [send(publisher, accepted(9, 1, 0, 0))]
    );
    broker.hear(publisher, publish(10, Audience::Everyone));
    assert_eq!(broker.stored(3), [send(publisher, accepted(10, 3, 0, 0))]);
    let gateway = broker.gateway();
    broker.hear(gateway, interest(1, &[(Audience::Everyone, Some(1))]));
    let frames = vec![event(2, Audience::Everyone), event(3, Audience::Everyone)];
    assert_eq!(broker.hear(gateway, cursor(EPOCH, 1)), attached(gateway, (1, None), frames, 3));
}

#[test]
fn the_disk_keeps_dropped_events_that_may_be_repeated() {
    let mut broker = TestBroker::on_disk();
    let publisher = broker.publisher();
    broker.hear(publisher, publish(1, Audience::Everyone));
    broker.hear(publisher, publish(2, Audience::Everyone));
    broker.stored(2);
    broker.exchange.take_changes();
    let mut third = publish(3, group("news"));
    let ToBroker::Publish { unanswered, .. } = &mut third else { unreachable!() };
    *unanswered = 2;
    broker.hear(publisher, third);
    broker.tick(NOW + Duration::from_secs(300));
    let trim = broker.exchange.take_changes().trim.unwrap();
    assert_eq!(trim.last, [(Audience::Everyone, 1), (Audience::Everyone, 2)]);
    assert_eq!(trim.below, 2, "the second may be repeated");
}

#[test]
fn dropping_events_of_an_earlier_broker_goes_to_disk() {
    let mut earlier = TestBroker::on_disk();
    let publisher = earlier.publisher();
    for number in 1..=3 {
        earlier.hear(publisher, publish(number, group("news")));
    }
    let events = earlier.exchange.take_changes().events;
    let mut broker = TestBroker::starting(|start| {
        (start.keeps, start.durability) = (true, Durability::Disk);
        (start.events, start.log.head, start.log.max_bytes) = (events, 3, 1_000);
    });
    let trim = broker.exchange.take_changes().trim.unwrap();
    assert_eq!(trim.last, [(group("news"), 1), (group("news"), 2)]);
    assert_eq!(trim.below, 1, "they may still be repeated");
}

#[test]
fn a_restart_does_not_change_when_something_expires() {
    let mut earlier = TestBroker::on_disk();
    let publisher = earlier.publisher();
    earlier.hear(publisher, publish_as("a", 1, "hi"));
    let changes = earlier.exchange.take_changes();
    let secs = Duration::from_secs;
    // Restarts after 100 s and after 250 s. The log keeps events for 300 s.
    for (age, id_left, event_left) in [(100, 50, 200), (250, 0, 50)] {
        let (events, ids) = (changes.events.clone(), changes.ids.clone());
        let now = NOW + secs(age);
        let mut broker = TestBroker::starting(|start| {
            (start.keeps, start.durability, start.now) = (true, Durability::Disk, now);
            (start.events, start.ids, start.log.head) = (events, ids, 1);
            start.log.keep_until = now + RETURN_LIMIT;
        });
        let nano = Duration::from_nanos(1);
        if id_left > 0 {
            broker.tick(now + secs(id_left) - nano);
            assert_eq!(broker.exchange.take_changes().forgotten_ids, []);
        }
        broker.tick(now + secs(id_left));
        assert_eq!(broker.exchange.take_changes().forgotten_ids.len(), 1, "after {age} s");
        broker.tick(now + secs(event_left) - nano);
        assert_eq!(broker.exchange.log.tail(), 0);
        broker.tick(now + secs(event_left));
        assert_eq!(broker.exchange.log.tail(), 1, "after {age} s");
        assert!(!broker.exchange.remembers());
    }
}
