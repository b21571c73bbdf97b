//! What the broker itself answers when operators ask.

use std::time::Duration;

use campanile_messages::inquiry::trace::BrokerTrace;
use campanile_messages::inquiry::{
    Answer, BrokerSummary, BrokerTotals, LogSummary, MAX_LISTED_LINKS, Question, Summary, Traced,
    pack, unpack,
};
use campanile_messages::link::Number;
use campanile_messages::{Address, Content, FromBroker, InstanceId, Position};

use super::Broker;
use crate::broker::counts::Figures;
use crate::broker::routing::LinkNumber;
use crate::inquiries::unix_micros;
use crate::usage::usage;

impl Broker {
    /// Gives the broker's own answer to a question that it may also have passed on.
    pub(super) fn answer_inquiry(
        &mut self,
        link: LinkNumber,
        number: Number,
        instances: Vec<InstanceId>,
        question: &Content,
    ) {
        let answer = match unpack(question) {
            None => Answer::NotUnderstood,
            // Whoever is silent is named with the address of its link.
            Some(
                Question::Summary
                | Question::Connection(_)
                | Question::User(_)
                | Question::Ended { .. }
                | Question::Disconnect { .. },
            ) => Answer::Summary(Summary::Broker(Box::new(self.summary()))),
            Some(Question::Trace { position, at, .. }) => self.trace(position, at),
            Some(Question::Continued(_)) => Answer::Nothing,
        };
        // An answer that is too large is left out: the operator learns that there is none.
        let answer = pack(&answer).or_else(|| pack(&Answer::Busy));
        if let Some(content) = answer {
            let message = FromBroker::Asking { number, instances, content };
            self.links.offer(link, message);
        }
    }

    fn trace(&self, position: Position, at: Option<Address>) -> Answer {
        let (now, unix_now) = (self.clock.now(), unix_micros());
        let shown =
            |at: Duration| unix_now.saturating_sub(now.saturating_sub(at).as_micros() as u64);
        let (away, away_left_out) = self.exchange.away(now);
        Traced::Broker(BrokerTrace {
            links: self.links.addresses(),
            away,
            away_left_out,
            is_gateway_away: at.is_some_and(|at| self.exchange.is_away(at.worker, now)),
            ..self.exchange.trace(position, shown)
        })
        .into()
    }

    fn summary(&self) -> BrokerSummary {
        let Figures { counts, log_events, log_bytes, oldest_age, staged_bytes, .. } =
            self.exchange.figures(self.clock.now());
        let peers: Vec<_> = self.exchange.peers().collect();
        let (away, away_left_out) = self.exchange.away(self.clock.now());
        let listed = peers.iter().take(MAX_LISTED_LINKS);
        BrokerSummary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_millis: millis(self.started.elapsed()),
            head: Some(self.exchange.head()),
            durability: Some(self.exchange.durability()),
            log: LogSummary {
                events: log_events,
                bytes: log_bytes,
                max_bytes: self.exchange.log_max_bytes() as u64,
                oldest_age_millis: millis(oldest_age),
            },
            disk_waits: self.disk.is_waiting(),
            staged_bytes: staged_bytes.max(self.disk.held_bytes() as u64),
            totals: BrokerTotals {
                accepted: counts.accepted,
                duplicates: counts.duplicates,
                conflicts: counts.conflicts,
                busy: counts.busy,
                delivered: counts.delivered,
                gone: counts.gone,
                link_events: counts.link_events,
                replayed: counts.replayed,
                epochs: self.meters.epochs(),
            },
            writes: self.meters.writes(),
            usage: usage(),
            links: listed
                .filter_map(|(link, askable)| self.links.summary(*link, *askable))
                .collect(),
            links_left_out: peers.len().saturating_sub(MAX_LISTED_LINKS) as u64,
            away,
            away_left_out,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
