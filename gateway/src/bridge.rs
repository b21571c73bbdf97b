//! The bridge of a gateway: holds the link to the broker, tells it what the workers' connections
//! listen to, and hands what comes to the registries that want it.
//!
//! Receives from the link (through [`hold`]) and from the registries. Sends to the broker and, by
//! [`Deliveries`], to the registries. Runs on the gateway's main thread. Bounded by: the link is not
//! read while a registry is behind, and each registry has one report in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::Outbound;
use campanile_channel::client::{Introduce, LinkDown, LinkUp, Received, hold};
use campanile_messages::link::{Outcome, Role, Ticket as PushTicket};
use campanile_messages::{
    Address, Content, Event, FromBroker, Hello, InstanceId, Position, ToBroker, WorkerId,
};
use tracing::{error, warn};

use crate::delivery::{Deliveries, Delivery, Framed};
use crate::interest::{Interest, Report};
use crate::registry::{DeliveriesReady, Registry};
use crate::subscriptions::{Change, Ticket};
use crate::vital::Vital;

/// Answers to pushes that may wait for the broker; past it they are dropped, and the publishers say
/// that the delivery is unknown. Reports of interest are bounded by themselves.
const MAX_LINK_QUEUE_BYTES: usize = 16 << 20;

/// How often withdrawn interest is looked for.
const EXPIRE: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub struct Bridge {
    instance: InstanceId,
    broker: String,
    workers: Vec<Worker>,
    interest: Interest,
    /// How many audiences there are, for the registries to see.
    audiences: Arc<AtomicUsize>,
    outbound: Option<Outbound>,
    /// The last place in the log that this gateway has seen.
    cursor: Option<Position>,
    /// Called when the workers have their ids.
    ready: Option<Ready>,
    _vital: Vital,
}

/// What to do when a gateway can take its first connection.
pub type Ready = Box<dyn FnOnce()>;

/// How the bridge reaches one worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Set when the broker has given it.
    pub id: Arc<OnceLock<WorkerId>>,
    /// What the registry is to do.
    pub deliveries: Deliveries,
    /// Who does it.
    pub registry: Addr<Registry>,
}

impl Worker {
    fn deliver(&self, delivery: Delivery) {
        if self.deliveries.push(delivery) {
            self.registry.do_send(DeliveriesReady);
        }
    }
}

impl Bridge {
    /// A bridge to `broker`, `HOST:PORT`. Interest without a listener lingers.
    pub fn new(
        broker: String,
        workers: Vec<Worker>,
        linger: Duration,
        audiences: Arc<AtomicUsize>,
        ready: Ready,
    ) -> Self {
        Self {
            instance: InstanceId(rand::random()),
            broker,
            interest: Interest::new(workers.len(), linger),
            workers,
            audiences,
            outbound: None,
            cursor: None,
            ready: Some(ready),
            _vital: Vital("bridge"),
        }
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let deliveries: Vec<_> = self.workers.iter().map(|w| w.deliveries.clone()).collect();
        let has_room = async move || {
            for deliveries in &deliveries {
                deliveries.has_room().await;
            }
        };
        let (owner, broker) = (ctx.address(), self.broker.clone());
        actix_rt::spawn(async move { hold(owner, broker, MAX_LINK_QUEUE_BYTES, has_room).await });
        ctx.run_interval(EXPIRE, |bridge, _| {
            bridge.interest.expire(Instant::now());
            bridge.report();
        });
    }
}

impl Handler<Introduce> for Bridge {
    type Result = MessageResult<Introduce>;

    fn handle(&mut self, _: Introduce, _: &mut Self::Context) -> Self::Result {
        let workers = u16::try_from(self.workers.len()).expect("the config allows fewer");
        let held = self.workers.iter().filter_map(|worker| worker.id.get().copied()).collect();
        MessageResult(Hello { instance: self.instance, role: Role::Gateway { workers, held } })
    }
}

impl Handler<LinkUp> for Bridge {
    type Result = ();

    fn handle(&mut self, LinkUp { welcome, outbound }: LinkUp, _: &mut Self::Context) {
        if welcome.workers.len() != self.workers.len() {
            error!(given = welcome.workers.len(), "the broker gave a wrong number of worker ids");
            outbound.cut();
            return;
        }
        for (worker, id) in self.workers.iter().zip(welcome.workers) {
            worker.id.get_or_init(|| id);
        }
        if let Some(ready) = self.ready.take() {
            ready();
        }
        let reports = self.interest.report_all();
        self.outbound = Some(outbound);
        self.send_reports(reports);
        self.send(ToBroker::Attach { cursor: self.cursor });
        match &mut self.cursor {
            Some(cursor) if cursor.epoch == welcome.head.epoch => {}
            // Another broker: all that it has accepted is new.
            Some(cursor) => *cursor = Position { epoch: welcome.head.epoch, sequence: 0 },
            None => self.cursor = Some(welcome.head),
        }
    }
}

impl Handler<Received> for Bridge {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, _: &mut Self::Context) {
        for message in messages {
            match message {
                FromBroker::Event(event) => self.route(event),
                FromBroker::Deliver { ticket, to, content } => self.push(ticket, to, content),
                FromBroker::Confirmed { revision, head } => self.confirm(revision, head),
                FromBroker::Attached { lost: 0 } => {}
                FromBroker::Attached { lost } => {
                    warn!(lost, "the broker no longer had all events since the link was lost");
                }
                // `hold` keeps these, and the rest is for publishers.
                other => warn!(?other, "the broker sent what is not for a gateway"),
            }
        }
    }
}

impl Handler<LinkDown> for Bridge {
    type Result = ();

    fn handle(&mut self, _: LinkDown, _: &mut Self::Context) {
        self.outbound = None;
    }
}

/// What a worker's connections listen to has changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InterestChanged {
    /// Which worker, from 0.
    pub worker: usize,
    /// All its steps up to this one are counted in.
    pub ticket: Ticket,
    /// At most one an audience.
    pub changes: Vec<Change>,
}

impl Handler<InterestChanged> for Bridge {
    type Result = ();

    fn handle(&mut self, changed: InterestChanged, _: &mut Self::Context) {
        let InterestChanged { worker, ticket, changes } = changed;
        self.interest.change(worker, ticket, changes, Instant::now());
        self.report();
    }
}

/// What became of an event for one connection. Dropped without a link: its publisher finds out by
/// itself that the delivery is unknown.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Answer {
    /// As it came.
    pub ticket: PushTicket,
    /// What became of it.
    pub outcome: Outcome,
}

impl Handler<Answer> for Bridge {
    type Result = ();

    fn handle(&mut self, Answer { ticket, outcome }: Answer, _: &mut Self::Context) {
        self.send(ToBroker::Delivered { ticket, outcome });
    }
}

/// The gateway has no connections left: the link ends when all is said.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Finish;

impl Handler<Finish> for Bridge {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) {
        if let Some(outbound) = self.outbound.take() {
            outbound.finish();
        }
        ctx.stop();
    }
}

impl Bridge {
    fn route(&mut self, Event { sequence, audience, content }: Event) {
        let Some(cursor) = &mut self.cursor else {
            return;
        };
        // A half-open link may have delivered it before.
        if sequence <= cursor.sequence {
            return;
        }
        cursor.sequence = sequence;
        let framed = Framed::new(Some((*cursor, audience.clone())), content);
        for worker in self.interest.workers(&audience) {
            self.workers[worker].deliver(Delivery::Event(framed.clone()));
        }
    }

    fn push(&self, ticket: PushTicket, to: Address, content: Content) {
        match self.workers.iter().find(|worker| worker.id.get() == Some(&to.worker)) {
            Some(worker) => {
                let framed = Framed::new(None, content);
                worker.deliver(Delivery::Push(ticket, to.connection, framed));
            }
            None => self.send(ToBroker::Delivered { ticket, outcome: Outcome::UnknownWorker }),
        }
    }

    fn confirm(&mut self, revision: u64, head: u64) {
        let Some(cursor) = &mut self.cursor else { return };
        cursor.sequence = cursor.sequence.max(head);
        let Some(tickets) = self.interest.confirm(revision) else { return };
        for (worker, ticket) in self.workers.iter().zip(tickets) {
            worker.deliver(Delivery::Confirmed(ticket, *cursor));
        }
        self.report();
    }

    fn report(&mut self) {
        self.audiences.store(self.interest.count(), Ordering::Relaxed);
        if self.outbound.is_some() {
            let reports = self.interest.report();
            self.send_reports(reports);
        }
    }

    fn send_reports(&self, reports: Vec<Report>) {
        if let Some(outbound) = &self.outbound {
            for (revision, changes) in reports {
                outbound.force(&ToBroker::Interest { revision, changes }.encode());
            }
        }
    }

    fn send(&self, message: ToBroker) {
        if let Some(outbound) = &self.outbound {
            // Full: the broker does not drain, and the link will end by silence.
            let _ = outbound.send(&message.encode());
        }
    }
}
