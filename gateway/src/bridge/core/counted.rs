//! What the bridge does about events whose deliveries are counted.

use campanile_messages::ToBroker;
use campanile_messages::link::{RequestTicket, Tally};

use super::{BridgeEffect, Core};
use crate::bridge::counts::{Sum, Traced, Wanted};
use crate::bridge::spans::FollowedEvent;
use crate::dialects::Framed;

impl Core {
    /// Adds one worker's tally of a counted event; the last one completes the answer.
    pub fn counted(
        &mut self,
        ticket: RequestTicket,
        tally: Tally,
        effects: &mut Vec<BridgeEffect>,
    ) {
        report_sum(ticket, self.counts.add(ticket, tally), effects);
    }
}

/// Reports the sum for an event to whoever waits for it, if it is complete.
pub(super) fn report_sum(ticket: RequestTicket, sum: Option<Sum>, effects: &mut Vec<BridgeEffect>) {
    let Some(Sum { tally, is_asked, is_traced }) = sum else { return };
    if is_asked {
        effects.push(BridgeEffect::Send(ToBroker::Counted { ticket, tally }));
    }
    if is_traced {
        effects.push(BridgeEffect::EndSpan(ticket, tally));
    }
}

pub(super) fn begin_span(wanted: &Wanted, event: &Framed, effects: &mut Vec<BridgeEffect>) {
    match (wanted.trace, event.logged()) {
        (Some(Traced::Followed(context)), Some((position, audience))) => {
            let (audience, body_bytes) = (audience.clone(), event.len_bytes());
            let event = FollowedEvent { context, position: *position, audience, body_bytes };
            effects.push(BridgeEffect::BeginSpan(wanted.ticket, event));
        }
        (Some(Traced::PassedOver), _) => effects.push(BridgeEffect::PassSpanOver),
        _ => {}
    }
}
