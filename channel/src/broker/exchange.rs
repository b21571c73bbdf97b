//! What the broker knows and decides: takes what links say, answers what to send to whom. Pure:
//! times are durations since the broker started.

use std::collections::HashMap;
use std::time::Duration;

use campanile_messages::link::{InterestChange, Number, Outcome, Refusal, Role, Ticket, Welcome};
use campanile_messages::{
    Address, Audience, Content, EncodedFrame, FromBroker, Hello, InstanceId, Position, ToBroker,
};

use super::LinkNumber;
use super::conversation::{Conversation, Violation};
use super::log::Log;
use super::routing::{Routing, TooManyAudiences};
use super::worker_ids::{InvalidWorkers, Whereabouts, WorkerIds};

/// What the broker has to do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say something on one link.
    Send {
        /// Where.
        link: LinkNumber,
        /// What.
        message: FromBroker,
    },
    /// Write one event on several links.
    Route {
        /// Where, each once.
        links: Vec<LinkNumber>,
        /// The event.
        frame: EncodedFrame,
    },
    /// Write what a gateway missed, whatever its link's bound is: the log bounds it.
    Replay {
        /// Where.
        link: LinkNumber,
        /// The events, in order.
        frames: Vec<EncodedFrame>,
    },
}

/// A link that may be used.
#[derive(Debug, PartialEq, Eq)]
pub struct Entered {
    /// Its number, never given to another link.
    pub link: LinkNumber,
    /// The answer to its hello.
    pub welcome: Welcome,
    /// The earlier link of the same process, which is removed.
    pub replaced: Option<LinkNumber>,
}

/// Why a hello got no welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// The bound of the broker.
    #[error("the broker has {max} links already, which is its limit")]
    TooManyLinks {
        /// The bound.
        max: usize,
    },
    /// Another broker may take over.
    #[error("the broker is shutting down")]
    ShuttingDown,
    /// A gateway's worker ids are not in order.
    #[error(transparent)]
    InvalidWorkers(#[from] InvalidWorkers),
}

/// The bounds and the chance that an [`Exchange`] starts with.
pub struct Start {
    /// Random.
    pub epoch: u64,
    /// The first link's number; random, so that a `Delivered` meant for an earlier broker finds
    /// nobody here.
    pub first_link: u64,
    /// Draws the incarnations of worker ids.
    pub random: Box<dyn FnMut() -> u32>,
    /// As in [`BrokerConfig`](super::BrokerConfig).
    pub log_max_bytes: usize,
    /// As in [`BrokerConfig`](super::BrokerConfig).
    pub log_max_age: Duration,
    /// As in [`BrokerConfig`](super::BrokerConfig).
    pub max_links: usize,
    /// As in [`BrokerConfig`](super::BrokerConfig).
    pub max_audiences_per_link: usize,
}

/// The links, what they want, the log, and the worker ids.
pub struct Exchange {
    log: Log,
    routing: Routing,
    workers: WorkerIds,
    links: HashMap<LinkNumber, Peer>,
    next_link: u64,
    max_links: usize,
    closing: bool,
}

struct Peer {
    instance: InstanceId,
    conversation: Conversation,
}

impl Exchange {
    /// No links, no events.
    pub fn new(start: Start) -> Self {
        Self {
            log: Log::new(start.epoch, start.log_max_bytes, start.log_max_age),
            routing: Routing::new(start.max_audiences_per_link),
            workers: WorkerIds::new(start.random),
            links: HashMap::new(),
            next_link: start.first_link,
            max_links: start.max_links,
            closing: false,
        }
    }

    /// Takes a new link in, and the place of an earlier one of the same process: that may be
    /// half-open for long.
    ///
    /// # Errors
    /// [`Unwelcome`], and nothing has changed.
    pub fn enter(&mut self, hello: Hello, now: Duration) -> Result<Entered, Unwelcome> {
        if self.closing {
            return Err(Unwelcome::ShuttingDown);
        }
        let conversation = Conversation::new(&hello.role);
        let replaced = self.link_of(hello.instance, conversation.role());
        if replaced.is_none() && self.links.len() >= self.max_links {
            return Err(Unwelcome::TooManyLinks { max: self.max_links });
        }
        let link = LinkNumber(self.next_link);
        let workers = match hello.role {
            Role::Gateway { workers, held } => {
                self.workers.take(hello.instance, link, workers, held)?
            }
            Role::Publisher => Vec::new(),
        };
        if let Some(replaced) = replaced {
            self.remove(replaced, now);
        }
        self.next_link += 1;
        let peer = Peer { instance: hello.instance, conversation };
        self.links.insert(link, peer);
        Ok(Entered { link, welcome: Welcome { head: self.log.head(), workers }, replaced })
    }

    /// Takes what a link says and adds what is to be done to `effects`. A link that is gone is not
    /// heard.
    ///
    /// # Errors
    /// A [`Violation`]: the link is to be ended.
    pub fn receive(
        &mut self,
        link: LinkNumber,
        message: ToBroker,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Violation> {
        let Some(peer) = self.links.get_mut(&link) else {
            return Ok(());
        };
        peer.conversation.hear(&message)?;
        match message {
            ToBroker::Heartbeat => {}
            ToBroker::Interest { changes, .. } => {
                self.note_interest(link, changes)?;
                effects.extend(self.confirmation(link));
            }
            ToBroker::Attach { cursor } => self.attach(link, cursor, effects),
            ToBroker::Delivered { ticket, outcome } => {
                effects.extend(self.answer(ticket, outcome));
            }
            ToBroker::Publish { number, audience, content } => {
                self.publish(link, number, audience, content, now, effects)
            }
            ToBroker::Push { number, to, content } => {
                effects.push(self.push(link, number, to, content, now))
            }
        }
        Ok(())
    }

    /// Forgets a link, if it is there still.
    pub fn remove(&mut self, link: LinkNumber, now: Duration) {
        if let Some(peer) = self.links.remove(&link) {
            self.routing.remove(link);
            self.workers.leave(peer.instance, link, now);
        }
    }

    /// Drops what was kept long enough.
    pub fn tick(&mut self, now: Duration) {
        self.log.trim(now);
        self.workers.expire(now);
    }

    /// From here on nothing is published and no link comes in.
    pub fn close(&mut self) {
        self.closing = true;
    }

    fn note_interest(
        &mut self,
        link: LinkNumber,
        changes: Vec<InterestChange>,
    ) -> Result<(), TooManyAudiences> {
        changes
            .into_iter()
            .try_for_each(|change| self.routing.set(link, change.audience, change.connections))
    }

    fn attach(&mut self, link: LinkNumber, cursor: Option<Position>, effects: &mut Vec<Effect>) {
        let missed = self.log.since(cursor);
        let lost = missed.lost;
        let frames = missed
            .entries
            .filter(|entry| self.routing.wants(link, &entry.audience))
            .map(|entry| entry.frame.clone())
            .collect();
        self.routing.go_live(link);
        effects.push(Effect::Replay { link, frames });
        let message = FromBroker::Attached { lost };
        effects.push(Effect::Send { link, message });
        effects.extend(self.confirmation(link));
    }

    /// Only a link that is attached is told that its interest counts: an event that is accepted
    /// from here on reaches it.
    fn confirmation(&self, link: LinkNumber) -> Option<Effect> {
        match self.links.get(&link)?.conversation {
            Conversation::Gateway { attached: true, revision: Some(revision) } => {
                Some(Effect::Send {
                    link,
                    message: FromBroker::Confirmed { revision, head: self.log.head().sequence },
                })
            }
            _ => None,
        }
    }

    fn publish(
        &mut self,
        link: LinkNumber,
        number: Number,
        audience: Audience,
        content: Content,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) {
        let message = match self.accept(audience, content, now, effects) {
            Ok((sequence, gateways, matched)) => {
                FromBroker::Accepted { number, sequence, gateways, matched }
            }
            Err(refusal) => FromBroker::Refused { number, refusal },
        };
        effects.push(Effect::Send { link, message });
    }

    fn accept(
        &mut self,
        audience: Audience,
        content: Content,
        now: Duration,
        effects: &mut Vec<Effect>,
    ) -> Result<(u64, u32, u64), Refusal> {
        if self.closing {
            return Err(Refusal::ShuttingDown);
        }
        let route = self.routing.route(&audience);
        let (sequence, frame) =
            self.log.append(audience, content, now).map_err(|_| Refusal::LogFull)?;
        if !route.links.is_empty() {
            effects.push(Effect::Route { links: route.links, frame });
        }
        Ok((sequence, route.gateways, route.matched))
    }

    fn push(
        &self,
        link: LinkNumber,
        number: Number,
        to: Address,
        content: Content,
        now: Duration,
    ) -> Effect {
        let outcome = match self.workers.find(to.worker, now) {
            Whereabouts::At(gateway) => {
                let ticket = Ticket { link: link.0, number };
                return Effect::Send {
                    link: gateway,
                    message: FromBroker::Deliver { ticket, to, content },
                };
            }
            Whereabouts::Away => Outcome::GatewayAway,
            Whereabouts::Unknown => Outcome::UnknownWorker,
        };
        Effect::Send { link, message: FromBroker::Answered { number, outcome } }
    }

    /// Passes an answer on to the publisher that asked, if it is there still: a ticket is all that
    /// is known of a question.
    fn answer(&self, ticket: Ticket, outcome: Outcome) -> Option<Effect> {
        let link = LinkNumber(ticket.link);
        let peer = self.links.get(&link)?;
        (peer.conversation == Conversation::Publisher).then_some(Effect::Send {
            link,
            message: FromBroker::Answered { number: ticket.number, outcome },
        })
    }

    /// There are few links and hellos are rare, so this looks at all of them.
    fn link_of(&self, instance: InstanceId, role: &str) -> Option<LinkNumber> {
        self.links
            .iter()
            .find(|(_, peer)| peer.instance == instance && peer.conversation.role() == role)
            .map(|(link, _)| *link)
    }
}

#[cfg(test)]
mod tests;
