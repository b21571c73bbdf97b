//! The actor at the heart of the broker: feeds the exchange and performs the effects that it returns.
//!
//! Receives from: the peers, one message per link at a time (which is the bound, as a mailbox has none);
//! the writer, which reports what is on disk. Sends to: the outbounds of the links, bounded in bytes; a
//! link that exceeds its bound is cut; the writer, bounded because publishers are held back. Runs on:
//! the arbiter that called [`serve`](super::serve).

mod inquiries;
mod metering;
mod performing;
mod seat;
mod spans;
mod storage;

use std::net::SocketAddr;
use std::time::Duration;

use actix::prelude::*;
use campanile_edge::Principal;
use campanile_messages::frame::encode_answer;
use campanile_messages::hello::{Agreement, HelloAnswer, INQUIRIES};
use campanile_messages::link::Role;
use campanile_messages::{FromBroker, Hello, ToBroker};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::backlog::Backlog;
use super::beginning::{exchange, open};
use super::clock::Clock;
use super::config::BrokerConfig;
use super::conversation::Conversation;
use super::disk::Disk;
use super::ending::Ending;
use super::exchange::{Effect, Exchange, Unwelcome};
use super::health::BrokerHealth;
use super::links::{Link, Links};
use super::meters::BrokerMeters;
use super::routing::LinkNumber;
use super::stamps::Stamps;
use super::store::{Recovered, StoreError};
use super::writer::{DurableStore, Report, Writer};
use crate::link::{LinkError, Outbound};
use crate::spans::Spans;
use crate::watchdog::{Watchdog, attend};

pub use seat::Seat;

/// How long links stay open between the last event and the goodbye, so that late answers arrive, and a
/// late publish gets a refusal, after which its caller may repeat it.
const LAST_CALL: Duration = Duration::from_millis(100);

/// Feeds its [`Exchange`] with what comes from the links, and performs what that returns.
pub struct Broker {
    exchange: Exchange,
    links: Links,
    clock: Clock,
    started: Instant,
    shutdown_limit: Duration,
    /// Empty between two messages; its capacity is reused.
    effects: Vec<Effect>,
    disk: Disk,
    /// Whether a new epoch is on its way to disk. Until it is there, there are no links.
    is_renewing: bool,
    /// Hellos that wait for the disk.
    waiting: Vec<Enter>,
    /// Gets the error that ends the actor. Dropped without one if the actor ends in another way.
    gone: Option<oneshot::Sender<StoreError>>,
    watchdog: Watchdog,
    meters: BrokerMeters,
    health: BrokerHealth,
    spans: Spans,
}

impl Broker {
    /// Starts a broker without links. It ends with its last address. The receiver gets the error if the
    /// disk fails, and is closed when the actor is gone.
    ///
    /// # Errors
    /// The data directory cannot be used.
    pub fn launch(
        config: &BrokerConfig,
    ) -> Result<(Addr<Self>, oneshot::Receiver<StoreError>), StoreError> {
        let found = config.storage.as_ref();
        let found = found.map(|storage| open(storage, &config.meters)).transpose()?;
        let kept = found.as_ref().map(|(store, _)| (store.clock(), store.log_id()));
        let fresh = || (Clock::starting_at(Duration::ZERO), rand::random());
        Self::launch_on(config, kept.unwrap_or_else(fresh), found)
    }

    /// Like [`Broker::launch`], with an open store.
    fn launch_on(
        config: &BrokerConfig,
        (clock, log_id): (Clock, u64),
        found: Option<(impl DurableStore, Recovered)>,
    ) -> Result<(Addr<Self>, oneshot::Receiver<StoreError>), StoreError> {
        let (gone, is_gone) = oneshot::channel();
        let (store, recovered) = found.unzip();
        let exchange = exchange(config, clock.now(), log_id, recovered);
        let ctx = Context::new();
        let broker = ctx.address();
        let report = move |report| broker.do_send(Written(report));
        let writer = store.map(|store| Writer::start(store, config, report)).transpose()?;
        let broker = Self {
            exchange,
            links: Links::new(config.max_held_bytes()),
            clock,
            started: Instant::now(),
            shutdown_limit: config.shutdown_limit,
            effects: Vec::new(),
            disk: Disk::new(writer),
            is_renewing: false,
            waiting: Vec::new(),
            gone: Some(gone),
            watchdog: config.watchdog.clone(),
            meters: config.meters.clone(),
            health: config.health.clone(),
            spans: config.spans.clone(),
        };
        Ok((ctx.run(broker), is_gone))
    }
}

impl Actor for Broker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        attend(ctx, self.watchdog.watch("broker"));
        self.note_daytime();
    }
}

/// A peer has said hello. The welcome is queued before this is answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    pub hello: Hello,
    pub agreement: Agreement,
    /// Who the peer is. It may hold a link.
    pub principal: Principal,
    pub peer: SocketAddr,
    pub outbound: Outbound,
    /// The answer may have to wait for the disk. A peer that no longer waits drops the receiver.
    pub answer: oneshot::Sender<Result<Welcomed, Unwelcome>>,
}

/// A link that is up.
pub struct Welcomed {
    pub seat: Seat,
    /// Says when the link must not be read. `None` for a link that may always be read.
    pub is_behind: Option<watch::Receiver<bool>>,
}

impl Handler<Enter> for Broker {
    type Result = ();

    fn handle(&mut self, enter: Enter, ctx: &mut Self::Context) {
        if self.is_renewing || self.exchange.must_wait(&enter.hello) {
            // Peers give up after a few seconds.
            self.waiting.retain(|waiting| !waiting.answer.is_closed());
            self.waiting.push(enter);
        } else {
            self.enter(enter, ctx);
        }
    }
}

/// What a peer has said, in order. The answer is whether to read on.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct FromLink {
    pub link: LinkNumber,
    pub messages: Vec<ToBroker>,
}

impl Handler<FromLink> for Broker {
    type Result = bool;

    fn handle(&mut self, FromLink { link, messages }: FromLink, _: &mut Self::Context) -> bool {
        let now = self.clock.now();
        self.links.daytime().advance(now);
        let mut effects = std::mem::take(&mut self.effects);
        for message in messages {
            let received = self.exchange.receive(link, message, now, &mut effects);
            self.perform(&mut effects);
            if let Err(violation) = received {
                self.end(link, violation.into());
            }
        }
        self.effects = effects;
        self.disk.write(&mut self.exchange);
        self.note(now);
        self.links.has(link)
    }
}

/// A link has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LinkLost {
    pub link: LinkNumber,
    pub error: LinkError,
}

impl Handler<LinkLost> for Broker {
    type Result = ();

    fn handle(&mut self, LinkLost { link, error }: LinkLost, _: &mut Self::Context) {
        self.end(link, error.into());
    }
}

/// The writer has done something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Written(Report);

impl Handler<Written> for Broker {
    type Result = ();

    fn handle(&mut self, Written(report): Written, ctx: &mut Self::Context) {
        match report {
            Report::Failed(error) => return self.fail(error, ctx),
            Report::Stored { up_to } => {
                let now = self.clock.now();
                self.links.daytime().advance(now);
                let mut effects = std::mem::take(&mut self.effects);
                self.exchange.note_stored(up_to, now);
                self.exchange.stored(up_to, now, &mut effects);
                self.perform(&mut effects);
                self.effects = effects;
                self.disk.write(&mut self.exchange);
                self.note(self.clock.now());
            }
            Report::TimeNoted => self.disk.time_is_noted(),
            Report::NextWorker(next) => self.exchange.workers_reserved(next),
            Report::Epoch(epoch) => {
                self.exchange.begin_epoch(epoch);
                self.is_renewing = false;
            }
        }
        self.look_at_disk();
        self.enter_waiting_peers(ctx);
    }
}

/// Drops what has expired, and tells quiet gateways where the log ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

impl Handler<Tick> for Broker {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.note_daytime();
        self.look_at_disk();
        if self.is_renewing {
            // What expires now belongs to the old epoch.
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.exchange.tick(self.clock.now(), &mut effects);
        self.perform(&mut effects);
        self.effects = effects;
        self.disk.write_leftovers(&mut self.exchange);
        self.disk.note_time(&self.exchange, self.clock.now());
        self.note(self.clock.now());
        self.note_lag();
    }
}

/// No new links and no publishes are accepted from now on. As soon as everything that was published is
/// durable, and a moment later, every link gets a goodbye.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ShutDown;

impl Handler<ShutDown> for Broker {
    type Result = ();

    fn handle(&mut self, _: ShutDown, ctx: &mut Self::Context) {
        self.exchange.close();
        self.health.drain();
        // Hellos that wait for the disk are refused.
        self.waiting.clear();
        let last_call = LAST_CALL.min(self.shutdown_limit / 2);
        self.say_goodbye_in(last_call, self.clock.now() + self.shutdown_limit / 2, ctx);
    }
}

/// Every link is gone: the data directory is closed.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Close {
    /// At this time the directory is left as it is.
    pub until: Instant,
}

impl Handler<Close> for Broker {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, Close { until }: Close, _: &mut Self::Context) -> Self::Result {
        let limit = until.saturating_duration_since(Instant::now());
        Box::pin(self.disk.close(&mut self.exchange, limit))
    }
}

impl Broker {
    fn enter(&mut self, enter: Enter, ctx: &mut Context<Self>) {
        let Enter { hello, agreement, principal, peer, outbound, answer } = enter;
        if answer.is_closed() {
            return;
        }
        let instance = hello.instance;
        let role = Conversation::new(&hello.role).role();
        let publishes = matches!(hello.role, Role::Publisher { .. });
        let is_behind = publishes.then(|| self.disk.is_behind());
        let entered = match self.exchange.enter(hello, self.clock.now()) {
            Ok(entered) => entered,
            Err(unwelcome) => {
                let _ = answer.send(Err(unwelcome));
                return;
            }
        };
        self.disk.reserve_workers(&mut self.exchange);
        if let Some(replaced) = entered.replaced {
            self.end(replaced, Ending::Replaced);
        }
        let welcome = HelloAnswer::Welcome { agreement, welcome: entered.welcome };
        outbound.force(&encode_answer(&welcome));
        if self.disk.is_waiting() {
            outbound.force(&FromBroker::Disk { is_waiting: true }.encode());
        }
        if outbound.may_carry(Some(INQUIRIES)) {
            self.exchange.may_be_asked(entered.link);
        }
        self.links.add(
            entered.link,
            Link {
                outbound,
                peer,
                principal,
                role,
                instance,
                stamps: Stamps::default(),
                backlog: Backlog::default(),
            },
        );
        self.note_link(role);
        let seat = Seat::new(entered.link, ctx.address());
        // If the peer is gone, dropping its seat ends the link.
        let _ = answer.send(Ok(Welcomed { seat, is_behind }));
    }

    fn enter_waiting_peers(&mut self, ctx: &mut Context<Self>) {
        if self.is_renewing {
            return;
        }
        self.disk.reserve_workers(&mut self.exchange);
        for enter in std::mem::take(&mut self.waiting) {
            self.handle(enter, ctx);
        }
    }

    fn say_goodbye_in(&mut self, wait: Duration, until: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(wait, move |broker, ctx| {
            if broker.exchange.staged_bytes() > 0 && broker.clock.now() < until {
                return broker.say_goodbye_in(LAST_CALL, until, ctx);
            }
            broker.end_all(|| Ending::ShutDown);
        });
    }

    fn end_all(&mut self, ending: impl Fn() -> Ending) {
        self.links.numbers().into_iter().for_each(|link| self.end(link, ending()));
    }
}

#[cfg(test)]
pub mod tests;
