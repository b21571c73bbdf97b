//! What operators are told of one event.

use campanile_messages::Content;
use campanile_messages::inquiry::trace::{BrokerTrace, LoggedEvent};

use super::*;

fn traced(broker: &TestBroker, sequence: u64) -> BrokerTrace {
    let shown = |at: Duration| (at - NOW).as_secs();
    broker.exchange.trace(Position { epoch: EPOCH, sequence }, shown)
}

fn event_at(broker: &TestBroker, sequence: u64) -> LoggedEvent {
    traced(broker, sequence).event.expect("it is kept")
}

#[test]
fn an_event_is_released_when_it_is_known_to_be_on_disk() {
    let mut broker = TestBroker::on_disk();
    let publisher = broker.publisher();
    broker.hear(publisher, publish_as("a", 1, "hello"));
    assert_eq!(traced(&broker, 1).event, None, "it is not in the log");
    let mut effects = Vec::new();
    let later = NOW + Duration::from_secs(3);
    broker.exchange.note_stored(1, later);
    broker.exchange.stored(1, later, &mut effects);
    let event = event_at(&broker, 1);
    let times = (event.accepted, event.stored, event.released);
    assert_eq!(times, (Some(0), Some(3), Some(3)));
    assert_eq!((event.id.as_deref(), event.bytes), (Some("a"), 5));
    assert_eq!(event.traced.audience, Audience::Everyone);
}

#[test]
fn without_a_disk_an_event_is_released_at_once() {
    let mut broker = TestBroker::new();
    broker.listener(group("news"), 2);
    broker.listener(group("news"), 3);
    let publisher = broker.publisher();
    let excepted = Some(Address { worker: WorkerId(1), connection: ConnectionId(2) });
    let mut publish = publish(1, group("news"));
    let ToBroker::Publish { content, except, from, .. } = &mut publish else { unreachable!() };
    // A large content is not a part of the head of its frame.
    *content = Content::Binary(vec![7; 100_000].into());
    (*except, *from) = (excepted, UserName::new("42").ok());
    broker.hear(publisher, publish);
    let event = event_at(&broker, 1);
    assert_eq!((event.accepted, event.stored, event.released), (Some(0), None, Some(0)));
    assert_eq!((event.gateways, event.matched, event.bytes), (Some(2), Some(5), 100_000));
    assert_eq!((event.traced.except, event.user.as_deref()), (excepted, Some("42")));
    assert_eq!(event.id, None);
}

#[test]
fn an_event_that_is_not_in_this_log_is_not_known() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.hear(publisher, publish(1, Audience::Everyone));
    assert_eq!(traced(&broker, 2).event, None);
    assert_eq!(traced(&broker, 0).event, None);
    let other = Position { epoch: EPOCH + 1, sequence: 1 };
    let trace = broker.exchange.trace(other, |_| 0);
    assert_eq!((trace.event, trace.head.map(|head| head.epoch)), (None, Some(EPOCH)));
}
