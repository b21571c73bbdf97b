//! What the broker itself answers when operators ask.

use campanile_messages::inquiry::{
    Answer, BrokerSummary, LinkSummary, Question, Summary, pack, unpack,
};
use campanile_messages::link::Number;
use campanile_messages::{Content, FromBroker, InstanceId};

use super::Broker;
use crate::broker::routing::LinkNumber;

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
