//! The bridge of a gateway: holds the link to the broker, tells it what the workers' connections
//! listen to, hands what comes to the registries that want it, and finds what clients that come back
//! have missed.
//!
//! Receives from the link (through [`hold`]) and from the registries. Sends to the broker and, by
//! [`Deliveries`](crate::delivery::Deliveries), to the registries. Runs on the gateway's main thread.
//! Bounded by: the link is not read and no resume is answered while a registry is behind, and each
//! registry has one report in flight. Never waits: what cannot go on now goes on at a message or at the
//! next tick.
//!
//! What is to be done is decided in [`mod@core`].

mod absence;
mod arriving;
pub(crate) mod core;
mod counts;
pub(crate) mod heads;
pub(crate) mod interest;
mod performer;
pub mod recent;
pub(crate) mod resumes;
mod wants;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::client::{Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::watchdog::{Watchdog, attend};
use campanile_messages::link::{DirectOutcome, RequestTicket, Tally};
use campanile_messages::{FromBroker, Hello, InstanceId, ToBroker};
use tracing::error;

use crate::bridge::core::{BridgeEffect, Core};
use crate::bridge::heads::{AskHead, Askers, NoHead};
use crate::bridge::performer::Performer;
use crate::config::GatewayConfig;
use crate::entrance::health::Health;
use crate::report::Report;

pub(crate) use performer::Worker;

/// Answers to pushes that may wait for the broker; past it they are dropped, and the publishers say
/// that the delivery is unknown. Reports of interest are bounded by themselves.
const MAX_LINK_QUEUE_BYTES: usize = 16 << 20;

/// How often the bridge looks for withdrawn interest and for what could not go on before.
const TICK: Duration = Duration::from_secs(1);

/// How long resumes are answered before other messages have their turn.
const RESUMES_TURN: Duration = Duration::from_millis(50);

/// See the module's documentation.
pub(crate) struct Bridge {
    instance: InstanceId,
    broker: String,
    core: Core,
    performer: Performer,
    /// Room that is used again.
    effects: Vec<BridgeEffect>,
    /// How many audiences there are, for the registries to see.
    audiences: Arc<AtomicUsize>,
    /// Resumes go on at a message that is on its way.
    is_resuming: bool,
    /// Who wants to know where the log ends.
    askers: Askers,
    /// Called when the workers have their ids.
    ready: Option<Ready>,
    watchdog: Watchdog,
}

/// What to do when a gateway can take its first connection.
pub(crate) type Ready = Box<dyn FnOnce()>;

impl Bridge {
    pub fn new(
        config: &GatewayConfig,
        workers: Vec<Worker>,
        audiences: Arc<AtomicUsize>,
        ready: Ready,
        health: Health,
    ) -> Self {
        Self {
            instance: InstanceId(rand::random()),
            broker: config.broker.clone(),
            core: Core::new(config, workers.len(), Instant::now()),
            performer: Performer::new(workers, health, config.drain),
            effects: Vec::new(),
            audiences,
            is_resuming: false,
            askers: Askers::default(),
            ready: Some(ready),
            watchdog: config.watchdog.clone(),
        }
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        attend(ctx, self.watchdog.watch("bridge"));
        let workers = self.performer.workers();
        let deliveries: Vec<_> = workers.iter().map(|worker| worker.deliveries.clone()).collect();
        let has_room = async move || {
            for deliveries in &deliveries {
                deliveries.has_room().await;
            }
        };
        let (owner, broker) = (ctx.address(), self.broker.clone());
        let pulse = self.watchdog.watch("gateway's link");
        actix_rt::spawn(async move {
            hold(owner, broker, MAX_LINK_QUEUE_BYTES, pulse, has_room).await;
        });
        ctx.run_interval(TICK, |bridge, ctx| bridge.tick(Instant::now(), ctx));
    }
}

impl Handler<Introduce> for Bridge {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        MessageResult(Hello { instance: self.instance, role: self.performer.role() })
    }
}

impl Handler<LinkUp> for Bridge {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, outbound }: LinkUp, _: &mut Self::Context) {
        if welcome.workers.len() != self.performer.workers().len() {
            error!(given = welcome.workers.len(), "the broker gave a wrong number of worker ids");
            outbound.cut();
            return;
        }
        self.performer.link_up(outbound, &welcome.workers);
        if let Some(ready) = self.ready.take() {
            ready();
        }
        self.core.link_up(&welcome, &mut self.effects);
        self.perform();
    }
}

impl Handler<Received> for Bridge {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, ctx: &mut Self::Context) {
        for message in messages {
            match message {
                FromBroker::Head { number, head } => {
                    self.askers.answered(number, head);
                    self.performer.ask_head(&mut self.askers);
                }
                FromBroker::Disk { is_waiting } => self.performer.set_waits_for_disk(is_waiting),
                other => self.core.receive(other, &mut self.effects),
            }
            self.perform();
        }
        self.answer_resumes(ctx);
    }
}

impl Handler<LinkDown> for Bridge {
    type Result = ();

    fn handle(&mut self, _: LinkDown, _: &mut Self::Context) {
        self.performer.link_lost();
        self.askers.link_lost();
        self.core.link_lost(Instant::now());
    }
}

/// What a worker's connections have done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct InterestChanged {
    /// Which worker, from 0.
    pub worker: usize,
    pub report: Report,
}

impl Handler<InterestChanged> for Bridge {
    type Result = ();

    fn handle(&mut self, changed: InterestChanged, _: &mut Self::Context) {
        let InterestChanged { worker, report } = changed;
        self.core.report(worker, report, Instant::now(), &mut self.effects);
        self.perform();
    }
}

/// How an event fared that somebody asks about. Dropped without a link: its publisher finds out by
/// itself that the delivery is unknown.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum DeliveryReport {
    /// One for one connection.
    Direct(RequestTicket, DirectOutcome),
    /// A counted one, at one worker.
    Counted(RequestTicket, Tally),
}

impl Handler<DeliveryReport> for Bridge {
    type Result = ();

    fn handle(&mut self, fared: DeliveryReport, _: &mut Self::Context) {
        match fared {
            DeliveryReport::Direct(ticket, outcome) => {
                self.effects.push(BridgeEffect::Send(ToBroker::Delivered { ticket, outcome }));
            }
            DeliveryReport::Counted(ticket, tally) => {
                self.core.counted(ticket, tally, &mut self.effects)
            }
        }
        self.perform();
    }
}

impl Handler<AskHead> for Bridge {
    type Result = ();

    fn handle(&mut self, AskHead(asker): AskHead, _: &mut Self::Context) {
        if !self.performer.is_linked() {
            // A caller that is gone has no use for an answer.
            let _ = asker.send(Err(NoHead::NoLink));
            return;
        }
        self.askers.add(asker, Instant::now());
        self.performer.ask_head(&mut self.askers);
    }
}

/// A registry that was behind has caught up.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CaughtUp;

impl Handler<CaughtUp> for Bridge {
    type Result = ();

    fn handle(&mut self, _: CaughtUp, ctx: &mut Self::Context) {
        self.answer_resumes(ctx);
    }
}

/// The gateway has no connections left: the link ends when all is said.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Finish;

impl Handler<Finish> for Bridge {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) {
        self.performer.finish();
        self.askers.link_lost();
        ctx.stop();
    }
}

impl Bridge {
    fn tick(&mut self, now: Instant, ctx: &mut Context<Self>) {
        self.core.tick(now, &mut self.effects);
        self.perform();
        self.askers.expire(now);
        self.performer.ask_head(&mut self.askers);
        self.answer_resumes(ctx);
    }

    /// Does what the core has decided, in order.
    fn perform(&mut self) {
        self.effects.drain(..).for_each(|effect| self.performer.perform(effect));
        self.audiences.store(self.core.audiences(), Ordering::Relaxed);
    }

    /// Answers those that can be answered, and asks the broker for what others need. Stops while a
    /// registry is behind, and goes on when that has [`CaughtUp`].
    fn answer_resumes(&mut self, ctx: &mut Context<Self>) {
        // They go on when everybody else had a turn, whatever message comes before that.
        let turn_ends = Instant::now() + RESUMES_TURN;
        let mut may_go_on = !self.is_resuming;
        while may_go_on && !self.performer.is_any_worker_behind() {
            may_go_on = self.core.answer_next(&mut self.effects);
            self.perform();
            if may_go_on && Instant::now() >= turn_ends {
                self.is_resuming = true;
                let others = tokio::task::yield_now().into_actor(self);
                ctx.spawn(others.map(|(), bridge, ctx| {
                    bridge.is_resuming = false;
                    bridge.answer_resumes(ctx);
                }));
                return;
            }
        }
    }
}
