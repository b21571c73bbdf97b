//! The bridge of a gateway: holds the link to the broker, reports what the workers' connections listen
//! to, passes events on to the registries that have listeners, and finds what returning clients have
//! missed.
//!
//! Receives from the link (through [`hold`]) and from the registries. Sends to the broker and, through
//! [`Deliveries`](crate::delivery::Deliveries), to the registries. Runs on the gateway's main thread.
//! Bounded by: while a registry is behind, the link is not read and no resume is answered; and each
//! registry has one report in flight. Never waits: work that cannot continue now continues with a later
//! message or at the next tick. The decisions are made in [`mod@core`].

mod absence;
mod arriving;
pub(crate) mod core;
mod counts;
pub(crate) mod heads;
mod inquiries;
pub(crate) mod interest;
mod performer;
pub mod recent;
pub(crate) mod resumes;
pub(crate) mod spans;
mod summary;
mod traces;
mod wants;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::brokers::UnfitBroker;
use campanile_channel::client::{Endpoint, Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::watchdog::{Watchdog, attend};
use campanile_messages::link::{DirectOutcome, RequestTicket, Tally};
use campanile_messages::{FromBroker, Hello, InstanceId, ToBroker};
use tokio::sync::oneshot;
use tracing::error;

use crate::bridge::core::{BridgeEffect, Core};
use crate::bridge::heads::{AskHead, Askers, NoHead};
use crate::bridge::performer::Performer;
use crate::bridge::summary::Vitals;
use crate::config::GatewayConfig;
use crate::entrance::health::Health;
use crate::report::Report;
use crate::trace::batches::Batches;

pub(crate) use performer::Worker;

/// How many bytes of answers to pushes may wait for the broker. Answers beyond that are dropped, and the
/// publishers answer that the delivery is unknown. Reports of interest have a bound of their own.
const MAX_LINK_QUEUE_BYTES: usize = 16 << 20;

/// How often the bridge looks for interest to withdraw, and retries what could not continue before.
const TICK: Duration = Duration::from_secs(1);

/// How long resumes are answered before other messages get their turn.
const RESUMES_TURN: Duration = Duration::from_millis(50);

/// The actor that holds a gateway's link to the broker.
pub(crate) struct Bridge {
    instance: InstanceId,
    broker: Endpoint,
    core: Core,
    performer: Performer,
    /// Empty between calls; kept to reuse its memory.
    effects: Vec<BridgeEffect>,
    /// How many audiences the gateway listens to; the registries read it.
    audiences: Arc<AtomicUsize>,
    /// Whether a task that continues answering resumes is already scheduled.
    is_resuming: bool,
    /// The callers that ask for the position at which the log ends.
    askers: Askers,
    /// When the last batches came.
    batches: Batches,
    /// How many questions of operators are being answered: those of who looks, and those that close connections.
    inquiries: [usize; 2],
    vitals: Vitals,
    /// Called once, when the workers have their ids.
    ready: Option<Ready>,
    /// Gets the reason if no broker can be the gateway's.
    unfit: Option<oneshot::Sender<UnfitBroker>>,
    watchdog: Watchdog,
}

/// Called when a gateway can accept its first connection.
pub(crate) type Ready = Box<dyn FnOnce()>;

impl Bridge {
    pub fn new(
        instance: InstanceId,
        config: &GatewayConfig,
        workers: Vec<Worker>,
        audiences: Arc<AtomicUsize>,
        (ready, unfit): (Ready, oneshot::Sender<UnfitBroker>),
        health: Health,
    ) -> Self {
        Self {
            instance,
            broker: Endpoint {
                broker: config.broker.clone(),
                tls: config.broker_tls.clone(),
                secrets: config.secrets.clone(),
            },
            core: Core::new(config, workers.len(), Instant::now()),
            performer: Performer::new(workers, health, config, Instant::now()),
            effects: Vec::new(),
            audiences,
            is_resuming: false,
            askers: Askers::default(),
            batches: Batches::new(Instant::now()),
            inquiries: [0; 2],
            vitals: Vitals::new(config),
            ready: Some(ready),
            unfit: Some(unfit),
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
        let (owner, broker, unfit) = (ctx.address(), self.broker.clone(), self.unfit.take());
        let pulse = self.watchdog.watch("gateway's link");
        actix_rt::spawn(async move {
            let held = hold(owner, broker, MAX_LINK_QUEUE_BYTES, pulse, has_room).await;
            if let (Err(reason), Some(unfit)) = (held, unfit) {
                // A gateway that is shutting down need not know.
                let _ = unfit.send(reason);
            }
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
            error!(
                given = welcome.workers.len(),
                "the broker assigned a wrong number of worker ids"
            );
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
        let now = Instant::now();
        self.performer.received(now);
        for message in messages {
            let begins = matches!(message, FromBroker::Attached { .. });
            match message {
                FromBroker::Head { number, head } => {
                    self.askers.answered(number, head);
                    self.performer.ask_head(&mut self.askers);
                }
                FromBroker::Disk { is_waiting } => self.performer.set_waits_for_disk(is_waiting),
                FromBroker::Stamp { unix_micros } => self.performer.stamped(unix_micros),
                FromBroker::Asked { ticket, content } => self.answer_inquiry(ticket, &content, ctx),
                other => self.core.receive(other, &mut self.effects),
            }
            self.perform();
            if begins {
                self.note_batch(now);
            }
        }
        self.note_batch(now);
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

/// Reports what a worker's connections have done since its last report.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct InterestChanged {
    /// The index of the worker, from 0.
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

/// Reports what became of an event, for a publisher that asked. Dropped while there is no link: the
/// publisher then answers by itself that the delivery is unknown.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum DeliveryReport {
    /// What became of a push to one connection.
    Direct(RequestTicket, DirectOutcome),
    /// How many of one worker's connections a counted event has reached.
    Counted(RequestTicket, Tally),
}

impl Handler<DeliveryReport> for Bridge {
    type Result = ();

    fn handle(&mut self, report: DeliveryReport, _: &mut Self::Context) {
        match report {
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
            // Nobody misses the answer if the caller is gone.
            let _ = asker.send(Err(NoHead::NoLink));
            return;
        }
        self.askers.add(asker, Instant::now());
        self.performer.ask_head(&mut self.askers);
    }
}

/// Notifies the bridge that a registry which was behind has caught up.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CaughtUp;

impl Handler<CaughtUp> for Bridge {
    type Result = ();

    fn handle(&mut self, _: CaughtUp, ctx: &mut Self::Context) {
        self.answer_resumes(ctx);
    }
}

/// Ends the link once everything queued is sent, because the gateway has no connections left.
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

    /// Notes where the stream has come to with what was received.
    fn note_batch(&mut self, received: Instant) {
        if let Some(cursor) = self.core.cursor {
            self.batches.note(cursor, received);
        }
    }

    /// Performs the effects that the core has returned, in order.
    fn perform(&mut self) {
        self.effects.drain(..).for_each(|effect| self.performer.perform(effect));
        self.audiences.store(self.core.audiences(), Ordering::Relaxed);
    }

    /// Answers the resumes that can be answered, and asks the broker for what the others need. Stops
    /// while a registry is behind, and continues when it has [`CaughtUp`].
    fn answer_resumes(&mut self, ctx: &mut Context<Self>) {
        // Once scheduled, they continue only after everybody else had a turn, whatever message comes first.
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
