//! What the broker itself answers when operators ask.

use std::time::Duration;

use campanile_messages::inquiry::trace::BrokerTrace;
use campanile_messages::inquiry::{
    Answer, BrokerSummary, LinkSummary, Question, Summary, Traced, pack, unpack,
};
use campanile_messages::link::Number;
use campanile_messages::{Content, FromBroker, InstanceId, Position};

use super::Broker;
use crate::broker::routing::LinkNumber;
use crate::inquiries::unix_micros;

impl Broker {
    /// Answers a question, which others may have been asked, too.
    pub(super) fn answer_inquiry(
        &mut self,
        link: LinkNumber,
        number: Number,
        instances: Vec<InstanceId>,
        question: &Content,
    ) {
        let answer = match unpack(question) {
            None => Answer::NotUnderstood,
            Some(Question::Summary) => Answer::Summary(Summary::Broker(self.summary())),
            Some(Question::Trace { position, .. }) => self.trace(position),
            Some(_) => Answer::Nothing,
        };
        // An answer that is too large is left out: the operator learns that there is none.
        let answer = pack(&answer).or_else(|| pack(&Answer::Busy));
        if let Some(content) = answer {
            let message = FromBroker::Asking { number, instances, content };
            // If the link has no room, the operator learns that nobody answered.
            let _ = self.links.say(link, message);
        }
    }

    fn trace(&self, position: Position) -> Answer {
        let (now, unix_now) = (self.clock.now(), unix_micros());
        let shown =
            |at: Duration| unix_now.saturating_sub(now.saturating_sub(at).as_micros() as u64);
        let links = self.links.addresses();
        Traced::Broker(BrokerTrace { links, ..self.exchange.trace(position, shown) }).into()
    }

    fn summary(&self) -> BrokerSummary {
        let links = self.exchange.peers();
        BrokerSummary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            head: Some(self.exchange.head()),
            links: links
                .map(|(_, instance, role)| LinkSummary { instance, role: role.to_owned() })
                .collect(),
        }
    }
}
