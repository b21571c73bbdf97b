//! The actor at the heart of the broker: feeds the exchange, performs what it answers.
//!
//! Receives from: the peers, one message a link at a time (that is the bound: a mailbox is none);
//! the writer, what is on disk. Sends to: the outbounds of the links, bounded in bytes; a link past
//! its bound is cut; the writer, bounded by holding publishers back. Runs on: the arbiter that called
//! [`serve`](super::serve).

mod seat;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use actix::prelude::*;
use campanile_messages::frame::encode_answer;
use campanile_messages::hello::{Agreement, HelloAnswer};
use campanile_messages::link::Role;
use campanile_messages::{EncodedFrame, FromBroker, Hello, InstanceId, ToBroker};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::beginning::{exchange, open};
use super::clock::Clock;
use super::conversation::Conversation;
use super::disk::Disk;
use super::ending::Ending;
use super::exchange::{Effect, Exchange, Unwelcome};
use super::store::{Recovered, StoreError};
use super::writer::{DurableStore, Report, Writer};
use super::{BrokerConfig, LinkNumber};
use crate::link::{LinkError, Outbound};
use crate::watchdog::{Watchdog, attend};

pub use seat::Seat;

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
    disk: Disk,
    /// A new epoch is on its way to disk; until it is there, nobody has a link.
    is_renewing: bool,
    /// Who has said hello and waits for the disk.
    waiting: Vec<Enter>,
    /// Told why the actor ends, or dropped with it.
    gone: Option<oneshot::Sender<StoreError>>,
    watchdog: Watchdog,
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
        let found = config.storage.as_ref().map(open).transpose()?;
        let clock = found.as_ref().map(|(store, _)| store.clock());
        Self::launch_on(config, clock.unwrap_or_else(|| Clock::starting_at(Duration::ZERO)), found)
    }

    /// [`Broker::launch`] on a store that is open.
    fn launch_on(
        config: &BrokerConfig,
        clock: Clock,
        found: Option<(impl DurableStore, Recovered)>,
    ) -> Result<(Addr<Self>, oneshot::Receiver<StoreError>), StoreError> {
        let (gone, is_gone) = oneshot::channel();
        let (store, recovered) = found.unzip();
        let exchange = exchange(config, clock.now(), recovered);
        let ctx = Context::new();
        let broker = ctx.address();
        let report = move |report| broker.do_send(Written(report));
        let writer =
            store.map(|store| Writer::start(store, &config.watchdog, report)).transpose()?;
        let broker = Self {
            exchange,
            links: HashMap::new(),
            clock,
            shutdown_limit: config.shutdown_limit,
            effects: Vec::new(),
            disk: Disk::new(writer),
            is_renewing: false,
            waiting: Vec::new(),
            gone: Some(gone),
            watchdog: config.watchdog.clone(),
        };
        Ok((ctx.run(broker), is_gone))
    }
}

impl Actor for Broker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        attend(ctx, self.watchdog.watch("broker"));
    }
}

/// A peer has said hello. The welcome is queued before this is answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// Who it says it is.
    pub hello: Hello,
    /// What is spoken on its link.
    pub agreement: Agreement,
    /// Who it is.
    pub peer: SocketAddr,
    /// Where to send.
    pub outbound: Outbound,
    /// Where the answer goes. It may have to wait for the disk; whoever does not want it any more drops
    /// the receiver.
    pub answer: oneshot::Sender<Result<Welcomed, Unwelcome>>,
}

/// A link that may be used.
pub struct Welcomed {
    /// Its place in the broker.
    pub seat: Seat,
    /// Whether it is not to be read for now; `None` if it always is.
    pub is_behind: Option<watch::Receiver<bool>>,
}

impl Handler<Enter> for Broker {
    type Result = ();

    fn handle(&mut self, enter: Enter, ctx: &mut Self::Context) {
        if self.is_renewing || self.exchange.must_wait(&enter.hello) {
            // A peer waits for a few seconds, then it is gone.
            self.waiting.retain(|waiting| !waiting.answer.is_closed());
            self.waiting.push(enter);
        } else {
            self.enter(enter, ctx);
        }
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

    fn handle(&mut self, FromLink { link, messages }: FromLink, _: &mut Self::Context) -> bool {
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut self.effects);
        for message in messages {
            let heard = self.exchange.receive(link, message, now, &mut effects);
            self.perform(&mut effects);
            if let Err(violation) = heard {
                self.end(link, violation.into());
            }
        }
        self.effects = effects;
        self.disk.write(&mut self.exchange);
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
            Report::Failed(error) => return self.fail(error, ctx),
            Report::Stored { up_to } => {
                let mut effects = std::mem::take(&mut self.effects);
                self.exchange.stored(up_to, self.clock.now(), &mut effects);
                self.perform(&mut effects);
                self.effects = effects;
                self.disk.write(&mut self.exchange);
            }
            Report::TimeNoted => self.disk.time_is_noted(),
            Report::NextWorker(next) => self.exchange.workers_reserved(next),
            Report::Epoch(epoch) => {
                self.exchange.begin_epoch(epoch);
                self.is_renewing = false;
            }
        }
        self.look_at_disk();
        self.enter_those_who_wait(ctx);
    }
}

/// Drops what was kept long enough, and tells quiet gateways where the log ends.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Tick;

impl Handler<Tick> for Broker {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.look_at_disk();
        if self.is_renewing {
            // What the old epoch drops is not for the new one.
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.exchange.tick(self.clock.now(), &mut effects);
        self.perform(&mut effects);
        self.effects = effects;
        self.disk.write_leftovers(&mut self.exchange);
        self.disk.note_time(&self.exchange, self.clock.now());
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
        // Those who wait for the disk are refused.
        self.waiting.clear();
        let last_call = LAST_CALL.min(self.shutdown_limit / 2);
        self.say_goodbye_in(last_call, self.clock.now() + self.shutdown_limit / 2, ctx);
    }
}

/// Every link is gone: the disk may be left, by this time at the latest.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Close {
    /// When the directory is left as it is.
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
        let Enter { hello, agreement, peer, outbound, answer } = enter;
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
        info!(link = %entered.link, role, %instance, %peer, "link up");
        self.links.insert(entered.link, Link { outbound, peer, role, instance });
        let seat = Seat::new(entered.link, ctx.address());
        // A peer that is gone leaves with its seat.
        let _ = answer.send(Ok(Welcomed { seat, is_behind }));
    }

    fn enter_those_who_wait(&mut self, ctx: &mut Context<Self>) {
        if self.is_renewing {
            return;
        }
        self.disk.reserve_workers(&mut self.exchange);
        for enter in std::mem::take(&mut self.waiting) {
            self.handle(enter, ctx);
        }
    }

    /// Logs a long wait for the disk and its end, and tells every link.
    fn look_at_disk(&mut self) {
        let Some(is_waiting) = self.disk.look() else {
            return;
        };
        let frame = FromBroker::Disk { is_waiting }.encode();
        let links: Vec<_> = self.links.keys().copied().collect();
        for link in links {
            self.send(link, &frame);
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

    /// The log is older than what gateways have seen of it: what it will say under the numbers that
    /// they know must not be taken for what they know.
    fn begin_epoch(&mut self) {
        let epoch = rand::random();
        warn!(
            epoch = format_args!("{epoch:016x}"),
            "a gateway has seen events that the log does not have (an older copy of the data \
             directory?): a new epoch begins, clients are told that events may be missing"
        );
        self.end_all(|| Ending::NewEpoch);
        self.disk.write_all(&mut self.exchange);
        self.is_renewing = self.disk.set_epoch(epoch);
        if !self.is_renewing {
            self.exchange.begin_epoch(epoch);
        }
    }

    /// The disk fails: nothing can be accepted any more, and a broker that is started again knows
    /// what was.
    fn fail(&mut self, error: StoreError, ctx: &mut Context<Self>) {
        error!(%error, "the broker cannot go on");
        self.disk.give_up();
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

    fn perform(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { link, message } => {
                    if self.may_say(link, &message) {
                        self.send(link, &message.encode());
                    }
                }
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
                Effect::BeginEpoch => self.begin_epoch(),
            }
        }
    }

    /// Whether the peer of a link knows such a message.
    fn may_say(&self, link: LinkNumber, message: &FromBroker) -> bool {
        let needed = message.needs();
        let knows = |link: &Link| link.outbound.may_carry(needed);
        needed.is_none() || self.links.get(&link).is_some_and(knows)
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
    use std::net::Ipv4Addr;

    use campanile_messages::{Audience, Content, Durability, Position};
    use tokio::time::{sleep, timeout};

    use super::super::stuck_store::{Gate, StuckStore};
    use super::super::{Storage, run};
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

    /// A broker in memory mode on a disk that can be stuck, and what a peer of it holds.
    struct Harbour {
        gate: Gate,
        broker: Addr<Broker>,
        gone: Option<oneshot::Receiver<StoreError>>,
    }

    impl Harbour {
        fn of(durability: Durability) -> Self {
            let gate = Gate::default();
            let storage = Storage { dir: "stuck".into(), durability };
            let config = BrokerConfig { storage: Some(storage), ..BrokerConfig::default() };
            let recovered = Recovered { epoch: 7, ..Recovered::default() };
            let found = Some((StuckStore::new(&gate), recovered));
            let (broker, gone) =
                Broker::launch_on(&config, Clock::starting_at(Duration::ZERO), found).unwrap();
            Self { gate, broker, gone: Some(gone) }
        }

        fn hello(&self, instance: u64, role: Role) -> (Welcome, Outbound) {
            let (answer, answered) = oneshot::channel();
            let outbound = Outbound::new(64 << 20);
            let hello = Hello { instance: InstanceId(instance), role };
            let peer = (Ipv4Addr::LOCALHOST, 1).into();
            let agreement = Agreement::ours();
            let enter = Enter { hello, agreement, peer, outbound: outbound.clone(), answer };
            self.broker.do_send(enter);
            (answered, outbound)
        }

        /// Lets the broker tick until something is so.
        async fn until(&self, mut is_so: impl FnMut() -> bool) {
            let until = Instant::now() + Duration::from_secs(20);
            while !is_so() {
                assert!(Instant::now() < until);
                self.broker.send(Tick).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
        }

        async fn publisher(&self) -> (Welcomed, Outbound) {
            let (answered, outbound) = self.hello(1, Role::Publisher { unanswered: 1 });
            (answered.await.unwrap().unwrap(), outbound)
        }

        async fn say(&self, seat: &Seat, message: ToBroker) -> bool {
            let messages = vec![message];
            self.broker.send(FromLink { link: seat.link(), messages }).await.unwrap()
        }
    }

    type Welcome = oneshot::Receiver<Result<Welcomed, Unwelcome>>;

    fn publish(number: u64, len_bytes: usize) -> ToBroker {
        ToBroker::Publish {
            number,
            unanswered: number,
            id: None,
            count_within_millis: None,
            audience: Audience::Everyone,
            except: None,
            content: Content::Binary(vec![0; len_bytes].into()),
        }
    }

    #[actix::test]
    async fn a_publisher_is_held_back_while_the_disk_is_stuck_in_every_mode() {
        for durability in [Durability::Memory, Durability::Written, Durability::Disk] {
            let harbour = Harbour::of(durability);
            let (Welcomed { seat, is_behind }, _outbound) = harbour.publisher().await;
            let mut is_behind = is_behind.unwrap();
            harbour.gate.shut();
            // As the peer's task does: it reads on as long as the broker is not behind.
            let mut number = 0;
            while !*is_behind.borrow() && number < 200 {
                number += 1;
                assert!(harbour.say(&seat, publish(number, 1 << 20)).await);
            }
            assert!(number < 70, "{durability:?}: {number} MiB wait for the disk");
            harbour.broker.send(Tick).await.unwrap();
            assert!(*is_behind.borrow(), "{durability:?}");
            harbour.gate.open();
            let free = is_behind.wait_for(|is_behind| !is_behind);
            timeout(Duration::from_secs(20), free).await.unwrap().unwrap();
        }
    }

    #[actix::test]
    async fn a_stuck_disk_holds_no_gateway_up_and_never_the_actor() {
        let harbour = Harbour::of(Durability::Disk);
        harbour.gate.shut();
        let gateway = || Role::Gateway { workers: 1_024, held: vec![] };
        let mut welcomed = Vec::new();
        for instance in 1..=4 {
            let (answered, outbound) = harbour.hello(instance, gateway());
            welcomed.push((answered.await.unwrap().unwrap(), outbound));
        }
        // Its ids are not reserved on disk yet: it waits, and nobody else does.
        let (mut late, _outbound) = harbour.hello(5, gateway());
        let (Welcomed { seat, .. }, _publisher) = harbour.publisher().await;
        assert!(harbour.say(&seat, ToBroker::Settled { unanswered: 1 }).await);
        assert!(late.try_recv().is_err());
        // Whoever does not wait any more does not get a link either.
        drop(harbour.hello(6, gateway()));
        harbour.gate.open();
        timeout(Duration::from_secs(20), late).await.unwrap().unwrap().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        harbour.broker.send(Close { until }).await.unwrap().unwrap();
        assert_eq!(harbour.gate.calls().last(), Some(&"close"));
    }

    #[actix::test]
    async fn a_new_epoch_waits_for_the_disk_and_the_links_for_it() {
        let harbour = Harbour::of(Durability::Disk);
        let (answered, _outbound) = harbour.hello(2, Role::Gateway { workers: 1, held: vec![] });
        let Welcomed { seat, .. } = answered.await.unwrap().unwrap();
        harbour.gate.shut();
        let ahead = Position { epoch: 7, sequence: 100 };
        assert!(!harbour.say(&seat, ToBroker::Attach { cursor: Some(ahead) }).await);
        let (mut answered, outbound) = harbour.hello(1, Role::Publisher { unanswered: 1 });
        harbour.broker.send(Tick).await.unwrap();
        assert!(answered.try_recv().is_err());
        assert_eq!(outbound.queued_bytes(), 0);
        harbour.gate.open();
        timeout(Duration::from_secs(20), answered).await.unwrap().unwrap().unwrap();
        assert!(harbour.gate.calls().contains(&"set_epoch"));
    }

    #[actix::test]
    async fn a_long_wait_for_the_disk_and_its_end_are_said_on_every_link() {
        let harbour = Harbour::of(Durability::Memory);
        let gateway = || Role::Gateway { workers: 1, held: vec![] };
        let (answered, outbound) = harbour.hello(2, gateway());
        let _link = answered.await.unwrap().unwrap();
        let (Welcomed { seat, .. }, _publisher) = harbour.publisher().await;
        let disk = |is_waiting| FromBroker::Disk { is_waiting }.encode().len_bytes();
        let welcome_bytes = outbound.queued_bytes();
        harbour.gate.shut();
        harbour.say(&seat, publish(1, 1)).await;
        harbour.until(|| outbound.queued_bytes() == welcome_bytes + disk(true)).await;
        harbour.broker.send(Tick).await.unwrap();
        assert_eq!(outbound.queued_bytes(), welcome_bytes + disk(true), "said once");
        let (answered, late) = harbour.hello(3, gateway());
        let _late_link = answered.await.unwrap().unwrap();
        assert_eq!(late.queued_bytes(), welcome_bytes + disk(true));
        harbour.gate.open();
        let said = disk(true) + disk(false);
        harbour.until(|| outbound.queued_bytes() == welcome_bytes + said).await;
        assert_eq!(late.queued_bytes(), welcome_bytes + said);
    }

    #[actix::test]
    async fn a_stuck_disk_does_not_hold_up_the_shutdown_past_its_limit() {
        let mut harbour = Harbour::of(Durability::Memory);
        let (Welcomed { seat, .. }, _publisher) = harbour.publisher().await;
        harbour.gate.shut();
        harbour.say(&seat, publish(1, 1)).await;
        let shutdown_limit = Duration::from_millis(500);
        let storage = Some(Storage { dir: "stuck".into(), durability: Durability::Memory });
        let config = BrokerConfig { storage, shutdown_limit, ..BrokerConfig::default() };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let gone = harbour.gone.take().unwrap();
        let asked = Instant::now();
        run(config, vec![listener], async {}, harbour.broker.clone(), gone).await.unwrap();
        let took = asked.elapsed();
        assert!(took >= shutdown_limit && took < 4 * shutdown_limit, "{took:?}");
        harbour.gate.open();
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
