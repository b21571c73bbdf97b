//! What is accepted, and how publishers are answered.

use super::*;

#[test]
fn without_a_disk_no_changes_are_collected() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.hear(publisher, publish_as("k", 1, "hi"));
    broker.tick(NOW + Duration::from_secs(300));
    assert!(broker.exchange.take_changes().is_empty());
}

#[test]
fn an_event_that_nobody_wants_is_accepted() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    let effects = broker.hear(publisher, publish(1, group("news")));
    assert_eq!(effects, [send(publisher, accepted(1, 1, 0, 0))]);
}

#[test]
fn a_push_reaches_its_gateway_and_the_answer_its_publisher() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    let gateway = broker.enter(gateway_role(&[42]));
    let ticket = RequestTicket { link: publisher.0, number: 3 };
    assert_eq!(
        broker.hear(publisher, push(3, WorkerId(42))),
        [send(
            gateway,
            FromBroker::Deliver { ticket, to: at(WorkerId(42)), content: "psst".into() }
        )]
    );
    let delivered = ToBroker::Delivered { ticket, outcome: DirectOutcome::Written };
    let answered = FromBroker::Answered { number: 3, outcome: DirectOutcome::Written };
    assert_eq!(broker.hear(gateway, delivered.clone()), [send(publisher, answered)]);
    broker.exchange.remove(publisher, NOW);
    assert_eq!(broker.hear(gateway, delivered), []);
}

#[test]
fn an_answer_never_goes_to_a_gateway() {
    let mut broker = TestBroker::new();
    let (one, other) = (broker.gateway(), broker.gateway());
    let forged = ToBroker::Delivered {
        ticket: RequestTicket { link: other.0, number: 1 },
        outcome: DirectOutcome::Written,
    };
    assert_eq!(broker.hear(one, forged), []);
}

#[test]
fn a_push_to_an_unlinked_worker_says_whether_it_may_return() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    let gateway = broker.enter(gateway_role(&[42]));
    let outcome = |broker: &mut TestBroker, worker| match broker
        .hear(publisher, push(1, WorkerId(worker)))[..]
    {
        [Effect::Send { message: FromBroker::Answered { outcome, .. }, .. }] => outcome,
        ref effects => panic!("{effects:?}"),
    };
    assert_eq!(outcome(&mut broker, 43), DirectOutcome::UnknownWorker);
    broker.exchange.remove(gateway, NOW);
    assert_eq!(outcome(&mut broker, 42), DirectOutcome::GatewayAway);
    broker.tick(NOW + RETURN_LIMIT);
    assert_eq!(outcome(&mut broker, 42), DirectOutcome::UnknownWorker);
}

#[test]
fn nobody_sees_an_event_before_it_is_durable() {
    let mut broker = TestBroker::on_disk();
    let gateway = broker.listener(Audience::Everyone, 2);
    let publisher = broker.publisher();
    assert_eq!(broker.hear(publisher, publish(1, Audience::Everyone)), []);
    assert_eq!(broker.hear(publisher, publish(2, Audience::Everyone)), []);
    let changes = broker.exchange.take_changes();
    assert_eq!(changes.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2]);
    let newcomer = broker.gateway();
    broker.hear(newcomer, interest(1, &[(Audience::Everyone, Some(1))]));
    assert_eq!(broker.hear(newcomer, cursor(EPOCH, 0)), attached(newcomer, (0, None), vec![], 0));
    assert_eq!(
        broker.stored(1),
        [
            Effect::Route { links: vec![gateway, newcomer], frame: event(1, Audience::Everyone) },
            send(publisher, accepted(1, 1, 1, 2)),
        ]
    );
    assert_eq!(broker.exchange.log.head().sequence, 1);
    assert_eq!(broker.stored(1), []);
}

#[test]
fn a_repeated_number_is_accepted_once_and_answered_again() {
    let mut broker = TestBroker::on_disk();
    let publisher = broker.publisher();
    broker.hear(publisher, publish(5, Audience::Everyone));
    assert_eq!(broker.hear(publisher, publish(5, Audience::Everyone)), []);
    broker.exchange.remove(publisher, NOW);
    assert_eq!(broker.stored(1), [], "the publisher is away");
    let again = broker.enter_again(Role::Publisher { unanswered: 5 }).link;
    assert_eq!(
        broker.hear(again, publish(5, Audience::Everyone)),
        [send(again, accepted(5, 1, 0, 0))]
    );
    broker.exchange.close();
    assert_eq!(
        broker.hear(again, publish(5, Audience::Everyone)),
        [send(again, accepted(5, 1, 0, 0))],
        "it was accepted before"
    );
    assert_eq!(broker.exchange.take_changes().events.len(), 1);
}

#[test]
fn a_publisher_that_returns_is_answered_on_its_new_link() {
    let mut broker = TestBroker::on_disk();
    let publisher = broker.publisher();
    broker.hear(publisher, publish(5, Audience::Everyone));
    let again = broker.enter_again(Role::Publisher { unanswered: 5 });
    assert_eq!(again.replaced, Some(publisher));
    assert_eq!(broker.hear(again.link, publish(5, Audience::Everyone)), []);
    assert_eq!(broker.stored(1), [send(again.link, accepted(5, 1, 0, 0))]);
}

#[test]
fn a_key_that_anybody_repeats_is_accepted_once() {
    let mut broker = TestBroker::on_disk();
    let (one, other) = (broker.publisher(), broker.publisher());
    broker.hear(one, publish_as("k", 1, "hi"));
    assert_eq!(broker.hear(other, publish_as("k", 7, "hi")), [], "it waits for the first");
    assert_eq!(
        broker.hear(other, publish_as("k", 8, "something else")),
        [send(other, refused(8, Refusal::IdTaken))]
    );
    assert_eq!(
        broker.stored(1),
        [send(one, accepted(1, 1, 0, 0)), send(other, accepted(7, 1, 0, 0))]
    );
    assert_eq!(broker.hear(other, publish_as("k", 9, "hi")), [send(other, accepted(9, 1, 0, 0))]);
    let changes = broker.exchange.take_changes();
    assert_eq!((changes.events.len(), changes.ids.len()), (1, 1));
}

#[test]
fn new_keys_are_refused_while_the_table_is_full() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.hear(publisher, publish_as("a", 1, "hi"));
    broker.hear(publisher, publish_as("b", 2, "hi"));
    assert_eq!(
        broker.hear(publisher, publish_as("c", 3, "hi")),
        [send(publisher, refused(3, Refusal::IdsFull))]
    );
    assert_eq!(
        broker.hear(publisher, publish_as("a", 4, "hi")),
        [send(publisher, accepted(4, 1, 0, 0))]
    );
    broker.tick(NOW + crate::broker::ids::REMEMBERED);
    assert_eq!(
        broker.hear(publisher, publish_as("c", 5, "hi")),
        [send(publisher, accepted(5, 3, 0, 0))]
    );
}

#[test]
fn a_publisher_gets_the_tallies_that_it_asked_for() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    let one = broker.listener(Audience::Everyone, 3);
    let other = broker.listener(Audience::Everyone, 0);
    let mut asked = publish(6, Audience::Everyone);
    let ToBroker::Publish { count_within_millis, .. } = &mut asked else { unreachable!() };
    *count_within_millis = Some(500);
    let lost = broker.gateway();
    broker.exchange.remove(lost, NOW);
    let ticket = RequestTicket { link: publisher.0, number: 6 };
    let count = FromBroker::Count { ticket, sequence: 1, within_millis: 500 };
    assert_eq!(
        broker.hear(publisher, asked),
        [
            send(one, count.clone()),
            send(other, count),
            Effect::Route { links: vec![one, other], frame: event(1, Audience::Everyone) },
            send(
                publisher,
                FromBroker::Accepted {
                    number: 6,
                    sequence: 1,
                    matched: Some(Matched { gateways: 1, connections: 3 }),
                    counting: 2,
                    away: 1
                }
            ),
        ]
    );
    let tally = Tally { matched: 3, written: 2, too_slow: 1 };
    assert_eq!(
        broker.hear(one, ToBroker::Counted { ticket, tally }),
        [send(publisher, FromBroker::Counted { number: 6, tally })]
    );
}

#[test]
fn a_head_covers_accepted_events_and_no_staged_ones() {
    let mut broker = TestBroker::on_disk();
    let publisher = broker.publisher();
    let listener = broker.listener(Audience::Everyone, 1);
    let epoch = broker.exchange.log.head().epoch;
    let head = |number, sequence| FromBroker::Head { number, head: Position { epoch, sequence } };
    broker.hear(publisher, publish(1, Audience::Everyone));
    broker.stored(1);
    broker.hear(publisher, publish(2, Audience::Everyone));
    for (number, link) in [(7, publisher), (8, listener)] {
        let said = broker.hear(link, ToBroker::AskHead { number });
        assert_eq!(said, [send(link, head(number, 1))], "the second is not accepted yet");
    }
    let released = broker.stored(2);
    let routed = Effect::Route { links: vec![listener], frame: event(2, Audience::Everyone) };
    assert_eq!(released[0], routed);
    let said = broker.hear(publisher, ToBroker::AskHead { number: 9 });
    assert_eq!(said, [send(publisher, head(9, 2))]);
}
