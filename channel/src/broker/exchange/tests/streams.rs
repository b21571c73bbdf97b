//! Which events a gateway gets, and what it learns about them.

use campanile_messages::frame::{MAX_FRAME_BYTES, take_frame};

use super::*;

#[test]
fn an_event_is_sent_before_its_publisher_is_answered() {
    let mut broker = TestBroker::new();
    let news = broker.listener(group("news"), 3);
    let _other = broker.listener(group("other"), 1);
    let empty = broker.listener(group("news"), 0);
    let publisher = broker.publisher();
    assert_eq!(
        broker.hear(publisher, publish(9, group("news"))),
        [
            Effect::Route { links: vec![news, empty], frame: event(1, group("news")) },
            send(publisher, accepted(9, 1, 1, 3)),
        ]
    );
}

#[test]
fn interest_counts_from_attach_and_from_each_confirmation() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    let gateway = broker.gateway();
    let everyone = [(Audience::Everyone, Some(2))];
    assert_eq!(broker.hear(gateway, interest(1, &everyone)), []);
    assert_eq!(
        broker.hear(publisher, publish(1, Audience::Everyone)),
        [send(publisher, accepted(1, 1, 0, 0))]
    );
    assert_eq!(
        broker.hear(gateway, ToBroker::Attach { cursor: None }),
        attached(gateway, (1, None), vec![], 1)
    );
    assert_eq!(
        broker.hear(gateway, interest(2, &[(group("eu"), Some(1))])),
        [send(gateway, FromBroker::Confirmed { revision: 2, head: 1 })]
    );
    let withdrawn = [(Audience::Everyone, None)];
    assert_eq!(
        broker.hear(gateway, interest(3, &withdrawn)),
        [send(gateway, FromBroker::Confirmed { revision: 3, head: 1 })]
    );
    assert_eq!(
        broker.hear(publisher, publish(2, Audience::Everyone)),
        [send(publisher, accepted(2, 2, 0, 0))]
    );
}

#[test]
fn a_returning_gateway_gets_what_its_audiences_missed() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    for (number, name) in [(1, "news"), (2, "other"), (3, "news")] {
        broker.hear(publisher, publish(number, group(name)));
    }
    let gateway = broker.gateway();
    broker.hear(gateway, interest(1, &[(group("news"), Some(1))]));
    assert_eq!(
        broker.hear(gateway, cursor(EPOCH, 1)),
        attached(gateway, (1, None), vec![event(3, group("news"))], 3)
    );
    let from_another_broker = broker.gateway();
    broker.hear(from_another_broker, interest(1, &[(group("news"), Some(1))]));
    let all = vec![event(1, group("news")), event(3, group("news"))];
    assert_eq!(
        broker.hear(from_another_broker, cursor(EPOCH + 1, 50)),
        attached(from_another_broker, (0, Some(Gap::EpochChanged)), all, 3)
    );
}

#[test]
fn an_attach_without_interest_is_not_confirmed() {
    let mut broker = TestBroker::new();
    let gateway = broker.gateway();
    let effects = broker.hear(gateway, ToBroker::Attach { cursor: None });
    assert_eq!(effects, attached(gateway, (0, None), vec![], 0)[..2]);
}

#[test]
fn interest_above_the_bound_is_a_violation() {
    let mut broker = TestBroker::new();
    let gateway = broker.gateway();
    let changes: Vec<_> = (0..4).map(|n| (group(&n.to_string()), Some(1))).collect();
    assert_eq!(
        broker.say(gateway, interest(1, &changes)),
        Err(Violation::TooManyAudiences(TooManyAudiences { max: 3 }))
    );
}

#[test]
fn there_is_a_gap_only_if_a_wanted_event_is_lost() {
    let mut broker = TestBroker::starting(|start| {
        start.log.trimmed = vec![(group("news"), 5), (group("other"), 9)];
        start.log.head = 20;
    });
    let attach = |broker: &mut TestBroker, sequence| {
        let gateway = broker.gateway();
        broker.hear(gateway, interest(1, &[(group("news"), Some(1)), (group("new"), Some(1))]));
        (gateway, broker.hear(gateway, cursor(EPOCH, sequence)))
    };
    let (gateway, effects) = attach(&mut broker, 5);
    assert_eq!(effects, attached(gateway, (5, None), vec![], 20));
    let (gateway, effects) = attach(&mut broker, 4);
    assert_eq!(effects, attached(gateway, (5, Some(Gap::Expired)), vec![], 20));
}

#[test]
fn a_gateway_ahead_of_the_log_begins_a_new_epoch() {
    let mut broker = TestBroker::on_disk();
    let publisher = broker.publisher();
    broker.hear(publisher, publish_as("k", 1, "hi"));
    let gateway = broker.gateway();
    assert_eq!(broker.hear(gateway, cursor(EPOCH, 1)), [Effect::BeginEpoch]);
    broker.exchange.remove(publisher, NOW);
    broker.exchange.remove(gateway, NOW);
    broker.exchange.begin_epoch(EPOCH + 1);
    assert_eq!(broker.stored(1), [], "what was staged belongs to the old epoch");
    assert!(broker.exchange.take_changes().is_empty());
    let publisher = broker.publisher();
    broker.hear(publisher, publish_as("k", 1, "hi"));
    assert_eq!(broker.stored(2), [send(publisher, accepted(1, 2, 0, 0))]);
}

#[test]
fn a_fetch_is_answered_with_the_frames_of_the_log() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    for (number, name) in [(1, "news"), (2, "other"), (3, "news")] {
        broker.hear(publisher, publish(number, group(name)));
    }
    let gateway = broker.gateway();
    let want = |since, names: &[&'static str]| Want {
        since,
        audiences: names.iter().copied().map(group).collect(),
    };
    let past = |name, events, complete_after| {
        let audience = group(name);
        FromBroker::Past { audience, events, expired: 0, complete_after }.encode()
    };
    let mut fetch =
        |wants, max_bytes| broker.hear(gateway, ToBroker::Fetch { number: 4, wants, max_bytes });
    let fetched = |served| FromBroker::Fetched { number: 4, served }.encode();
    let wants = vec![want(1, &["news", "quiet"]), want(0, &["news", "other"])];
    let first = [past("news", 1, 1), event(3, group("news")), past("quiet", 0, 1)];
    let second = [
        past("news", 1, 0),
        event(1, group("news")),
        past("other", 1, 0),
        event(2, group("other")),
    ];
    let replay = |frames: Vec<_>| [Effect::Replay { link: gateway, frames }];
    assert_eq!(
        fetch(wants.clone(), 1_000),
        replay([&first[..], &second, &[fetched(2)]].concat()),
        "no event comes twice"
    );
    assert_eq!(
        fetch(wants, 1),
        replay([&first[..], &[fetched(1)]].concat()),
        "the rest comes later"
    );
}

/// How many wants are served, and how many events were sent for them.
fn answer(effects: &[Effect]) -> (u32, usize) {
    let [Effect::Replay { frames, .. }] = effects else { panic!("{effects:?}") };
    let (mut served, mut events) = (0, 0);
    for frame in frames {
        let mut bytes = bytes::BytesMut::from(&frame.head[..]);
        let body = take_frame(&mut bytes, MAX_FRAME_BYTES).unwrap().unwrap();
        match FromBroker::decode(body).unwrap() {
            FromBroker::Event(_) => events += 1,
            FromBroker::Fetched { served: all, .. } => served = all,
            FromBroker::Past { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    (served, events)
}

#[test]
fn wants_of_one_fetch_do_not_look_at_the_whole_log_each() {
    const EVENTS: u64 = 1_000;
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    for number in 1..=EVENTS {
        broker.hear(publisher, publish(number, group("news")));
    }
    let gateway = broker.gateway();
    let mut fetch = |wants: Vec<Want>| {
        let fetch = ToBroker::Fetch { number: 1, wants, max_bytes: u64::MAX };
        answer(&broker.hear(gateway, fetch))
    };
    let want = |since| Want { since, audiences: vec![group("news")] };
    assert_eq!(fetch(vec![want(0); 1_000]), (1_000, 1_000), "what is covered costs nothing");
    // Each of them needs one more event than the one before.
    let (served, events) = fetch((0..EVENTS).rev().map(want).collect());
    assert_eq!((served, events), (200, 200), "20,000 events were looked at");
    let many_times = Want { since: 0, audiences: vec![group("news"); 1_000] };
    let (served, events) = fetch(vec![many_times]);
    assert!(served == 1 && (1..=EVENTS as usize + 1).contains(&events), "{events}");
}

#[test]
fn a_fetch_of_too_much_is_a_violation() {
    let mut broker = TestBroker::new();
    let gateway = broker.gateway();
    let wants = vec![Want { since: 0, audiences: vec![] }; 1_001];
    let violation = broker.say(gateway, ToBroker::Fetch { number: 1, wants, max_bytes: 1 });
    assert_eq!(violation, Err(Violation::TooMuchWanted { wants: 1_001, audiences: 0 }));
}

#[test]
fn a_quiet_gateway_learns_once_where_the_log_ends() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    let quiet = broker.listener(group("quiet"), 1);
    let _not_attached = broker.gateway();
    broker.hear(publisher, publish(1, group("news")));
    assert_eq!(broker.tick(NOW), [send(quiet, FromBroker::Mark { head: 1 })]);
    assert_eq!(broker.tick(NOW), []);
}
