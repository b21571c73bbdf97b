//! The registry of one worker: knows every session of its thread and what each of them listens to, and
//! writes events straight to their sockets.
//!
//! Receives from its sessions (attach, join, leave, detach) and, through [`Deliveries`], from the bridge.
//! Sends to the sockets and to the bridge. Runs on the worker's thread. Bounded by: one message in flight
//! per session, the bytes of `Deliveries`, and one report in flight to the bridge.

mod awaited_ends;
mod batch;
mod client;
mod clients;
mod counting;
mod described;
mod in_hand;
mod inquiries;
mod join_answer;
mod leaving;
mod publishing;
mod renewal;
pub(crate) mod reply;
pub(crate) mod reporter;
pub mod subscriptions;
mod tokens;
mod traces;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::watchdog::{Pulse, attend};
use campanile_edge::Principal;
use campanile_messages::inquiry::DisconnectedSummary;
use campanile_messages::{Audience, ConnectionId, GroupName, UserName, WorkerId};
use tokio::sync::oneshot;

use crate::bridge::interest::MAX_AUDIENCES;
use crate::bridge::{Bridge, CaughtUp, InterestChanged};
use crate::config::GatewayConfig;
use crate::connection::line::Line;
use crate::connection::socket::Unsent;
use crate::delivery::{Deliveries, Signal};
use crate::publishing::Desk;
use crate::registry::awaited_ends::AwaitedEnds;
use crate::registry::batch::{Batch, Closed};
use crate::registry::client::Client;
use crate::registry::clients::Clients;
use crate::registry::in_hand::InHand;
use crate::registry::leaving::Leaving;
use crate::registry::reporter::Reporter;
use crate::registry::subscriptions::Joining;
use crate::registry::tokens::AccessChanged;
use crate::resume::Since;
use crate::trace::ended::ConnectionEnd;
use crate::websocket::CloseCode;

pub(crate) use join_answer::JoinAnswer;
pub(crate) use publishing::{AskToPublish, Permit};
pub(crate) use tokens::Renew;

/// How often clients are checked for signs of life.
const SWEEP: Duration = Duration::from_secs(1);

/// How long deliveries are performed before the sessions and timers of this thread get their turn.
const DELIVERIES_TURN: Duration = Duration::from_millis(50);

/// The actor that knows every session of one worker.
pub(crate) struct Registry {
    /// The index of its worker, from 0.
    index: usize,
    /// Beats within a long turn, too.
    pulse: Rc<Pulse>,
    bridge: Addr<Bridge>,
    clients: Clients,
    in_hand: InHand,
    /// How many audiences the gateway listens to; written by the bridge.
    audiences: Arc<AtomicUsize>,
    reporter: Reporter,
    /// Whether deliveries pause until everybody else on this thread had a turn.
    is_resting: bool,
    leaving: Leaving,
    /// Operators who wait for connections to end.
    awaited_ends: AwaitedEnds<oneshot::Sender<DisconnectedSummary>>,
    /// Where clients hand in what they publish.
    desk: Arc<Desk>,
    config: Arc<GatewayConfig>,
    /// Of how many connections the bridge is asked what was not written to them.
    unsent_asked: usize,
}

impl Registry {
    /// Creates the registry of worker `index`, which gets its deliveries from `bridge`.
    pub fn new(
        index: usize,
        worker: Arc<OnceLock<WorkerId>>,
        config: Arc<GatewayConfig>,
        deliveries: Deliveries,
        bridge: Addr<Bridge>,
        audiences: Arc<AtomicUsize>,
        desk: Arc<Desk>,
    ) -> Self {
        let pulse = Rc::new(config.watchdog.watch(format!("registry {index}")));
        Self {
            index,
            clients: Clients::new(worker, config.clone(), bridge.clone()),
            pulse,
            bridge,
            in_hand: InHand::new(deliveries),
            audiences,
            reporter: Reporter::default(),
            is_resting: false,
            leaving: Leaving::default(),
            awaited_ends: AwaitedEnds::default(),
            desk,
            config,
            unsent_asked: 0,
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        attend(ctx, self.pulse.clone());
        let (mut access, registry) = (self.config.access.clone(), ctx.address());
        ctx.spawn(actix::fut::wrap_future(async move {
            while access.changed().await.is_ok() {
                registry.do_send(AccessChanged);
            }
        }));
        ctx.run_interval(SWEEP, |registry, ctx| {
            let closed = registry.clients.sweep(Instant::now());
            closed.into_iter().for_each(|connection| registry.forget(connection, ctx));
        });
    }
}

/// Attaches a new connection. It is greeted when the broker has confirmed its interest.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Attach {
    /// Its id at this worker.
    pub connection: ConnectionId,
    pub line: Line,
    pub principal: Principal,
    /// The groups that it listens to, without repeats.
    pub groups: Vec<GroupName>,
    /// The user that it is, whose events it gets, too.
    pub user: Option<UserName>,
    /// Where its stream begins; `None` for now.
    pub since: Option<Since>,
}

impl Handler<Attach> for Registry {
    type Result = ();

    fn handle(&mut self, attach: Attach, ctx: &mut Self::Context) {
        let Attach { connection, line, principal, groups, user, since } = attach;
        let groups = groups.into_iter().map(Audience::Group);
        let mut audiences: Vec<_> = groups.chain(user.map(Audience::User)).collect();
        if let Some(code) = self.leaving.code() {
            line.close(code, Unsent::Flush);
        } else if !audiences.is_empty() && self.is_full() {
            line.close(CloseCode::GatewayFull, Unsent::Flush);
            audiences.clear();
        }
        self.clients.trail.newest = connection;
        let mut client = Client::new(connection, line, principal, Instant::now());
        self.welcome(&mut client, &audiences);
        let ticket = self.reporter.next_ticket();
        let changed =
            self.clients.subscriptions.attach(connection, audiences, since, client, ticket);
        self.reporter.add_step(changed);
        self.report(ctx);
    }
}

/// Lets a connection join a group, with a position if it wants the events that it missed. The client
/// gets `joined` when the broker has confirmed the join, unless the [`JoinAnswer`] says otherwise.
#[derive(Debug, Message)]
#[rtype(result = "JoinAnswer")]
pub(crate) struct Join(pub ConnectionId, pub GroupName, pub Option<Since>);

impl Handler<Join> for Registry {
    type Result = MessageResult<Join>;

    fn handle(&mut self, join: Join, ctx: &mut Self::Context) -> Self::Result {
        let Join(connection, group, since) = join;
        let client = self.clients.subscriptions.get(connection);
        let principal = client.map(|client| &client.principal);
        if let Some(refusal) = JoinAnswer::refusal(principal, &group, self.is_full()) {
            return MessageResult(refusal);
        }
        let ticket = self.reporter.next_ticket();
        let group = Audience::Group(group);
        let joining = self.clients.subscriptions.join(connection, group, since, ticket);
        let answer = JoinAnswer::to(&joining, since.is_some());
        if let Joining::Begun(changed) = joining {
            self.reporter.add_step(changed);
            self.report(ctx);
        }
        MessageResult(answer)
    }
}

/// Lets a connection leave a group.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Leave(pub ConnectionId, pub GroupName);

impl Handler<Leave> for Registry {
    type Result = ();

    fn handle(&mut self, Leave(connection, group): Leave, ctx: &mut Self::Context) {
        let left = self.clients.leave(connection, &Audience::Group(group));
        self.reporter.add(left.unwrap_or_default());
        self.report(ctx);
    }
}

/// Forgets a connection that is gone. Does nothing if it is forgotten already.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Detach {
    pub connection: ConnectionId,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// How it ended.
    pub end: ConnectionEnd,
}

impl Handler<Detach> for Registry {
    type Result = ();

    fn handle(&mut self, detach: Detach, ctx: &mut Self::Context) {
        let Detach { connection, address, end } = detach;
        self.forget(connection, ctx);
        let is_kept = self.clients.trail.ended.complete(connection, address, end, Instant::now());
        if is_kept && end.unsent_bytes > 0 {
            self.find_unsent(connection, ctx);
        }
        self.note_end(connection);
    }
}

impl Handler<Signal> for Registry {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        match signal {
            // An actor handles messages before timers and everything else: if each message were
            // answered with a turn of deliveries, nothing else would get one.
            Signal::Deliver if self.is_resting => {}
            Signal::Deliver => self.perform_deliveries(ctx),
            Signal::Drain { over, code } => self.drain(over, code, ctx),
            Signal::Stay => self.leaving.stay(),
        }
    }
}

impl Registry {
    fn drain(&mut self, over: Duration, code: CloseCode, ctx: &mut Context<Self>) {
        let lines = self.clients.lines();
        for (after, some) in self.leaving.begin(code, lines.len(), over) {
            let some = lines[some].to_vec();
            ctx.run_later(after, move |registry, _| {
                if registry.leaving.is_for(code) {
                    some.iter().for_each(|line| line.close(code, Unsent::Flush));
                }
            });
        }
    }

    /// Performs the bridge's deliveries, in order and in turns of limited length.
    fn perform_deliveries(&mut self, ctx: &mut Context<Self>) {
        let turn_ends = Instant::now() + DELIVERIES_TURN;
        let mut batch = Batch::new(self.pulse.clone());
        while let Some(delivery) = self.in_hand.next() {
            // With a hundred thousand clients, one delivery can take as long as a turn of the watchdog.
            self.pulse.beat();
            let is_last_event = !self.in_hand.is_event_next();
            if let Some(rest) = self.clients.perform(delivery, is_last_event, &mut batch) {
                self.in_hand.put_back(rest);
            }
            if let Some(received) = self.in_hand.take_written() {
                self.clients.meters().delivery_duration.observe(received.elapsed());
            }
            if self.in_hand.performed() {
                self.bridge.do_send(CaughtUp);
            }
            if Instant::now() >= turn_ends {
                self.rest(ctx);
                break;
            }
        }
        batch.flush(&self.clients.subscriptions);
        batch.closed.into_iter().for_each(|closed| self.forget_closed(closed, ctx));
    }

    /// Lets the sessions and timers of this thread have a turn, then continues.
    fn rest(&mut self, ctx: &mut Context<Self>) {
        self.is_resting = true;
        let others = tokio::task::yield_now().into_actor(self);
        ctx.spawn(others.map(|(), registry, ctx| {
            registry.is_resting = false;
            registry.perform_deliveries(ctx);
        }));
    }

    /// Whether the gateway listens to as many audiences as it may.
    fn is_full(&self) -> bool {
        let reported = self.audiences.load(Ordering::Relaxed);
        reported + self.reporter.changed_audiences() >= MAX_AUDIENCES
    }

    /// Sends the next report to the bridge, now or when it is due.
    fn report(&mut self, ctx: &mut Context<Self>) {
        match self.reporter.begin(Instant::now()) {
            None => {}
            Some(Duration::ZERO) => self.report_now(ctx),
            Some(rest) => drop(ctx.run_later(rest, |registry, ctx| registry.report_now(ctx))),
        }
    }

    fn report_now(&mut self, ctx: &mut Context<Self>) {
        let report = self.reporter.take(Instant::now());
        let changed = InterestChanged { worker: self.index, report };
        // Without a time limit: if a report were given up, its changes would be lost, and a bridge that
        // hangs is ended by the watchdog.
        let received = self.bridge.send(changed).into_actor(self);
        ctx.spawn(received.map(|received, registry, ctx| {
            // If the bridge is gone, the process is ending.
            if received.is_ok() {
                registry.reporter.received();
                registry.report(ctx);
            }
        }));
    }

    fn forget(&mut self, connection: ConnectionId, ctx: &mut Context<Self>) {
        self.clients.note_end(connection, None);
        self.detach(connection, ctx);
    }

    /// Forgets a connection that did not get an event, because it is closed.
    fn forget_closed(&mut self, closed: Closed, ctx: &mut Context<Self>) {
        self.clients.note_end(closed.connection, Some(closed));
        self.detach(closed.connection, ctx);
        if closed.is_overrun {
            self.find_unsent(closed.connection, ctx);
        }
    }

    fn detach(&mut self, connection: ConnectionId, ctx: &mut Context<Self>) {
        self.reporter.add(self.clients.subscriptions.detach(connection));
        self.report(ctx);
    }
}

#[cfg(test)]
mod tests;
