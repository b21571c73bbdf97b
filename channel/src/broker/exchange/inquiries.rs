//! What operators ask about the cluster: questions are passed on, and answers are passed back. The broker
//! remembers none of them.

use std::collections::HashSet;
use std::time::Duration;

use campanile_messages::inquiry::{Answer, MAX_LISTED_LINKS, Question, pack, unpack};
use campanile_messages::link::{Asked, MAX_ASKED, Number, RequestTicket};
use campanile_messages::{Content, Durability, FromBroker, InstanceId, Position, WorkerId};

use super::{Effect, Exchange, Peer};
use crate::broker::conversation::Conversation;
use crate::broker::routing::LinkNumber;
use crate::broker::worker_ids::Whereabouts;

/// How many questions of one link are passed on between two ticks, which are a second apart.
pub const MAX_QUESTIONS: u32 = 32;

/// How many of them may close connections, or ask how everybody fares, when the link has asked as much else as it may.
/// The last half of these are for closing connections alone.
pub const KEPT_QUESTIONS: u32 = 8;

impl Exchange {
    /// Notes that a link's peer takes part in inquiries.
    pub fn may_be_asked(&mut self, link: LinkNumber) {
        if let Some(peer) = self.links.get_mut(&link) {
            peer.is_askable = true;
        }
    }

    /// The gateways that have lost their links and may come back, in order, as many as are listed, and how many
    /// more there are.
    pub fn away(&self, now: Duration) -> (Vec<InstanceId>, u64) {
        let mut away: Vec<_> = self.workers.away_gateways(now).collect();
        away.sort_unstable();
        let left_out = away.len().saturating_sub(MAX_LISTED_LINKS);
        away.truncate(MAX_LISTED_LINKS);
        (away, left_out as u64)
    }

    /// Whether the gateway of a worker has no link now, and may come back.
    pub fn is_away(&self, worker: WorkerId, now: Duration) -> bool {
        self.workers.find(worker, now) == Whereabouts::Away
    }

    /// Where the log ends.
    pub fn head(&self) -> Position {
        self.log.head()
    }

    /// How durable an event is before anybody sees it.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// How many bytes of memory the log may use.
    pub fn log_max_bytes(&self) -> usize {
        self.log.max_bytes()
    }

    /// The processes that have a link, each with whether it takes part in inquiries.
    pub fn peers(&self) -> impl Iterator<Item = (LinkNumber, bool)> {
        let gateways = self.gateways();
        let peers = self.links.iter();
        let peers = peers.filter(move |(_, peer)| !is_second_link(peer, &gateways));
        peers.map(|(link, peer)| (*link, peer.is_askable))
    }

    fn gateways(&self) -> HashSet<InstanceId> {
        let gateways = self.links.values().filter(|peer| is_gateway(peer));
        gateways.map(|peer| peer.instance).collect()
    }

    /// Passes a question on, and has the broker answer it, too.
    /// A link that asks too often is told so, because each question takes a turn of everybody.
    pub(super) fn inquire(
        &mut self,
        (link, number): (LinkNumber, Number),
        to: Asked,
        question: Content,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.links.get_mut(&link) else { return };
        let refusal = match to {
            _ if peer.asked >= most_before(&question, peer.asked) => Some(Answer::Busy),
            Asked::Worker(worker) if self.workers.find(worker, now) == Whereabouts::Away => {
                Some(Answer::Away)
            }
            _ => None,
        };
        if let Some(refusal) = refusal {
            effects.extend(pack(&refusal).map(|content| {
                let message = FromBroker::Asking { number, instances: Vec::new(), content };
                Effect::Offer { link, message }
            }));
            return;
        }
        peer.asked += 1;
        let ticket = RequestTicket { link: link.0, number };
        let asked: Vec<_> = self.asked(to, now).take(MAX_ASKED).collect();
        let (links, instances) = asked.into_iter().unzip();
        let frame = FromBroker::Asked { ticket, content: question.clone() }.encode();
        // First, so that the questions are not among what the broker says waits on the links.
        effects.push(Effect::AnswerInquiry { link, number, instances, question });
        effects.push(Effect::PassOn { links, frame });
    }

    fn asked(
        &self,
        to: Asked,
        now: Duration,
    ) -> impl Iterator<Item = (LinkNumber, InstanceId)> + use<'_> {
        let at = match to {
            Asked::Everybody | Asked::Gateways => None,
            Asked::Worker(worker) => Some(self.workers.find(worker, now)),
        };
        let is_meant = move |link: LinkNumber, peer: &Peer| match (to, at) {
            (Asked::Everybody, _) => true,
            (Asked::Gateways, _) => is_gateway(peer),
            (Asked::Worker(_), Some(Whereabouts::At(gateway))) => link == gateway,
            (Asked::Worker(_), _) => false,
        };
        let (peers, gateways) = (self.links.iter(), self.gateways());
        let meant = peers.filter(move |(link, peer)| {
            peer.is_askable && is_meant(**link, peer) && !is_second_link(peer, &gateways)
        });
        meant.map(|(link, peer)| (*link, peer.instance))
    }

    /// Passes an answer on to the publisher that asked.
    pub(super) fn told(
        &self,
        instance: InstanceId,
        ticket: RequestTicket,
        content: Content,
    ) -> Option<Effect> {
        let message = FromBroker::Told { number: ticket.number, instance, content };
        match self.answer(ticket, message)? {
            Effect::Send { link, message } => Some(Effect::Offer { link, message }),
            other => Some(other),
        }
    }
}

/// How many questions a link must have asked at least for this one to be too many.
fn most_before(question: &Content, asked: u32) -> u32 {
    let most = MAX_QUESTIONS - KEPT_QUESTIONS;
    // As long as there is room for all of them, nobody has to look what is asked.
    if asked < most {
        return most;
    }
    match unpack(question) {
        Some(Question::Disconnect { .. }) => MAX_QUESTIONS,
        Some(Question::Summary) => MAX_QUESTIONS - KEPT_QUESTIONS / 2,
        _ => most,
    }
}

fn is_gateway(peer: &Peer) -> bool {
    peer.conversation != Conversation::Publisher
}

/// Whether this is the link on which a gateway publishes for its clients. It is not asked: the gateway
/// answers on its other link.
fn is_second_link(peer: &Peer, gateways: &HashSet<InstanceId>) -> bool {
    !is_gateway(peer) && gateways.contains(&peer.instance)
}
