//! Events that belong to a trace.

use campanile_channel::Spans;
use campanile_channel::spans::{Span, SpanSink};
use campanile_messages::TraceContext;

use super::*;
use crate::bridge::spans::FollowedEvent;

/// Spans that nobody looks at.
struct Nowhere;

impl SpanSink for Nowhere {
    fn finished(&self, _: Span) {}

    fn passed_over(&self) {}
}

fn context() -> TraceContext {
    let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    TraceContext::parse(header).expect("a context")
}

#[test]
fn an_event_of_a_trace_has_one_span_for_all_workers() {
    let spans = Spans::to(Nowhere);
    let mut core = linked_as(&GatewayConfig { spans, ..GatewayConfig::default() });
    let context = context();
    let traced = |sequence| FromBroker::Traced { sequence, context };
    let ticket = |number| RequestTicket { link: u64::MAX, number };
    let begun = |sequence| {
        let (position, audience) = (at(sequence), Audience::Everyone);
        let event = FollowedEvent { context, position, audience, body_bytes: 1 };
        BridgeEffect::BeginSpan(ticket(sequence), event)
    };
    assert_eq!(received(&mut core, traced(8)), []);
    let nobody = BridgeEffect::EndSpan(ticket(8), Tally::default());
    assert_eq!(received(&mut core, event(8)), [begun(8), nobody], "nobody listens");
    for worker in [0, 1] {
        reported(&mut core, worker, connects(1));
    }
    received(&mut core, traced(9));
    let [first, second] = [0, 1].map(|worker| {
        let delivery = Delivery::Counted(ticket(9), Duration::ZERO, framed(9));
        BridgeEffect::Deliver(worker, delivery)
    });
    assert_eq!(received(&mut core, event(9)), [begun(9), first, second]);
    let tally = Tally { matched: 3, written: 2, too_slow: 1 };
    let mut effects = Vec::new();
    core.counted(ticket(9), tally, &mut effects);
    assert_eq!(effects, []);
    core.counted(ticket(9), tally, &mut effects);
    let sum = Tally { matched: 6, written: 4, too_slow: 2 };
    assert_eq!(effects, [BridgeEffect::EndSpan(ticket(9), sum)], "the broker did not ask");
    let plain = [0, 1].map(|worker| BridgeEffect::Deliver(worker, Delivery::Event(framed(10))));
    assert_eq!(received(&mut core, event(10)), plain);
}

#[test]
fn without_spans_an_event_of_a_trace_is_like_any_other() {
    let mut core = linked();
    reported(&mut core, 0, connects(1));
    assert_eq!(received(&mut core, FromBroker::Traced { sequence: 8, context: context() }), []);
    let plain = BridgeEffect::Deliver(0, Delivery::Event(framed(8)));
    assert_eq!(received(&mut core, event(8)), [plain]);
}
