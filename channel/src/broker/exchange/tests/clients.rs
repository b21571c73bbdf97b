//! What clients of gateways publish.

use super::*;

/// What a user's client publishes from connection 7 of a worker, which is left out.
fn publish_of(user: &'static str, key: &'static str, number: Number, worker: u64) -> ToBroker {
    let mut publish = publish_as(key, number, "hi");
    let ToBroker::Publish { from, except, .. } = &mut publish else { unreachable!() };
    (*from, *except) = (UserName::new(user).ok(), Some(at(WorkerId(worker))));
    publish
}

#[test]
fn the_same_id_of_two_users_and_a_backend_is_three_events() {
    let mut broker = TestBroker::starting(|start| start.max_ids = 100);
    let publisher = broker.publisher();
    for (number, publish) in [
        (1, publish_of("42", "k", 1, 5)),
        (2, publish_of("43", "k", 2, 5)),
        (3, publish_as("k", 3, "hi")),
    ] {
        assert_eq!(
            broker.hear(publisher, publish),
            [send(publisher, accepted(number, number, 0, 0))]
        );
    }
    let again = publish_of("43", "k", 4, 5);
    assert_eq!(broker.hear(publisher, again), [send(publisher, accepted(4, 2, 0, 0))]);
}

#[test]
fn a_user_repeats_from_a_new_connection_and_after_a_restart() {
    let mut earlier = TestBroker::starting(|start| {
        (start.keeps, start.durability, start.max_ids) = (true, Durability::Disk, 100);
    });
    let gateway = earlier.publisher();
    assert_eq!(earlier.hear(gateway, publish_of("42", "k", 1, 5)), []);
    assert_eq!(earlier.hear(gateway, publish_of("42", "k", 2, 6)), [], "it waits for the first");
    assert_eq!(
        earlier.stored(1),
        [send(gateway, accepted(1, 1, 0, 0)), send(gateway, accepted(2, 1, 0, 0))]
    );
    let Changes { events, ids, .. } = earlier.exchange.take_changes();
    assert_eq!(events[0].from, UserName::new("42").ok());
    let mut broker = TestBroker::starting(|start| {
        (start.keeps, start.durability, start.max_ids) = (true, Durability::Disk, 100);
        (start.events, start.ids, start.log.head) = (events, ids, 1);
    });
    let gateway = broker.publisher();
    let repeated = broker.hear(gateway, publish_of("42", "k", 1, 7));
    assert_eq!(repeated, [send(gateway, accepted(1, 1, 0, 0))]);
    let mut other = publish_of("42", "k", 2, 7);
    let ToBroker::Publish { content, .. } = &mut other else { unreachable!() };
    *content = "something else".into();
    assert_eq!(broker.hear(gateway, other), [send(gateway, refused(2, Refusal::IdTaken))]);
}

#[test]
fn ids_of_clients_leave_nine_tenths_of_the_table_to_backends() {
    let mut broker = TestBroker::starting(|start| start.max_ids = 10);
    let publisher = broker.publisher();
    broker.hear(publisher, publish_of("42", "a", 1, 5));
    let full = [send(publisher, refused(2, Refusal::IdsFull))];
    assert_eq!(broker.hear(publisher, publish_of("43", "a", 2, 5)), full);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    for (number, key) in (3..).zip(keys) {
        let [Effect::Send { message: FromBroker::Accepted { .. }, .. }] =
            broker.hear(publisher, publish_as(key, number, "hi"))[..]
        else {
            panic!("{key} was not accepted");
        };
    }
}

#[test]
fn an_event_says_which_user_published_it() {
    let mut broker = TestBroker::starting(|start| start.max_ids = 100);
    let (publisher, gateway) = (broker.publisher(), broker.listener(Audience::Everyone, 1));
    let effects = broker.hear(publisher, publish_of("42", "k", 1, 5));
    let event = Event {
        sequence: 1,
        audience: Audience::Everyone,
        except: Some(at(WorkerId(5))),
        content: "hi".into(),
        from: UserName::new("42").ok(),
    };
    let frame = FromBroker::Event(event).encode();
    assert_eq!(effects[0], Effect::Route { links: vec![gateway], frame });
}
