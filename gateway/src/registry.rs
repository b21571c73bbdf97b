//! The registry of one worker: knows every session of its thread and what each listens to, and
//! writes events straight to their sockets.
//!
//! Receives from its sessions (attach, join, leave, detach) and, through [`Deliveries`], from the
//! bridge. Sends to the sockets and to the bridge. Runs on the worker's thread. Bounded by: one
//! message in flight a session, the bytes of `Deliveries`, and one report in flight to the bridge.

pub mod client;
pub mod counting;
pub mod subscriptions;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::watchdog::{Pulse, attend};
use campanile_messages::link::{self, DirectOutcome, Gap};
use campanile_messages::{Address, Audience, ConnectionId, GroupName, Position, WorkerId};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::bridge::interest::MAX_AUDIENCES;
use crate::bridge::resumes::Resume;
use crate::bridge::{Answer, Bridge, CaughtUp, Counted, InterestChanged, Missed};
use crate::config::GatewayConfig;
use crate::connection::line::Line;
use crate::connection::socket::Waiting;
use crate::delivery::{Deliveries, Delivery, Found, Outcome as Answered, Signal};
use crate::dialects::Framed;
use crate::registry::client::{Batch, Client, Mark};
use crate::registry::counting::{Awaited, Counting};
use crate::registry::subscriptions::{
    Change, Confirmed, Joining, Standing, Step, Subscriptions, Ticket,
};
use crate::resume::{Lost, Resumed, Since, Start};
use crate::websocket::CloseCode;

/// How often clients are looked at for signs of life.
const SWEEP: Duration = Duration::from_secs(1);

/// Changes are reported this often at most: each report wakes the bridge, the broker, the bridge and
/// this worker again, which is dear for one client of a storm, and cheap for all of 5 ms.
const REPORT_PACE: Duration = Duration::from_millis(5);

/// How long deliveries are performed before sessions and timers of this thread have their turn.
const DELIVERIES_TURN: Duration = Duration::from_millis(50);

/// How many clients are greeted between two looks at the clock.
const CONFIRMED_AT_ONCE: usize = 256;

/// A bridge that has not taken a report by then hangs, and the watchdog sees to it.
const REPORT_LIMIT: Duration = Duration::from_secs(10);

/// No publisher waits longer for what became of a push to one connection.
const LONGEST_QUESTION: Duration = Duration::from_secs(60);

/// A drain closes some clients this often.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// See the module's documentation.
pub struct Registry {
    /// Which of the gateway's workers this is, from 0.
    index: usize,
    /// Beats also within a long turn.
    pulse: Rc<Pulse>,
    /// Given by the broker; set before the first connection is let in.
    worker: Arc<OnceLock<WorkerId>>,
    config: Arc<GatewayConfig>,
    deliveries: Deliveries,
    bridge: Addr<Bridge>,
    subscriptions: Subscriptions<Client>,
    /// Sessions that have something to say before their greeting.
    eager: HashMap<ConnectionId, oneshot::Sender<()>>,
    /// How many audiences the gateway listens to.
    audiences: Arc<AtomicUsize>,
    last_ticket: Ticket,
    unreported: HashMap<Audience, i32>,
    /// The bridge has not taken the last report yet.
    is_reporting: bool,
    reported_ticket: Ticket,
    reported_at: Option<Instant>,
    /// Taken from `deliveries` and not performed yet.
    in_hand: VecDeque<Delivery>,
    /// Deliveries go on when everybody else on this thread had a turn.
    is_resting: bool,
    /// With what every client is being closed, if so.
    leaving: Option<CloseCode>,
    /// How many slow readers counted events wait for, at this worker.
    awaited: Awaited,
    /// The last position up to which nothing is missing.
    mark: Option<Position>,
}

impl Registry {
    /// The registry of worker `index`, which gets its deliveries from `bridge`.
    pub fn new(
        index: usize,
        worker: Arc<OnceLock<WorkerId>>,
        config: Arc<GatewayConfig>,
        deliveries: Deliveries,
        bridge: Addr<Bridge>,
        audiences: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            index,
            pulse: Rc::new(config.watchdog.watch(format!("registry {index}"))),
            worker,
            subscriptions: Subscriptions::new(config.max_groups),
            eager: HashMap::new(),
            audiences,
            config,
            deliveries,
            bridge,
            last_ticket: 0,
            unreported: HashMap::new(),
            is_reporting: false,
            reported_ticket: 0,
            reported_at: None,
            in_hand: VecDeque::new(),
            is_resting: false,
            leaving: None,
            awaited: Awaited::default(),
            mark: None,
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        attend(ctx, self.pulse.clone());
        ctx.run_interval(SWEEP, |registry, ctx| registry.sweep(Instant::now(), ctx));
    }
}

/// A connection comes. It is greeted when the broker has confirmed its interest.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// Its number at this worker.
    pub connection: ConnectionId,
    /// Where and how to write.
    pub line: Line,
    /// What it listens to beside everyone, without repeats.
    pub groups: Vec<GroupName>,
    /// Where it goes on.
    pub since: Option<Since>,
}

impl Handler<Attach> for Registry {
    type Result = ();

    fn handle(&mut self, attach: Attach, ctx: &mut Self::Context) {
        let Attach { connection, line, mut groups, since } = attach;
        let client = Client::new(connection, line, Instant::now());
        if let Some(code) = self.leaving {
            client.line.close(code, Waiting::Flush);
        } else if !groups.is_empty() && self.is_full() {
            client.line.close(CloseCode::GatewayFull, Waiting::Flush);
            groups.clear();
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let changes = self.subscriptions.attach(connection, groups, since, client, ticket);
        self.report(changes, ctx);
    }
}

/// A connection's session has something to answer: resolves once its client was greeted, or never
/// will be. Bounded by `--handshake-limit`, after which the sweep closes and forgets the connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AwaitGreeting(pub ConnectionId);

impl Handler<AwaitGreeting> for Registry {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        AwaitGreeting(connection): AwaitGreeting,
        _: &mut Self::Context,
    ) -> ResponseFuture<()> {
        // One that is forgotten already would never be greeted, nor forgotten again.
        if !self.subscriptions.is_pending(connection) {
            return Box::pin(std::future::ready(()));
        }
        let (greeted, is_greeted) = oneshot::channel();
        self.eager.insert(connection, greeted);
        Box::pin(async move {
            // Dropped: there will be no greeting.
            let _ = is_greeted.await;
        })
    }
}

/// A connection wants to listen to a group, and perhaps to go on in it somewhere. It hears `joined`
/// when the broker has confirmed that, unless the answer says otherwise.
#[derive(Debug, Message)]
#[rtype(result = "JoinAnswer")]
pub struct Join(pub ConnectionId, pub GroupName, pub Option<Since>);

/// What a session does about its join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, MessageResponse)]
pub enum JoinAnswer {
    /// Nothing: the registry answers its client.
    Awaited,
    /// Say `joined`: the client listens already.
    Already,
    /// Say that it listens already, and so cannot go on somewhere.
    AlreadyJoined,
    /// Say that there are too many.
    TooMany,
    /// Say that the gateway has too many.
    GatewayFull,
}

impl Handler<Join> for Registry {
    type Result = JoinAnswer;

    fn handle(&mut self, join: Join, ctx: &mut Self::Context) -> JoinAnswer {
        if self.is_full() {
            return JoinAnswer::GatewayFull;
        }
        let Join(connection, group, since) = join;
        match self.subscriptions.join(connection, group, since, self.last_ticket + 1) {
            Joining::Begun(change) => {
                self.last_ticket += 1;
                self.report([change], ctx);
                JoinAnswer::Awaited
            }
            // It cannot go on in two places.
            Joining::Repeated | Joining::Already if since.is_some() => JoinAnswer::AlreadyJoined,
            Joining::Repeated | Joining::Gone => JoinAnswer::Awaited,
            Joining::Already => JoinAnswer::Already,
            Joining::TooMany => JoinAnswer::TooMany,
        }
    }
}

/// A connection no longer wants to listen to a group.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Leave(pub ConnectionId, pub GroupName);

impl Handler<Leave> for Registry {
    type Result = ();

    fn handle(&mut self, Leave(connection, group): Leave, ctx: &mut Self::Context) {
        let change = self.subscriptions.leave(connection, &group);
        self.report(change, ctx);
    }
}

/// A connection is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Detach(pub ConnectionId);

impl Handler<Detach> for Registry {
    type Result = ();

    fn handle(&mut self, Detach(connection): Detach, ctx: &mut Self::Context) {
        self.forget(connection, ctx);
    }
}

impl Handler<Signal> for Registry {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        match signal {
            // Messages come before timers and everything else that an actor does: answered one behind
            // the other, they would leave no turn for those.
            Signal::Deliver if self.is_resting => {}
            Signal::Deliver => self.perform_deliveries(ctx),
            Signal::Drain { over, code } => self.drain(over, code, ctx),
            Signal::Stay => drop(self.leaving.take_if(|code| *code == CloseCode::NoBroker)),
        }
    }
}

impl Registry {
    fn drain(&mut self, over: Duration, code: CloseCode, ctx: &mut Context<Self>) {
        if self.leaving == Some(CloseCode::GoingAway) {
            return;
        }
        self.leaving = Some(code);
        let clients = self.subscriptions.all_mut();
        let clients: Vec<_> = clients.map(|(client, _)| client.line.clone()).collect();
        let steps = over.div_duration_f64(DRAIN_STEP).floor().max(1.0) as usize;
        let mut gone = 0;
        for step in 0..steps {
            // Evenly over all of the time, however many there are.
            let next = clients.len() * (step + 1) / steps;
            let some = clients[gone..next].to_vec();
            gone = next;
            if some.is_empty() {
                continue;
            }
            ctx.run_later(DRAIN_STEP * step as u32, move |registry, _| {
                // Another drain has taken over, or the clients may stay.
                if registry.leaving != Some(code) {
                    return;
                }
                for line in some {
                    line.close(code, Waiting::Flush);
                }
            });
        }
    }

    /// Performs what the bridge has handed over, in order and in turns.
    fn perform_deliveries(&mut self, ctx: &mut Context<Self>) {
        let turn_ends = Instant::now() + DELIVERIES_TURN;
        let mut batch = Batch::new(self.pulse.clone());
        loop {
            if self.in_hand.is_empty() {
                self.in_hand = self.deliveries.take().into();
                if self.in_hand.is_empty() {
                    break;
                }
            }
            self.perform_next(&mut batch);
            if self.in_hand.is_empty() && self.deliveries.performed() {
                self.bridge.do_send(CaughtUp);
            }
            if Instant::now() >= turn_ends {
                self.rest(ctx);
                break;
            }
        }
        batch.flush(&self.subscriptions);
        batch.closed.into_iter().for_each(|connection| self.forget(connection, ctx));
    }

    /// Performs the next of what is in hand.
    fn perform_next(&mut self, batch: &mut Batch) {
        // To a hundred thousand clients, some of them take as long as a turn of the watchdog.
        self.pulse.beat();
        match self.in_hand.pop_front() {
            None => {}
            Some(Delivery::Event(framed)) => {
                let excepted = framed.except_at(self.worker.get());
                match self.in_hand.front() {
                    Some(Delivery::Event(_)) => {
                        batch.deliver(&framed, excepted, &self.subscriptions);
                    }
                    _ => batch.deliver_last(&framed, excepted, &self.subscriptions),
                }
            }
            Some(other) => {
                batch.flush(&self.subscriptions);
                self.perform(other);
            }
        }
    }

    /// Lets the sessions and timers of this thread have a turn, then goes on.
    fn rest(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.is_resting, true) {
            let others = tokio::task::yield_now().into_actor(self);
            ctx.spawn(others.map(|(), registry, ctx| {
                registry.is_resting = false;
                registry.perform_deliveries(ctx);
            }));
        }
    }

    fn perform(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Event(framed) => {
                let excepted = framed.except_at(self.worker.get());
                Batch::new(self.pulse.clone()).deliver_last(&framed, excepted, &self.subscriptions);
            }
            Delivery::Counted(ticket, within, framed) => self.count(ticket, within, &framed),
            Delivery::Push(ticket, connection, framed) => self.push(ticket, connection, &framed),
            Delivery::Confirmed(ticket, position) => self.confirm(ticket, position),
            Delivery::Resumed(ticket, found, position) => self.resume(ticket, found, position),
            Delivery::Mark(position) => self.mark = Some(position),
            Delivery::Gap(gap, position) => self.tell_gap(gap, position),
        }
    }

    /// Writes an event to its listeners, and tells the bridge how it fared when that is known of all
    /// of them, or the time is over. What waits is a task of its own, so that it costs nothing until
    /// it is woken.
    fn count(&self, ticket: link::RequestTicket, within: Duration, event: &Framed) {
        let excepted = event.except_at(self.worker.get());
        let counting = Counting::deliver(event, excepted, &self.subscriptions, &self.awaited);
        let bridge = self.bridge.clone();
        match counting {
            Ok(tally) => bridge.do_send(Counted { ticket, tally }),
            Err(counting) => drop(actix_rt::spawn(async move {
                let tally = counting.finish(within).await;
                bridge.do_send(Counted { ticket, tally });
            })),
        }
    }

    fn tell_gap(&mut self, gap: Gap, position: Position) {
        self.mark = Some(position);
        for (client, standing) in self.subscriptions.all_mut() {
            if standing != Standing::Pending {
                client.tell_gap(gap, position);
            }
        }
    }

    fn push(&self, ticket: link::RequestTicket, connection: ConnectionId, framed: &Framed) {
        let answer = move |outcome| Answer { ticket, outcome };
        let Some(client) = self.subscriptions.get(connection).filter(|c| c.line.socket.is_open())
        else {
            self.bridge.do_send(answer(DirectOutcome::UnknownConnection));
            return;
        };
        client.line.send(framed.frame(client.line.dialect));
        match client.line.socket.written() {
            None if client.line.socket.is_open() => {
                self.bridge.do_send(answer(DirectOutcome::Written))
            }
            None => self.bridge.do_send(answer(DirectOutcome::NotWritten)),
            Some(written) => {
                let bridge = self.bridge.clone();
                actix_rt::spawn(async move {
                    match timeout(LONGEST_QUESTION, written).await {
                        Ok(Ok(())) => bridge.do_send(answer(DirectOutcome::Written)),
                        Ok(Err(_)) => bridge.do_send(answer(DirectOutcome::NotWritten)),
                        // Nobody waits for the answer any more.
                        Err(_) => {}
                    }
                });
            }
        }
    }

    fn confirm(&mut self, up_to: Ticket, position: Position) {
        // The broker takes it for told, and says no mark besides.
        self.mark = Some(position);
        let mut missed = Vec::new();
        let confirmed = self.subscriptions.confirm(up_to, CONFIRMED_AT_ONCE);
        if confirmed.len() == CONFIRMED_AT_ONCE {
            // The rest of a storm comes next, before anything behind it.
            self.in_hand.push_front(Delivery::Confirmed(up_to, position));
        }
        for confirmed in confirmed {
            match confirmed {
                Confirmed::Done(step, resumed) => self.complete(&step, position, resumed),
                Confirmed::Missed { ticket, start, audiences } => {
                    missed.push(Resume { worker: self.index, ticket, start, audiences });
                }
            }
        }
        if !missed.is_empty() {
            self.bridge.do_send(Missed(missed));
        }
    }

    /// What a client missed is written past the bound of its outbox, with a bound of its own.
    fn resume(&mut self, ticket: Ticket, found: Answered, position: Position) {
        let Some((step, start)) = self.subscriptions.resume(ticket) else { return };
        let (Step::Attach(connection) | Step::Join(connection, _)) = step;
        let Some(client) = self.subscriptions.get(connection) else { return };
        let since = match start {
            Start::Behind(since) => since,
            Start::History(_) => return self.begin_with_history(&step, found, position),
        };
        let missed = found.and_then(|Found { events: mut missed, .. }| {
            // A connection may join a group again that it was left out of an event of.
            missed.retain(|event| event.except_at(self.worker.get()) != Some(connection));
            let has_room = missed.is_empty() || client.has_room(&self.config);
            if has_room { Ok(missed) } else { Err(Lost::TooFar) }
        });
        match (&step, missed) {
            (_, Err(lost)) => self.complete(&step, position, Some(Err(lost))),
            (Step::Attach(_), Ok(missed)) => {
                self.complete(&step, since, Some(Ok(())));
                if let Some(client) = self.subscriptions.get(connection) {
                    client.replay(&missed);
                }
            }
            (Step::Join(..), Ok(missed)) => {
                client.replay(&missed);
                self.complete(&step, position, Some(Ok(())));
            }
        }
    }

    /// A new listener is greeted, and hears what it asked for of the past. (Nothing waits for it yet,
    /// so there is room.)
    fn begin_with_history(&mut self, step: &Step, found: Answered, cursor: Position) {
        let (Step::Attach(connection) | Step::Join(connection, _)) = *step;
        let nothing = || Found { events: Vec::new(), is_complete: false };
        let found = found.unwrap_or_else(|_| nothing());
        self.greet(connection, |client, address| {
            client.greet_with_history(address, cursor, &found);
        });
    }

    fn greet(&mut self, connection: ConnectionId, greet: impl FnOnce(&Client, Address)) {
        let (Some(&worker), Some(client)) = (self.worker.get(), self.subscriptions.get(connection))
        else {
            return;
        };
        greet(client, Address { worker, connection });
        if let Some(eager) = self.eager.remove(&connection) {
            let _ = eager.send(());
        }
    }

    fn complete(&mut self, step: &Step, position: Position, resumed: Option<Resumed>) {
        match step {
            Step::Attach(connection) => {
                self.greet(*connection, |client, address| {
                    client.greet(address, position, resumed);
                });
            }
            Step::Join(connection, group) => {
                let Some(client) = self.subscriptions.get(*connection) else { return };
                client.tell_joined(group, resumed);
                // What was replayed had lower positions than the client may have seen before.
                let is_settled = self.subscriptions.standing(*connection) == Standing::Settled;
                if resumed.is_some() && is_settled {
                    client.tell_position(position);
                }
            }
        }
    }

    /// The gateway listens to as many audiences as the broker lets it.
    fn is_full(&self) -> bool {
        self.audiences.load(Ordering::Relaxed) + self.unreported.len() >= MAX_AUDIENCES
    }

    /// Tells the bridge what changed. What changes while it has not taken the last report is summed
    /// up, so that sessions cannot fill its mailbox.
    fn report(&mut self, changes: impl IntoIterator<Item = Change>, ctx: &mut Context<Self>) {
        for (audience, by) in changes {
            *self.unreported.entry(audience).or_default() += by;
        }
        let nothing_new = self.unreported.is_empty() && self.reported_ticket == self.last_ticket;
        if self.is_reporting || nothing_new {
            return;
        }
        self.is_reporting = true;
        let since = self.reported_at.map_or(REPORT_PACE, |at| at.elapsed());
        match REPORT_PACE.checked_sub(since) {
            None | Some(Duration::ZERO) => self.report_now(ctx),
            Some(rest) => {
                ctx.run_later(rest, |registry, ctx| registry.report_now(ctx));
            }
        }
    }

    fn report_now(&mut self, ctx: &mut Context<Self>) {
        self.reported_at = Some(Instant::now());
        self.reported_ticket = self.last_ticket;
        let changed = InterestChanged {
            worker: self.index,
            ticket: self.last_ticket,
            changes: self.unreported.drain().filter(|(_, by)| *by != 0).collect(),
        };
        let taken = self.bridge.send(changed).timeout(REPORT_LIMIT);
        let taken = taken.into_actor(self).map(|taken, registry, ctx| {
            registry.is_reporting = false;
            // Without a bridge that takes it the process is ending.
            if taken.is_ok() {
                registry.report([], ctx);
            }
        });
        ctx.spawn(taken);
    }

    /// Looks after every client. One that is closed listens no longer, though its session still has
    /// the close to see to.
    fn sweep(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let mark = self.mark.map(Mark::new);
        let mut closed = Vec::new();
        for (client, standing) in self.subscriptions.all_mut() {
            client.look_after(now, standing, mark.as_ref(), &self.config);
            if !client.line.socket.is_open() {
                closed.push(client.connection);
            }
        }
        closed.into_iter().for_each(|connection| self.forget(connection, ctx));
    }

    fn forget(&mut self, connection: ConnectionId, ctx: &mut Context<Self>) {
        let changes = self.subscriptions.detach(connection);
        self.eager.remove(&connection);
        self.report(changes, ctx);
    }
}

#[cfg(test)]
mod tests;
