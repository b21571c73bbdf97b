//! The actor at the heart of the broker: feeds the exchange, performs what it answers.
//!
//! Receives from: the peers, one message a link at a time (that is the bound: a mailbox is none);
//! the writer, what is on disk. Sends to: the outbounds of the links, bounded in bytes; a link past
//! its bound is cut; the writer, bounded by holding publishers back. Runs on: the arbiter that called
//! [`serve`](super::serve).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use actix::prelude::*;
use campanile_messages::frame::encode_welcome;
use campanile_messages::link::Role;
use campanile_messages::{EncodedFrame, FromBroker, Hello, InstanceId, ToBroker};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

use super::beginning::{Clock, exchange, open};
use super::conversation::Conversation;
use super::ending::Ending;
use super::exchange::{Effect, Exchange, Unwelcome};
use super::store::StoreError;
use super::writer::{Report, Writer};
use super::{BrokerConfig, LinkNumber};
use crate::link::{LinkError, Outbound};

/// While more than this waits for the disk, publishers are not read.
const MAX_STAGED_BYTES: usize = 64 << 20;

/// Between the last event and the goodbye: answers that are on their way arrive, and a publish that
/// was on its way is refused, which its caller may repeat, instead of never answered.
const LAST_CALL: Duration = Duration::from_millis(100);

/// See the module.
pub struct Broker {
    exchange: Exchange,
    links: HashMap<LinkNumber, Link>,
    clock: Clock,
    shutdown_limit: Duration,
    /// Room that is used again.
    effects: Vec<Effect>,
    /// Where events go to disk, if they do.
    writer: Option<Writer>,
    /// As it is on disk.
    next_worker: Option<u64>,
    /// Whether too much waits for the disk.
    is_behind: watch::Sender<bool>,
    /// Told why the actor ends, or dropped with it.
    gone: Option<oneshot::Sender<StoreError>>,
}

struct Link {
    outbound: Outbound,
    peer: SocketAddr,
    role: &'static str,
    instance: InstanceId,
}

impl Broker {
    /// Starts a broker without links; it ends with its last address. The receiver is told when the
    /// disk fails, and closed when the actor is gone, however it ended.
    ///
    /// # Errors
    /// If the data directory cannot be used.
    pub fn launch(
        config: &BrokerConfig,
    ) -> Result<(Addr<Self>, oneshot::Receiver<StoreError>), StoreError> {
        let clock = Clock::start();
        let (gone, is_gone) = oneshot::channel();
        let (store, exchange) = match &config.storage {
            Some(storage) => {
                let (store, recovered) = open(storage)?;
                (Some(store), exchange(config, clock.now(), Some((storage.durability, recovered))))
            }
            None => (None, exchange(config, clock.now(), None)),
        };
        let ctx = Context::new();
        let broker = ctx.address();
        let report = move |report| broker.do_send(Written(report));
        let writer = store.map(|store| Writer::start(store, report)).transpose()?;
        let broker = Self {
            next_worker: exchange.next_worker(),
            exchange,
            links: HashMap::new(),
            clock,
            shutdown_limit: config.shutdown_limit,
            effects: Vec::new(),
            writer,
            is_behind: watch::Sender::new(false),
            gone: Some(gone),
        };
        Ok((ctx.run(broker), is_gone))
    }
}

impl Actor for Broker {
    type Context = Context<Self>;
}

/// A peer has said hello. The welcome is queued before this is answered.
#[derive(Message)]
#[rtype(result = "Result<Welcomed, Unwelcome>")]
pub struct Enter {
    /// What it said.
    pub hello: Hello,
    /// Who it is.
    pub peer: SocketAddr,
    /// Where to send.
    pub outbound: Outbound,
}

/// A link that may be used.
pub struct Welcomed {
    /// Its number.
    pub link: LinkNumber,
    /// Whether it is not to be read for now; `None` if it always is.
    pub is_behind: Option<watch::Receiver<bool>>,
}

impl Handler<Enter> for Broker {
    type Result = Result<Welcomed, Unwelcome>;

    fn handle(&mut self, enter: Enter, ctx: &mut Self::Context) -> Self::Result {
        let instance = enter.hello.instance;
        let role = Conversation::new(&enter.hello.role).role();
        let publishes = matches!(enter.hello.role, Role::Publisher { .. });
        let is_behind = publishes.then(|| self.is_behind.subscribe());
        let entered = self.exchange.enter(enter.hello, self.clock.now())?;
        if let Err(error) = self.keep_next_worker() {
            self.fail(error, ctx);
            return Err(Unwelcome::ShuttingDown);
        }
        if let Some(replaced) = entered.replaced {
            self.end(replaced, Ending::Replaced);
        }
        enter.outbound.force(&encode_welcome(&Ok(entered.welcome)));
        info!(link = %entered.link, role, %instance, peer = %enter.peer, "link up");
        let link = Link { outbound: enter.outbound, peer: enter.peer, role, instance };
        self.links.insert(entered.link, link);
        Ok(Welcomed { link: entered.link, is_behind })
    }
}

/// What a link said, in order. Answers whether there is any use in listening further.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct FromLink {
    /// Which link.
    pub link: LinkNumber,
    /// What it said.
    pub messages: Vec<ToBroker>,
}

impl Handler<FromLink> for Broker {
    type Result = bool;

    fn handle(&mut self, FromLink { link, messages }: FromLink, ctx: &mut Self::Context) -> bool {
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut self.effects);
        for message in messages {
            let heard = self.exchange.receive(link, message, now, &mut effects);
            self.perform(&mut effects, ctx);
            if let Err(violation) = heard {
                self.end(link, violation.into());
            }
        }
        self.effects = effects;
        self.write();
        self.links.contains_key(&link)
    }
}

/// A link can be used no longer, for the reason given.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LinkLost {
    /// Which link.
    pub link: LinkNumber,
    /// Why.
    pub error: LinkError,
}

impl Handler<LinkLost> for Broker {
    type Result = ();

    fn handle(&mut self, LinkLost { link, error }: LinkLost, _: &mut Self::Context) {
        self.end(link, error.into());
    }
}

/// What the writer has done.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Written(Report);

impl Handler<Written> for Broker {
    type Result = ();

    fn handle(&mut self, Written(report): Written, ctx: &mut Self::Context) {
        match report {
            Report::Failed(error) => self.fail(error, ctx),
            Report::Stored { up_to } => {
                let mut effects = std::mem::take(&mut self.effects);
                self.exchange.stored(up_to, self.clock.now(), &mut effects);
                self.perform(&mut effects, ctx);
                self.effects = effects;
                self.write();
            }
        }
    }
}

/// Drops what was kept long enough, and tells quiet gateways where the log ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

impl Handler<Tick> for Broker {
    type Result = ();

    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        let mut effects = std::mem::take(&mut self.effects);
        self.exchange.tick(self.clock.now(), &mut effects);
        self.perform(&mut effects, ctx);
        self.effects = effects;
        self.write_all();
    }
}

/// No link is taken in and nothing is published from here on; when what was published is durable,
/// and a moment later, every link is told goodbye.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ShutDown;

impl Handler<ShutDown> for Broker {
    type Result = ();

    fn handle(&mut self, _: ShutDown, ctx: &mut Self::Context) {
        self.exchange.close();
        let last_call = LAST_CALL.min(self.shutdown_limit / 2);
        self.say_goodbye_in(last_call, self.clock.now() + self.shutdown_limit / 2, ctx);
    }
}

/// Every link is gone: the disk may be left.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Close;

impl Handler<Close> for Broker {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Close, _: &mut Self::Context) -> Self::Result {
        self.writer.take().map_or(Ok(()), Writer::close)
    }
}

impl Broker {
    fn say_goodbye_in(&mut self, wait: Duration, until: Duration, ctx: &mut Context<Self>) {
        ctx.run_later(wait, move |broker, ctx| {
            if broker.exchange.staged_bytes() > 0 && broker.clock.now() < until {
                return broker.say_goodbye_in(LAST_CALL, until, ctx);
            }
            broker.end_all(|| Ending::ShutDown);
        });
    }

    /// Hands what was accepted to the disk, and holds publishers back while too much waits for it.
    fn write(&mut self) {
        if self.exchange.has_news() {
            self.write_all();
        }
        let is_behind = self.exchange.staged_bytes() > MAX_STAGED_BYTES;
        self.is_behind.send_if_modified(|was| std::mem::replace(was, is_behind) != is_behind);
    }

    /// Hands all that has changed to the disk. What was only dropped is in no hurry.
    fn write_all(&mut self) {
        let changes = self.exchange.take_changes();
        if let Some(writer) = &self.writer
            && !changes.is_empty()
        {
            writer.send(changes);
        }
    }

    /// A worker id is on disk before anybody learns it. Gateways come rarely, so this may block.
    fn keep_next_worker(&mut self) -> Result<(), StoreError> {
        let next = self.exchange.next_worker();
        if next != self.next_worker
            && let (Some(writer), Some(next)) = (&self.writer, next)
        {
            writer.set_next_worker(next)?;
        }
        self.next_worker = next;
        Ok(())
    }

    /// The log is older than what gateways have seen of it: what it will say under the numbers that
    /// they know must not be taken for what they know.
    fn begin_epoch(&mut self, ctx: &mut Context<Self>) {
        let epoch = rand::random();
        warn!(
            epoch = format_args!("{epoch:016x}"),
            "a gateway has seen events that the log does not have (an older copy of the data \
             directory?): a new epoch begins, clients are told that events may be missing"
        );
        self.end_all(|| Ending::NewEpoch);
        self.write_all();
        if let Some(Err(error)) = self.writer.as_ref().map(|writer| writer.set_epoch(epoch)) {
            return self.fail(error, ctx);
        }
        self.exchange.begin_epoch(epoch);
    }

    /// The disk fails: nothing can be accepted any more, and a broker that is started again knows
    /// what was.
    fn fail(&mut self, error: StoreError, ctx: &mut Context<Self>) {
        error!(%error, "the broker cannot go on");
        self.writer = None;
        if let Some(gone) = self.gone.take() {
            let _ = gone.send(error);
        }
        ctx.stop();
    }

    fn end_all(&mut self, ending: impl Fn() -> Ending) {
        let links: Vec<_> = self.links.keys().copied().collect();
        for link in links {
            self.end(link, ending());
        }
    }

    fn perform(&mut self, effects: &mut Vec<Effect>, ctx: &mut Context<Self>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { link, message } => self.send(link, &message.encode()),
                Effect::Route { links, frame } => {
                    for link in links {
                        self.send(link, &frame);
                    }
                }
                Effect::Replay { link, frames } => {
                    if let Some(link) = self.links.get(&link) {
                        frames.iter().for_each(|frame| link.outbound.force(frame));
                    }
                }
                Effect::BeginEpoch => self.begin_epoch(ctx),
            }
        }
    }

    fn send(&mut self, link: LinkNumber, frame: &EncodedFrame) {
        let Some(to) = self.links.get(&link) else {
            return;
        };
        if let Err(full) = to.outbound.send(frame) {
            self.end(link, LinkError::from(full).into());
        }
    }

    /// The one place where a link is forgotten. A link that is gone already is no matter.
    fn end(&mut self, number: LinkNumber, ending: Ending) {
        let Some(link) = self.links.remove(&number) else {
            return;
        };
        self.exchange.remove(number, self.clock.now());
        let reason = ending.to_string();
        let (role, instance, peer) = (link.role, link.instance, link.peer);
        if ending.is_ordinary() {
            info!(link = %number, role, %instance, %peer, reason, "link down");
        } else {
            warn!(link = %number, role, %instance, %peer, reason, "link down");
        }
        if ending.is_told() {
            link.outbound.force(&FromBroker::Goodbye { reason }.encode());
            link.outbound.finish();
        } else {
            link.outbound.cut();
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Stands for a bug.
    #[derive(Message)]
    #[rtype(result = "()")]
    pub struct Panic;

    impl Handler<Panic> for Broker {
        type Result = ();

        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("on purpose");
        }
    }

    #[actix::test]
    async fn the_actor_ends_with_its_last_address_and_with_a_panic() {
        let (broker, gone) = Broker::launch(&BrokerConfig::default()).unwrap();
        drop(broker);
        assert!(gone.await.is_err());
        let (broker, gone) = Broker::launch(&BrokerConfig::default()).unwrap();
        broker.do_send(Panic);
        assert!(gone.await.is_err());
        assert!(broker.send(ShutDown).await.is_err());
    }
}
