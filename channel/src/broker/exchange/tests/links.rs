//! Who gets a link, and who loses one.

use super::*;

#[test]
fn a_returning_process_replaces_its_link_and_keeps_workers() {
    let mut broker = TestBroker::new();
    let old = broker.listener(Audience::Everyone, 1);
    let held = [1 << 52 | 5 << 21];
    let hello = Hello { instance: InstanceId(broker.instances), role: gateway_role(&held) };
    let entered = broker.exchange.enter(hello, NOW).unwrap();
    assert_eq!(entered.replaced, Some(old));
    assert_ne!(entered.link, old);
    assert_eq!(entered.welcome.workers, held.map(WorkerId));
    let publisher = broker.publisher();
    assert_eq!(
        broker.hear(publisher, publish(1, Audience::Everyone)),
        [send(publisher, accepted(1, 1, 0, 0))]
    );
    assert_eq!(broker.hear(old, interest(2, &[])), []);
}

#[test]
fn a_gateway_and_a_publisher_of_one_instance_are_two_peers() {
    let mut broker = TestBroker::new();
    broker.gateway();
    let hello =
        Hello { instance: InstanceId(broker.instances), role: Role::Publisher { unanswered: 1 } };
    assert_eq!(broker.exchange.enter(hello, NOW).unwrap().replaced, None);
}

#[test]
fn a_refused_hello_changes_nothing() {
    let mut broker = TestBroker::new();
    let gateway = broker.enter(gateway_role(&[42]));
    let hello = |instance, role| Hello { instance: InstanceId(instance), role };
    let contradiction = Role::Gateway { workers: 2, held: vec![WorkerId(42)] };
    let entered = broker.exchange.enter(hello(1, contradiction), NOW);
    assert!(matches!(entered, Err(Unwelcome::InvalidWorkers(_))));
    let entered = broker.exchange.enter(hello(2, gateway_role(&[42])), NOW);
    assert!(matches!(entered, Err(Unwelcome::InvalidWorkers(_))));
    assert_eq!(broker.exchange.workers.find(WorkerId(42), NOW), Whereabouts::At(gateway));
    assert_eq!(broker.exchange.links.len(), 1);
}

#[test]
fn a_full_broker_refuses_new_processes_only() {
    let mut broker = TestBroker::new();
    for _ in 0..4 {
        broker.publisher();
    }
    let hello = |instance| Hello {
        instance: InstanceId(instance),
        role: Role::Publisher { unanswered: 1 },
    };
    let refused = broker.exchange.enter(hello(99), NOW);
    assert_eq!(refused, Err(Unwelcome::TooManyLinks { max: 4 }));
    assert!(broker.exchange.enter(hello(1), NOW).is_ok());
}

#[test]
fn a_closing_broker_refuses_publishes_and_links() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.exchange.close();
    let refused = refused(1, Refusal::ShuttingDown);
    assert_eq!(broker.hear(publisher, publish(1, Audience::Everyone)), [send(publisher, refused)]);
    let unknown = FromBroker::Answered { number: 2, outcome: DirectOutcome::UnknownWorker };
    assert_eq!(broker.hear(publisher, push(2, WorkerId(1))), [send(publisher, unknown)]);
    let hello = Hello { instance: InstanceId(99), role: Role::Publisher { unanswered: 1 } };
    let entered = broker.exchange.enter(hello, NOW);
    assert_eq!(entered, Err(Unwelcome::ShuttingDown));
}

#[test]
fn counted_worker_ids_continue_where_they_were() {
    let mut broker = TestBroker::starting(|start| start.worker_ids = Supply::Counted(4));
    let hello = |instance, role| Hello { instance: InstanceId(instance), role };
    let new = broker.exchange.enter(hello(1, gateway_role(&[])), NOW).unwrap();
    assert_eq!(new.welcome.workers, [WorkerId(4)]);
    assert_eq!(broker.exchange.next_worker(), Some(5));
    let known = broker.exchange.enter(hello(2, gateway_role(&[9])), NOW).unwrap();
    assert_eq!(known.welcome.workers, [WorkerId(9)]);
    assert_eq!(broker.exchange.next_worker(), Some(10), "this log is an older copy");
    assert_eq!(broker.exchange.workers.find(WorkerId(3), NOW), Whereabouts::Away);
    assert_eq!(broker.exchange.workers.find(WorkerId(11), NOW), Whereabouts::Unknown);
}
