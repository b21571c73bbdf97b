//! The spans of the gateway: one per event that belongs to a trace, from its receipt until every worker has
//! written it to its listeners. Bounded by the core, which begins only so many at a time.

use std::collections::HashMap;
use std::time::Instant;

use campanile_channel::Spans;
use campanile_channel::publishing::Target;
use campanile_channel::spans::{Operation, Span, new_span_id};
use campanile_messages::link::{RequestTicket, Tally};
use campanile_messages::{Audience, Position, TraceContext};

/// An event that belongs to a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct FollowedEvent {
    /// The span of its publisher.
    pub context: TraceContext,
    pub position: Position,
    pub audience: Audience,
    /// The size of the content.
    pub body_bytes: usize,
}

/// The spans that are not finished yet.
#[derive(Debug)]
pub struct OpenSpans {
    spans: Spans,
    open: HashMap<RequestTicket, (FollowedEvent, Instant)>,
}

impl OpenSpans {
    pub fn new(spans: Spans) -> Self {
        Self { spans, open: HashMap::new() }
    }

    /// Begins the span of an event that was received at this time.
    pub fn begin(&mut self, ticket: RequestTicket, event: FollowedEvent, received: Instant) {
        self.open.insert(ticket, (event, received));
    }

    /// Finishes the span of an event.
    pub fn end(&mut self, ticket: RequestTicket, tally: Tally) {
        if let Some((event, received)) = self.open.remove(&ticket) {
            self.finish(event, received, Some(tally));
        }
    }

    /// Finishes all of them: the link is lost, and with it what was counted.
    pub fn end_all(&mut self) {
        for (event, received) in std::mem::take(&mut self.open).into_values() {
            self.finish(event, received, None);
        }
    }

    /// Counts an event whose span was not begun.
    pub fn pass_over(&self) {
        self.spans.pass_over();
    }

    fn finish(&self, event: FollowedEvent, received: Instant, tally: Option<Tally>) {
        let FollowedEvent { context, position, audience, body_bytes } = event;
        let (operation, took) = (Operation::Deliver, received.elapsed());
        self.spans.finish(Span {
            target: Some(Target::Audience(audience)),
            position: Some(position),
            body_bytes: Some(body_bytes as u64),
            connections: tally,
            ..Span::ended(operation, new_span_id(), context, took)
        });
    }
}
