//! Publishes that belong to a trace.

use campanile_messages::TraceContext;

use super::*;
use crate::broker::intake::Trace;

fn context(span: u64) -> TraceContext {
    let header = format!("00-0af7651916cd43dd8448eb211c80319c-{span:016x}-01");
    TraceContext::parse(header.as_bytes()).unwrap()
}

fn traced(number: Number, span: u64) -> ToBroker {
    ToBroker::Traced { number, context: context(span) }
}

fn trace(
    span: u64,
    audience: Audience,
    outcome: Result<(u64, usize), Refusal>,
    received: Duration,
) -> Effect {
    let position = |sequence| Position { epoch: EPOCH, sequence };
    Effect::FinishSpan(Box::new(FollowedPublish {
        trace: Trace { context: context(span), received },
        audience,
        body_bytes: 2,
        outcome: outcome.map(|(sequence, gateways)| (position(sequence), gateways)),
    }))
}

#[test]
fn each_gateway_learns_of_the_trace_right_before_the_event() {
    let mut broker = TestBroker::on_disk();
    let publisher = broker.publisher();
    let one = broker.listener(group("news"), 3);
    let other = broker.listener(group("news"), 0);
    assert_eq!(broker.hear(publisher, traced(1, 5)), []);
    assert_eq!(broker.hear(publisher, publish(1, group("news"))), []);
    let mut effects = Vec::new();
    let later = NOW + Duration::from_secs(3);
    broker.exchange.stored(1, later, &mut effects);
    let before = FromBroker::Traced { sequence: 1, context: context(5) };
    let expected = [
        send(one, before.clone()),
        send(other, before),
        Effect::Route { links: vec![one, other], frame: event(1, group("news")) },
        send(publisher, accepted(1, 1, 1, 3)),
        trace(5, group("news"), Ok((1, 2)), NOW),
    ];
    assert_eq!(effects, expected);
}

#[test]
fn a_trace_belongs_to_the_publish_with_its_number_and_to_no_other() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.hear(publisher, traced(2, 5));
    let answer = |number| send(publisher, accepted(number, number, 0, 0));
    assert_eq!(broker.hear(publisher, publish(1, group("news"))), [answer(1)]);
    assert_eq!(broker.hear(publisher, publish(2, group("news"))), [answer(2)]);
    broker.hear(publisher, traced(3, 5));
    broker.hear(publisher, traced(3, 6));
    let span = trace(6, group("news"), Ok((3, 0)), NOW);
    assert_eq!(broker.hear(publisher, publish(3, group("news"))), [answer(3), span]);
    assert_eq!(broker.hear(publisher, publish(4, group("news"))), [answer(4)]);
}

#[test]
fn a_repeat_is_the_same_push_in_another_trace_and_has_no_span() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.hear(publisher, traced(1, 5));
    let first = broker.hear(publisher, publish_as("a", 1, "hi"));
    let accepted = |number| send(publisher, accepted(number, 1, 0, 0));
    assert_eq!(first, [accepted(1), trace(5, Audience::Everyone, Ok((1, 0)), NOW)]);
    for number in [1, 2] {
        broker.hear(publisher, traced(number, 6));
        let repeated = broker.hear(publisher, publish_as("a", number, "hi"));
        assert_eq!(repeated, [accepted(number)]);
    }
}

#[test]
fn a_refused_publish_has_a_span_with_the_reason() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.hear(publisher, publish_as("a", 1, "hi"));
    broker.hear(publisher, traced(2, 5));
    let answer = broker.hear(publisher, publish_as("a", 2, "no"));
    let span = trace(5, Audience::Everyone, Err(Refusal::IdTaken), NOW);
    assert_eq!(answer, [span, send(publisher, refused(2, Refusal::IdTaken))]);
}

#[test]
fn what_a_gateway_has_missed_belongs_to_no_trace() {
    let mut broker = TestBroker::new();
    let publisher = broker.publisher();
    broker.hear(publisher, traced(1, 5));
    broker.hear(publisher, publish(1, group("news")));
    let gateway = broker.gateway();
    broker.hear(gateway, interest(1, &[(group("news"), Some(1))]));
    let missed = broker.hear(gateway, cursor(EPOCH, 0));
    let frames = vec![event(1, group("news"))];
    assert_eq!(missed, attached(gateway, (0, None), frames, 1));
}

#[test]
fn a_gateway_does_not_say_what_belongs_to_a_trace() {
    let mut broker = TestBroker::new();
    let gateway = broker.gateway();
    let violation = broker.say(gateway, traced(1, 5));
    assert_eq!(violation, Err(Violation::WrongRole { role: "gateway", message: "Traced" }));
}
