//! What publishers send, and what they get for an answer.

use std::time::Duration;

use campanile_messages::link::{DirectOutcome, Matched, Number, RequestTicket, Tally};
use campanile_messages::{Address, Audience, Content, Durability, FromBroker, Position};

use super::{Effect, Exchange, FollowedPublish};
use crate::broker::conversation::Conversation;
use crate::broker::intake::{Publish, Staged, Taken};
use crate::broker::publish_receipt::PublishReceipt;
use crate::broker::record::Record;
use crate::broker::routing::LinkNumber;
use crate::broker::worker_ids::Whereabouts;

/// How long a publisher can make gateways count, in milliseconds, because they keep something for that
/// long. Twice the longest `timeout` of a push.
const MAX_COUNT_MILLIS: u32 = 60_000;

impl Exchange {
    pub(super) fn publish(
        &mut self,
        link: LinkNumber,
        publish: Publish,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let number = publish.number;
        let traced = publish
            .trace
            .map(|trace| (trace, publish.audience.clone(), publish.content.as_bytes().len()));
        let Self { intake, routing, changes, closing, .. } = self;
        let matched = |audience: &Audience| routing.count(audience);
        let changes = self.keeps.then_some(changes);
        let message = match intake.take(publish, matched, *closing, now, changes) {
            Taken::Staged if self.keeps && self.durability != Durability::Memory => return,
            Taken::Staged => return self.stored(u64::MAX, now, effects),
            Taken::Repeated(receipt) => {
                self.counts.duplicates += 1;
                accepted(number, receipt, 0, 0)
            }
            Taken::Refused(refusal) => {
                self.count_refused(refusal);
                if let Some((trace, audience, body_bytes)) = traced {
                    let outcome = Err(refusal);
                    let refused = FollowedPublish { trace, audience, body_bytes, outcome };
                    effects.push(Effect::FinishSpan(Box::new(refused)));
                }
                FromBroker::Refused { number, refusal }
            }
        };
        effects.push(Effect::Send { link, message });
    }

    pub(super) fn release(&mut self, staged: &Staged, now: Duration, effects: &mut Vec<Effect>) {
        let Record { sequence, publisher, number, ref audience, .. } = staged.record;
        let frame = self.log.append(&staged.record);
        let links = self.routing.links(audience);
        let publisher_link = self.intake.publishers.link(publisher);
        self.counts.accepted += 1;
        self.counts.duplicates += staged.repeated_by.len() as u64;
        self.counts.link_events += links.len() as u64;
        if let Some(trace) = staged.trace {
            let message = FromBroker::Traced { sequence, context: trace.context };
            let send = |link: &LinkNumber| Effect::Send { link: *link, message: message.clone() };
            effects.extend(links.iter().map(send));
        }
        let (mut counting, mut away) = (0, 0);
        if let (Some(within_millis), Some(link)) = (staged.count_within_millis, publisher_link) {
            let ticket = RequestTicket { link: link.0, number };
            let within_millis = within_millis.min(MAX_COUNT_MILLIS);
            let message = FromBroker::Count { ticket, sequence, within_millis };
            let send = |link: &LinkNumber| Effect::Send { link: *link, message: message.clone() };
            effects.extend(links.iter().map(send));
            counting = u32::try_from(links.len()).unwrap_or(u32::MAX);
            away = self.workers.away(now);
        }
        let sent_to = links.len();
        if !links.is_empty() {
            effects.push(Effect::Route { links, frame });
        }
        let receipt = staged.receipt();
        if let Some(link) = publisher_link {
            let message = accepted(number, receipt, counting, away);
            effects.push(Effect::Send { link, message });
        }
        for &(publisher, number) in &staged.repeated_by {
            if let Some(link) = self.intake.publishers.link(publisher) {
                effects.push(Effect::Send { link, message: accepted(number, receipt, 0, 0) });
            }
        }
        if let Some(trace) = staged.trace {
            let position = Position { sequence, ..self.log.head() };
            effects.push(Effect::FinishSpan(Box::new(FollowedPublish {
                trace,
                audience: audience.clone(),
                body_bytes: staged.record.content.as_bytes().len(),
                outcome: Ok((position, sent_to)),
            })));
        }
    }

    pub(super) fn direct(
        &mut self,
        link: LinkNumber,
        number: Number,
        to: Address,
        content: Content,
        now: Duration,
    ) -> Effect {
        let outcome = match self.workers.find(to.worker, now) {
            Whereabouts::At(gateway) => {
                let ticket = RequestTicket { link: link.0, number };
                return Effect::Send {
                    link: gateway,
                    message: FromBroker::Deliver { ticket, to, content },
                };
            }
            Whereabouts::Away => DirectOutcome::GatewayAway,
            Whereabouts::Unknown => DirectOutcome::UnknownWorker,
        };
        self.count_direct(outcome);
        Effect::Send { link, message: FromBroker::Answered { number, outcome } }
    }

    pub(super) fn counted(&self, ticket: RequestTicket, tally: Tally) -> Option<Effect> {
        self.answer(ticket, FromBroker::Counted { number: ticket.number, tally })
    }

    /// Passes an answer on to the publisher that asked, if it is still there. The broker remembers no
    /// questions: the ticket says who asked.
    pub(super) fn answer(&self, ticket: RequestTicket, message: FromBroker) -> Option<Effect> {
        let link = LinkNumber(ticket.link);
        let peer = self.links.get(&link)?;
        (peer.conversation == Conversation::Publisher).then_some(Effect::Send { link, message })
    }
}

fn accepted(number: Number, receipt: PublishReceipt, counting: u32, away: u32) -> FromBroker {
    let PublishReceipt { sequence, gateways, matched } = receipt;
    let matched = Some(Matched { gateways, connections: matched });
    FromBroker::Accepted { number, sequence, matched, counting, away }
}
