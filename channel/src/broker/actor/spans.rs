//! What the broker notes of publishes that belong to a trace.

use campanile_messages::link::Refusal;

use super::Broker;
use crate::broker::exchange::FollowedPublish;
use crate::publishing::Target;
use crate::spans::{Operation, Span, new_span_id};

impl Broker {
    /// Finishes the span of a publish.
    pub(super) fn finish_span(&self, traced: FollowedPublish) {
        if !self.spans.are_on() {
            return;
        }
        let FollowedPublish { trace, audience, body_bytes, outcome } = traced;
        let took = self.clock.now().saturating_sub(trace.received);
        let mut span = Span::ended(Operation::Accept, new_span_id(), trace.context, took);
        span.target = Some(Target::Audience(audience));
        span.body_bytes = Some(body_bytes as u64);
        match outcome {
            Ok((position, gateways)) => {
                (span.position, span.gateways) = (Some(position), Some(gateways as u64));
            }
            Err(refusal) => span.error = Some(word(refusal).into()),
        }
        self.spans.finish(span);
    }
}

fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::IdsFull => "ids_full",
        Refusal::IdTaken => "id_taken",
        Refusal::TooManyUnanswered => "too_many_unanswered",
        Refusal::ShuttingDown => "shutting_down",
    }
}
