//! The bridge of a gateway: holds the link to the broker, tells it what the workers' connections
//! listen to, hands what comes to the registries that want it, and finds what clients that come back
//! have missed.
//!
//! Receives from the link (through [`hold`]) and from the registries. Sends to the broker and, by
//! [`Deliveries`], to the registries. Runs on the gateway's main thread. Bounded by: the link is not
//! read and no resume is answered while a registry is behind, and each registry has one report in
//! flight. Never waits: what cannot go on now goes on at a message or at the next tick.

pub mod absence;
pub mod counts;
pub mod heads;
pub mod interest;
pub mod recent;
pub mod resumes;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::Outbound;
use campanile_channel::client::{Introduce, LinkDown, LinkUp, Received, hold};
use campanile_channel::watchdog::{Watchdog, attend};
use campanile_messages::link::{DirectOutcome, Gap, RequestTicket, Role, Tally};
use campanile_messages::{
    Address, Audience, Content, Event, FromBroker, Hello, InstanceId, Position, ToBroker, WorkerId,
};
use tracing::{error, info, warn};

use crate::bridge::absence::Absence;
use crate::bridge::counts::Counts;
use crate::bridge::heads::{AskHead, Askers, NoHead};
use crate::bridge::interest::{Interest, Report};
use crate::bridge::recent::{Past, Recent};
use crate::bridge::resumes::{Resume, Resumes};
use crate::config::GatewayConfig;
use crate::delivery::{Deliveries, Delivery, Signal};
use crate::dialects::Framed;
use crate::entrance::health::Health;
use crate::registry::subscriptions::{Change, Ticket};
use crate::websocket::CloseCode;

/// Answers to pushes that may wait for the broker; past it they are dropped, and the publishers say
/// that the delivery is unknown. Reports of interest are bounded by themselves.
const MAX_LINK_QUEUE_BYTES: usize = 16 << 20;

/// How often the bridge looks for withdrawn interest and for what could not go on before.
const TICK: Duration = Duration::from_secs(1);

/// How long resumes are answered before other messages have their turn.
const RESUMES_TURN: Duration = Duration::from_millis(50);

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
    recent: Recent,
    resumes: Resumes,
    /// Resumes go on at a message that is on its way.
    is_resuming: bool,
    max_replay_bytes: usize,
    absence: Absence,
    /// Over how long clients are sent away.
    drain: Duration,
    /// Withdrawn, and the broker not told yet: see [`Interest::take_withdrawn`].
    withdrawn: Vec<Audience>,
    /// Withdrawn in a report that the broker has not confirmed.
    withdrawing: Vec<Audience>,
    /// What is on its way of an answer to a fetch, and how many events are to come.
    past: Option<(Audience, Past, u32)>,
    /// A part of an answer to a fetch has come. Nothing recent is dropped until the rest is there:
    /// it joins on to what came before.
    is_answer_arriving: bool,
    /// The event that comes next is to be counted.
    count: Option<(RequestTicket, u64, Duration)>,
    counts: Counts,
    /// Who wants to know where the log ends.
    askers: Askers,
    /// Called when the workers have their ids.
    ready: Option<Ready>,
    health: Health,
    watchdog: Watchdog,
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
    /// Tells its registry, which does it.
    pub signals: Recipient<Signal>,
}

impl Worker {
    fn deliver(&self, delivery: Delivery) {
        if self.deliveries.push(delivery) {
            self.signals.do_send(Signal::Deliver);
        }
    }
}

impl Bridge {
    /// The bridge of these workers.
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
            interest: Interest::new(workers.len(), config.linger),
            workers,
            audiences,
            outbound: None,
            cursor: None,
            recent: Recent::new(config.recent_bytes),
            resumes: Resumes::default(),
            is_resuming: false,
            max_replay_bytes: config.max_replay_bytes,
            absence: Absence::new(config.return_limit, Instant::now()),
            drain: config.drain,
            withdrawn: Vec::new(),
            withdrawing: Vec::new(),
            past: None,
            is_answer_arriving: false,
            count: None,
            counts: Counts::default(),
            askers: Askers::default(),
            ready: Some(ready),
            health,
            watchdog: config.watchdog.clone(),
        }
    }
}

impl Actor for Bridge {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        attend(ctx, self.watchdog.watch("bridge"));
        let deliveries: Vec<_> = self.workers.iter().map(|w| w.deliveries.clone()).collect();
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
        self.health.set_linked(true);
        self.withdrawn.clear();
        self.send_reports(reports);
        self.send(ToBroker::Attach { cursor: self.cursor });
        self.fetch();
    }
}

impl Handler<Received> for Bridge {
    type Result = ();

    fn handle(&mut self, Received(messages): Received, ctx: &mut Self::Context) {
        for message in messages {
            match message {
                FromBroker::Event(event) if self.past.is_some() => self.keep_past(event),
                FromBroker::Event(event) => self.route(event),
                FromBroker::Deliver { ticket, to, content } => self.push(ticket, to, content),
                FromBroker::Confirmed { revision, head } => self.confirm(revision, head),
                FromBroker::Attached { from, gap } => self.begin(from, gap),
                FromBroker::Mark { head } => self.mark(head),
                FromBroker::Past { audience, events, expired, complete_after } => {
                    self.is_answer_arriving = true;
                    let past = Past { expired, complete_after, events: Vec::new() };
                    self.past = Some((audience, past, events));
                    self.end_past();
                }
                FromBroker::Fetched { number, served } => {
                    self.is_answer_arriving = false;
                    self.resumes.fetched(number, usize::try_from(served).unwrap_or(usize::MAX));
                    self.fetch();
                }
                FromBroker::Count { ticket, sequence, within_millis } => {
                    let within = Duration::from_millis(within_millis.into());
                    self.count = Some((ticket, sequence, within));
                }
                FromBroker::Head { number, head } => {
                    self.askers.answered(number, head);
                    self.ask_head();
                }
                FromBroker::Disk { is_waiting } => self.health.set_waits_for_disk(is_waiting),
                // `hold` keeps these, and the rest is for publishers.
                other => warn!(?other, "the broker sent what is not for a gateway"),
            }
        }
        self.answer_resumes(ctx);
    }
}

impl Handler<LinkDown> for Bridge {
    type Result = ();

    fn handle(&mut self, _: LinkDown, ctx: &mut Self::Context) {
        self.outbound = None;
        self.askers.link_lost();
        self.health.set_linked(false);
        // The next broker says so if it is so there.
        self.health.set_waits_for_disk(false);
        self.past = None;
        self.is_answer_arriving = false;
        self.count = None;
        self.counts.clear();
        self.forget_withdrawn();
        self.resumes.link_lost();
        self.absence.link_lost(Instant::now());
        self.answer_resumes(ctx);
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
    pub ticket: RequestTicket,
    /// What became of it.
    pub outcome: DirectOutcome,
}

impl Handler<Answer> for Bridge {
    type Result = ();

    fn handle(&mut self, Answer { ticket, outcome }: Answer, _: &mut Self::Context) {
        self.send(ToBroker::Delivered { ticket, outcome });
    }
}

impl Handler<AskHead> for Bridge {
    type Result = ();

    fn handle(&mut self, AskHead(asker): AskHead, _: &mut Self::Context) {
        if self.outbound.is_none() {
            // A caller that is gone has no use for an answer.
            let _ = asker.send(Err(NoHead::NoLink));
            return;
        }
        self.askers.add(asker, Instant::now());
        self.ask_head();
    }
}

/// Clients come back whose interest the broker has confirmed. Each is answered with
/// [`Delivery::Resumed`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Missed(pub Vec<Resume>);

impl Handler<Missed> for Bridge {
    type Result = ();

    fn handle(&mut self, Missed(resumes): Missed, ctx: &mut Self::Context) {
        resumes.into_iter().for_each(|resume| self.resumes.add(resume));
        self.answer_resumes(ctx);
    }
}

/// A registry that was behind has caught up.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CaughtUp;

impl Handler<CaughtUp> for Bridge {
    type Result = ();

    fn handle(&mut self, _: CaughtUp, ctx: &mut Self::Context) {
        self.answer_resumes(ctx);
    }
}

/// How a counted event fared at one worker.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Counted {
    /// As it came.
    pub ticket: RequestTicket,
    /// How it fared.
    pub tally: Tally,
}

impl Handler<Counted> for Bridge {
    type Result = ();

    fn handle(&mut self, Counted { ticket, tally }: Counted, _: &mut Self::Context) {
        if let Some(tally) = self.counts.add(ticket, tally) {
            self.send(ToBroker::Counted { ticket, tally });
        }
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
        self.askers.link_lost();
        ctx.stop();
    }
}

impl Bridge {
    fn tick(&mut self, now: Instant, ctx: &mut Context<Self>) {
        self.interest.expire(now);
        self.report();
        self.askers.expire(now);
        self.ask_head();
        self.answer_resumes(ctx);
        if self.absence.passes_limit(now) {
            warn!("no link to the broker for too long: clients are told to try another gateway");
            self.health.set_cut_off(true);
            let drain = Signal::Drain { over: self.drain, code: CloseCode::NoBroker };
            self.workers.iter().for_each(|worker| worker.signals.do_send(drain));
        }
    }

    /// The stream begins, where it stood or elsewhere.
    fn begin(&mut self, from: Position, gap: Option<Gap>) {
        // Not before: a broker may welcome a gateway and end each link at what that says first.
        if self.absence.stream_begins() {
            info!("there is a broker again: clients may stay and come");
            self.health.set_cut_off(false);
            self.workers.iter().for_each(|worker| worker.signals.do_send(Signal::Stay));
        }
        if let (Some(gap), Some(cursor)) = (gap, self.cursor) {
            warn!(%cursor, %from, ?gap, "events may be missing, clients are told");
            self.deliver_to_all(&Delivery::Gap(gap, from));
        }
        if self.cursor != Some(from) {
            self.recent.clear();
        }
        self.cursor = Some(from);
    }

    fn route(&mut self, Event { sequence, audience, except, content }: Event) {
        let count = self.count.take_if(|(_, counted, _)| *counted == sequence);
        let Some(cursor) = &mut self.cursor else {
            return;
        };
        // A half-open link may have delivered it before.
        if sequence <= cursor.sequence {
            return;
        }
        cursor.sequence = sequence;
        // Kept for a while, so it must not keep the whole of the buffer that it came in.
        let framed = Framed::new_except(Some((*cursor, audience.clone())), except, content.own());
        let workers: Vec<_> = self.interest.workers(&audience).collect();
        for worker in &workers {
            self.workers[*worker].deliver(match count {
                None => Delivery::Event(framed.clone()),
                Some((ticket, _, within)) => Delivery::Counted(ticket, within, framed.clone()),
            });
        }
        match count {
            Some((ticket, ..)) if workers.is_empty() => {
                self.send(ToBroker::Counted { ticket, tally: Tally::default() });
            }
            Some((ticket, ..)) => self.counts.begin(ticket, workers.len()),
            None => {}
        }
        if self.interest.has(&audience) {
            self.recent.add(sequence, &audience, framed);
            if self.resumes.is_idle() {
                self.trim();
            }
        }
    }

    fn mark(&mut self, head: u64) {
        if let Some(cursor) = &mut self.cursor {
            cursor.sequence = cursor.sequence.max(head);
            let mark = Delivery::Mark(*cursor);
            self.deliver_to_all(&mark);
        }
    }

    fn deliver_to_all(&self, delivery: &Delivery) {
        self.workers.iter().for_each(|worker| worker.deliver(delivery.clone()));
    }

    fn keep_past(&mut self, Event { sequence, audience, except, content }: Event) {
        if let (Some((of, past, to_come)), Some(cursor)) = (&mut self.past, self.cursor) {
            *to_come -= 1;
            let last = past.events.last().map_or(0, |last| last.sequence());
            if audience == *of && last < sequence && sequence <= cursor.sequence {
                let position = Position { sequence, ..cursor };
                let logged = Some((position, audience));
                past.events.push(Framed::new_except(logged, except, content.own()));
            } else {
                // What is recent must be in order, whatever a broker says.
                warn!(sequence, ?audience, "the broker sent an old event out of order");
            }
        }
        self.end_past();
    }

    fn end_past(&mut self) {
        if let Some((audience, past, _)) = self.past.take_if(|(.., to_come)| *to_come == 0)
            && self.resumes.is_fetched(&audience)
        {
            self.recent.add_past(&audience, past);
        }
    }

    /// Answers those that can be answered, and asks the broker for what others need. Stops while a
    /// registry is behind, and goes on when that has [`CaughtUp`].
    fn answer_resumes(&mut self, ctx: &mut Context<Self>) {
        // They go on when everybody else had a turn, whatever message comes before that.
        let Some(cursor) = self.cursor.filter(|_| !self.is_resuming) else { return };
        let turn_ends = Instant::now() + RESUMES_TURN;
        loop {
            if self.workers.iter().any(|worker| worker.deliveries.is_behind()) {
                return;
            }
            let judged = self.resumes.judge(&self.recent, cursor, self.max_replay_bytes);
            if let Some((resume, found)) = judged {
                let worker = &self.workers[resume.worker];
                worker.deliver(Delivery::Resumed(resume.ticket, found, cursor));
            } else if self.resumes.is_idle() {
                break;
            }
            if Instant::now() >= turn_ends {
                return self.answer_resumes_soon(ctx);
            }
        }
        self.fetch();
        self.trim();
    }

    /// Goes on when everybody else on this thread had a turn.
    fn answer_resumes_soon(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_resuming, true) {
            let others = tokio::task::yield_now().into_actor(self);
            ctx.spawn(others.map(|(), bridge, ctx| {
                bridge.is_resuming = false;
                bridge.answer_resumes(ctx);
            }));
        }
    }

    fn trim(&mut self) {
        if !self.is_answer_arriving {
            self.recent.trim(self.resumes.is_fetching());
        }
    }

    fn fetch(&mut self) {
        if let Some(outbound) = &self.outbound
            && let Some((number, wants)) = self.resumes.fetch()
        {
            let max_bytes = self.max_replay_bytes as u64;
            // There is one at a time, and nobody would ask again for one that was dropped.
            outbound.force(&ToBroker::Fetch { number, wants, max_bytes }.encode());
        }
    }

    /// A link that has no room for the question is asked at the next turn of the clock.
    fn ask_head(&mut self) {
        if let Some(outbound) = &self.outbound
            && let Some(number) = self.askers.question()
            && outbound.send(&ToBroker::AskHead { number }.encode()).is_err()
        {
            self.askers.not_sent();
        }
    }

    fn forget_withdrawn(&mut self) {
        self.withdrawing.drain(..).for_each(|audience| self.recent.forget(&audience));
    }

    fn push(&self, ticket: RequestTicket, to: Address, content: Content) {
        match self.workers.iter().find(|worker| worker.id.get() == Some(&to.worker)) {
            Some(worker) => {
                let framed = Framed::new(None, content);
                worker.deliver(Delivery::Push(ticket, to.connection, framed));
            }
            None => {
                self.send(ToBroker::Delivered { ticket, outcome: DirectOutcome::UnknownWorker })
            }
        }
    }

    fn confirm(&mut self, revision: u64, head: u64) {
        let Some(cursor) = &mut self.cursor else { return };
        cursor.sequence = cursor.sequence.max(head);
        let cursor = *cursor;
        let Some(tickets) = self.interest.confirm(revision) else { return };
        self.forget_withdrawn();
        for (worker, ticket) in self.workers.iter().zip(tickets) {
            worker.deliver(Delivery::Confirmed(ticket, cursor));
        }
        self.report();
    }

    fn report(&mut self) {
        let withdrawn = self.interest.take_withdrawn();
        if !withdrawn.is_empty() {
            withdrawn.iter().for_each(|audience| self.recent.forget(audience));
            self.resumes.withdraw(&withdrawn);
            self.withdrawn.extend(withdrawn);
        }
        self.audiences.store(self.interest.count(), Ordering::Relaxed);
        if self.outbound.is_some() {
            let reports = self.interest.report();
            if !reports.is_empty() {
                self.withdrawing.append(&mut self.withdrawn);
            }
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
            // Full: the broker does not drain for now. Publishers find out by themselves that an
            // answer is missing.
            let _ = outbound.send(&message.encode());
        }
    }
}
