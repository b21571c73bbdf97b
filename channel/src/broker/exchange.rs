//! What the broker knows and decides: receives what peers say and returns what to send to whom. Pure:
//! times are those of the broker's clock, which never goes back.

mod catch_up;
mod effect;
mod figures;
mod inquiries;
mod peer;
mod publishing;
mod traces;

use std::collections::HashMap;
use std::time::Duration;

use campanile_messages::link::{InterestChange, LogIdentity, Role, Welcome};
use campanile_messages::{Durability, FromBroker, Hello, InstanceId, ToBroker};

use super::conversation::{Conversation, Violation};
use super::counts::Counts;
use super::intake::{Intake, Publish};
use super::log::{Log, Opening};
use super::publish_receipt::PublishReceipt;
use super::record::{Changes, KnownId, Record, Trim};
use super::routing::{LinkNumber, Routing, TooManyAudiences};
use super::stored_times::StoredTimes;
use super::worker_ids::{InvalidWorkers, Supply, WorkerIds};

pub use effect::{Effect, FollowedPublish};
use peer::Peer;

/// A link that is up.
#[derive(Debug, PartialEq, Eq)]
pub struct Entered {
    pub link: LinkNumber,
    pub welcome: Welcome,
    /// The earlier link of the same process, which was removed.
    pub replaced: Option<LinkNumber>,
}

/// Why a hello got no welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    #[error("the broker has {max} links already, which is its limit")]
    TooManyLinks { max: usize },
    #[error("the broker is shutting down")]
    ShuttingDown,
    #[error(transparent)]
    InvalidWorkers(#[from] InvalidWorkers),
}

/// What an [`Exchange`] starts with.
pub struct Start {
    pub now: Duration,
    /// How durable an event must be before anybody sees it.
    pub durability: Durability,
    /// Which log this is.
    pub identity: LogIdentity,
    /// Whether there is a disk, to which [changes](Exchange::take_changes) go.
    pub keeps: bool,
    /// The log that was found, or a new one.
    pub log: Opening,
    /// The events that were found, in order.
    pub events: Vec<Record>,
    /// The idempotency keys that were found.
    pub ids: Vec<KnownId>,
    pub worker_ids: Supply,
    /// The number of the first link. It is random, so that a `Delivered` for an earlier broker reaches
    /// no link of this one.
    pub first_link: u64,
    /// As in [`BrokerConfig`](super::config::BrokerConfig).
    pub return_limit: Duration,
    /// As in [`BrokerConfig`](super::config::BrokerConfig).
    pub max_links: usize,
    /// As in [`BrokerConfig`](super::config::BrokerConfig).
    pub max_audiences_per_link: usize,
    /// As in [`BrokerConfig`](super::config::BrokerConfig).
    pub max_ids: usize,
}

/// The state of the broker: links and what they want, the log, and the worker ids.
pub struct Exchange {
    durability: Durability,
    identity: LogIdentity,
    keeps: bool,
    log: Log,
    intake: Intake,
    changes: Changes,
    routing: Routing,
    workers: WorkerIds,
    links: HashMap<LinkNumber, Peer>,
    next_link: u64,
    max_links: usize,
    closing: bool,
    /// No publisher can repeat an event below this sequence. It only grows, and is updated on ticks.
    repeatable_from: u64,
    counts: Counts,
    stored_times: StoredTimes,
}

impl Exchange {
    /// A broker without links.
    pub fn new(start: Start) -> Self {
        let Start { now, durability, identity, keeps, log: opening, events, ids, .. } = start;
        let last = opening.head;
        // The events are appended below, after which the log is told where it ended before.
        let head = events.first().map_or(last, |first| first.sequence - 1);
        let mut log = Log::new(Opening { head, ..opening });
        let mut intake = Intake::new(last, start.max_ids);
        intake.ids.recover(ids, now);
        let mut trim = Trim::default();
        for record in events {
            let Record { sequence, publisher, number, gateways, matched, .. } = record;
            let receipt = PublishReceipt { sequence, gateways, matched };
            // No event is from the future, whatever the disk says.
            let record = Record { at: record.at.min(now), ..record };
            intake.publishers.recover(publisher, number, receipt, record.at);
            log.append(&record);
            // Events that are on disk only because a publisher may repeat them exceed the log's bound.
            log.trim(now, &mut trim);
        }
        log.advance(last);
        let mut exchange = Self {
            durability,
            identity,
            keeps,
            log,
            intake,
            changes: Changes::default(),
            routing: Routing::new(start.max_audiences_per_link),
            workers: WorkerIds::new(start.worker_ids, now, start.return_limit),
            links: HashMap::new(),
            next_link: start.first_link,
            max_links: start.max_links,
            closing: false,
            repeatable_from: 0,
            counts: Counts::default(),
            stored_times: StoredTimes::default(),
        };
        exchange.stored_times.begin_epoch(exchange.log.head().sequence);
        exchange.update_repeatable();
        exchange.note_trim(trim);
        exchange
    }

    /// Accepts a new link. It replaces an earlier link of the same process, which may be dead without
    /// anybody having noticed.
    ///
    /// # Errors
    /// [`Unwelcome`]; nothing has changed then.
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
            Role::Publisher { unanswered } => {
                self.intake.publishers.enter(hello.instance, link, unanswered);
                Vec::new()
            }
        };
        if let Some(replaced) = replaced {
            self.remove(replaced, now);
        }
        self.next_link += 1;
        let (head, log) = (self.log.head(), Some(self.identity.clone()));
        self.links.insert(link, Peer::new(hello.instance, conversation, head.sequence));
        let welcome = Welcome { head, durability: self.durability, workers, log };
        Ok(Entered { link, welcome, replaced })
    }

    /// The least worker id that was never given out, if ids are counted.
    pub fn next_worker(&self) -> Option<u64> {
        self.workers.next_counted()
    }

    /// Whether a hello has to wait until more worker ids are reserved on disk.
    pub fn must_wait(&self, hello: &Hello) -> bool {
        match &hello.role {
            Role::Gateway { workers, held } => held.is_empty() && self.workers.must_wait(*workers),
            Role::Publisher { .. } => false,
        }
    }

    /// The end of the worker ids that should be reserved on disk now. Returned once.
    pub fn workers_to_reserve(&mut self) -> Option<u64> {
        self.workers.ids_to_reserve()
    }

    /// Notes that the worker ids below `end` are reserved on disk.
    pub fn workers_reserved(&mut self, end: u64) {
        self.workers.reserved(end);
    }

    /// Handles a message of a peer, and adds what has to be done to `effects`. Messages of a link that is
    /// gone are ignored.
    ///
    /// # Errors
    /// A [`Violation`], for which the link has to be ended.
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
        let instance = peer.instance;
        match message {
            ToBroker::Heartbeat => {}
            ToBroker::Interest { changes, .. } => {
                self.note_interest(link, changes)?;
                effects.extend(self.confirmation(link));
            }
            ToBroker::Attach { cursor } => self.attach(link, cursor, effects),
            ToBroker::Fetch { number, wants, max_bytes } => {
                effects.push(self.fetch(link, number, &wants, max_bytes));
            }
            ToBroker::Delivered { ticket, outcome } => {
                self.count_direct(outcome);
                let answered = FromBroker::Answered { number: ticket.number, outcome };
                effects.extend(self.answer(ticket, answered));
            }
            ToBroker::Counted { ticket, tally } => effects.extend(self.counted(ticket, tally)),
            ToBroker::Publish {
                number,
                unanswered,
                id,
                count_within_millis,
                audience,
                except,
                content,
                from,
            } => {
                let publisher = instance;
                let trace = peer.take_trace(number, now);
                self.intake.publishers.forget_below(publisher, unanswered);
                let publish = Publish {
                    publisher,
                    number,
                    id,
                    count_within_millis,
                    audience,
                    except,
                    content,
                    from,
                    trace,
                };
                self.publish(link, publish, now, effects);
            }
            ToBroker::Traced { number, context } => peer.traced = Some((number, context)),
            ToBroker::Settled { unanswered } => {
                self.intake.publishers.forget_below(instance, unanswered);
            }
            // Staged events are not accepted yet, and will be above this head.
            ToBroker::AskHead { number } => {
                let message = FromBroker::Head { number, head: self.log.head() };
                effects.push(Effect::Send { link, message });
            }
            ToBroker::Direct { number, to, content } => {
                effects.push(self.direct(link, number, to, content, now));
            }
            ToBroker::Ask { number, to, content } => {
                self.inquire((link, number), to, content, now, effects);
            }
            ToBroker::Told { ticket, content } => {
                effects.extend(self.told(instance, ticket, content));
            }
        }
        Ok(())
    }

    /// Every event up to this sequence is as durable as was promised, so these events are accepted and
    /// sent.
    pub fn stored(&mut self, up_to: u64, now: Duration, effects: &mut Vec<Effect>) {
        while let Some(staged) = self.intake.release(up_to) {
            self.release(&staged, now, effects);
        }
        self.trim(now);
    }

    /// Whether there are new events for the disk.
    pub fn has_news(&self) -> bool {
        !self.changes.events.is_empty()
    }

    /// What has changed since the last call, for the disk.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// How many bytes wait to be durable.
    pub fn staged_bytes(&self) -> usize {
        self.intake.staged_bytes()
    }

    /// Forgets a link, if it is still there.
    pub fn remove(&mut self, link: LinkNumber, now: Duration) {
        if let Some(peer) = self.links.remove(&link) {
            self.routing.remove(link);
            self.workers.leave(peer.instance, link, now);
            self.intake.publishers.leave(peer.instance, link);
        }
    }

    /// Drops what has expired, and tells quiet gateways where the log ends.
    pub fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.update_repeatable();
        self.trim(now);
        self.routing.tick();
        self.workers.expire(now);
        self.intake.publishers.expire(now);
        let mut forgotten = Vec::new();
        self.intake.ids.expire(now, &mut forgotten);
        if self.keeps {
            self.changes.forgotten_ids.append(&mut forgotten);
        }
        let head = self.log.head().sequence;
        for (&link, peer) in &mut self.links {
            peer.asked = 0;
            if peer.conversation.is_attached() && peer.known_head < head {
                peer.known_head = head;
                effects.push(Effect::Send { link, message: FromBroker::Mark { head } });
            }
        }
    }

    /// Whether anything is kept that expires.
    pub fn remembers(&self) -> bool {
        !(self.log.is_empty() && self.intake.ids.is_empty() && self.intake.publishers.is_empty())
    }

    /// From now on no publish and no new link is accepted.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Replaces the log by an empty one, whose sequences continue. All links must have been ended.
    pub fn begin_epoch(&mut self, epoch: u64) {
        self.log = self.log.begin_epoch(epoch, self.intake.head());
        self.intake.forget();
        self.stored_times.begin_epoch(self.log.head().sequence);
        self.changes = Changes::default();
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

    fn trim(&mut self, now: Duration) {
        let mut trim = Trim::default();
        self.log.trim(now, &mut trim);
        self.note_trim(trim);
    }

    /// Later events are above the head of the intake.
    fn update_repeatable(&mut self) {
        let oldest = self.intake.publishers.oldest();
        self.repeatable_from = oldest.unwrap_or(self.intake.head() + 1);
    }

    /// Passes on to the disk what the log has dropped: the next broker must know it for each audience.
    fn note_trim(&mut self, mut trim: Trim) {
        if self.keeps && !trim.last.is_empty() {
            // The next broker must also know what a publisher may repeat.
            trim.below = self.repeatable_from.min(self.log.tail() + 1);
            let trims = self.changes.trim.get_or_insert_default();
            trims.last.append(&mut trim.last);
            trims.evicted.append(&mut trim.evicted);
            (trims.below, trims.floor) = (trim.below, trim.floor);
        }
    }

    /// Looks at every link, which is fine because hellos are rare and links are few.
    fn link_of(&self, instance: InstanceId, role: &str) -> Option<LinkNumber> {
        self.links
            .iter()
            .find(|(_, peer)| peer.instance == instance && peer.conversation.role() == role)
            .map(|(link, _)| *link)
    }
}

#[cfg(test)]
mod tests;
