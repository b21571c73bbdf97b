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

/// Of a group, everyone and the group again, each in a block of its own that ends at 0xffff.
fn in_blocks() -> (Vec<Record>, [u64; 3]) {
    let sequences = [2, 3, 7].map(|block: u64| block << 16 | 1);
    let mut earlier = TestBroker::on_disk();
    let publisher = earlier.publisher();
    for (number, audience) in (1..).zip([group("news"), Audience::Everyone, group("news")]) {
        earlier.hear(publisher, publish(number, audience));
    }
    let events = earlier.exchange.take_changes().events.into_iter().zip(sequences);
    (events.map(|(event, sequence)| Record { sequence, ..event }).collect(), sequences)
}

#[test]
fn a_log_with_gaps_is_replayed_from_any_position() {
    let (events, [one, two, three]) = in_blocks();
    let head = three | 0xffff;
    let replayed = |from, is_listening: [bool; 2]| {
        let mut broker = TestBroker::starting(|start| {
            (start.events, start.log.head) = (events.clone(), head);
        });
        assert_eq!(broker.exchange.figures(NOW).log_events, 3);
        let link = broker.gateway();
        let wanted = [(group("news"), Some(1)), (Audience::Everyone, Some(1))];
        let wanted = wanted.into_iter().zip(is_listening).filter(|(_, listens)| *listens);
        let wanted: Vec<_> = wanted.map(|(wanted, _)| wanted).collect();
        broker.hear(link, interest(1, &wanted));
        let effects = broker.hear(link, cursor(EPOCH, from));
        let Some(Effect::CatchUp { frames, .. }) = effects.get(1) else { panic!("{effects:?}") };
        assert_eq!(effects, attached(link, (from, None), frames.clone(), head));
        frames.len()
    };
    let both = [true, true];
    let froms = [0, one - 1, one, one | 0xffff, two - 1, two, three - 1, three, head];
    assert_eq!(froms.map(|from| replayed(from, both)), [3, 3, 2, 2, 2, 1, 1, 0, 0]);
    assert_eq!(froms.map(|from| replayed(from, [true, false])), [2, 2, 1, 1, 1, 1, 1, 0, 0]);
}

#[test]
fn a_fetch_finds_events_on_both_sides_of_a_gap() {
    let (events, [one, two, three]) = in_blocks();
    let mut broker = TestBroker::starting(|start| {
        (start.events, start.log.head) = (events, three | 0xffff);
    });
    let link = broker.listener(group("news"), 1);
    let mut fetch = |since| {
        let wants = vec![Want { since, audiences: vec![group("news")] }];
        broker.hear(link, ToBroker::Fetch { number: 1, wants, max_bytes: 1 << 20 })
    };
    let answer = |since: u64, events: &[u64]| {
        let past = FromBroker::Past {
            audience: group("news"),
            events: events.len() as u32,
            expired: 0,
            complete_after: since,
        };
        let events = events.iter().map(|sequence| event(*sequence, group("news")));
        let fetched = FromBroker::Fetched { number: 1, served: 1 }.encode();
        let frames = [past.encode()].into_iter().chain(events).chain([fetched]).collect();
        vec![Effect::Replay { link, frames }]
    };
    assert_eq!(fetch(0), answer(0, &[one, three]));
    assert_eq!(fetch(two), answer(two, &[three]));
    assert_eq!(fetch(three | 0xffff), answer(three | 0xffff, &[]));
}

#[test]
fn what_is_lost_of_a_log_with_gaps_is_known() {
    let (events, [one, two, three]) = in_blocks();
    let head = three | 0xffff;
    let mut broker = TestBroker::starting(|start| {
        (start.events, start.log.head, start.log.max_bytes) = (events, head, 1_400);
    });
    let position = |sequence| Position { epoch: EPOCH, sequence };
    let trace = broker.exchange.trace(position(three), |_| 0);
    assert_eq!((trace.head, trace.tail), (Some(position(head)), two - 1));
    assert!(trace.event.is_some());
    for gone in [one, two + 1, three - 1, head] {
        assert_eq!(broker.exchange.trace(position(gone), |_| 0).event, None);
    }
    let mut attach = |epoch, from| {
        let link = broker.gateway();
        broker.hear(link, interest(1, &[(group("news"), Some(1))]));
        broker.hear(link, cursor(epoch, from)).into_iter().find_map(|effect| match effect {
            Effect::Send { message: FromBroker::Attached { from, gap }, .. } => {
                Some((from.sequence, gap))
            }
            _ => None,
        })
    };
    assert_eq!(attach(EPOCH, one - 1), Some((one, Some(Gap::Expired))));
    assert_eq!(attach(EPOCH, one | 0xffff), Some((one | 0xffff, None)));
    assert_eq!(attach(EPOCH + 1, 5), Some((two - 1, Some(Gap::EpochChanged))));
    broker.tick(NOW + Duration::from_secs(300));
    assert_eq!(broker.exchange.figures(NOW).log_events, 0);
    assert_eq!(broker.exchange.log.tail(), head);
}
