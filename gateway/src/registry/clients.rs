//! The clients of one worker: performs the bridge's deliveries, and checks each client for signs of life.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::Addr;
use campanile_messages::link::{DirectOutcome, Gap, RequestTicket};
use campanile_messages::{Address, Audience, ConnectionId, Position, WorkerId};
use tokio::time::timeout;

use crate::access::Access;
use crate::bridge::{Bridge, DeliveryReport};
use crate::config::GatewayConfig;
use crate::connection::line::Line;
use crate::delivery::{Delivery, FoundEvents, ResumeOutcome};
use crate::dialects::{Framed, Greeting, Identity};
use crate::meters::{WorkerMeters, Written};
use crate::registry::batch::{Batch, Closed};
use crate::registry::client::{Client, FramedMark};
use crate::registry::counting::{Awaited, Counting};
use crate::registry::reply::{self, ClientEffect};
use crate::registry::subscriptions::{Step, Subscriptions};
use crate::report::StepTicket;
use crate::resume::Resumed;
use crate::trace::trail::Trail;
use crate::websocket::CloseCode;

/// How many steps are confirmed before the caller can look at the clock.
const CONFIRMED_AT_ONCE: usize = 256;

/// The longest time that a publisher waits for the outcome of a push to one connection.
const LONGEST_QUESTION: Duration = Duration::from_secs(60);

/// The clients of one worker, and what is needed to send to them.
pub struct Clients {
    pub subscriptions: Subscriptions<Client>,
    /// Assigned by the broker before the first connection is accepted.
    worker: Arc<OnceLock<WorkerId>>,
    config: Arc<GatewayConfig>,
    /// What this worker counts.
    meters: Arc<WorkerMeters>,
    /// Gets the reports about deliveries.
    bridge: Addr<Bridge>,
    /// How many slow readers the counted events of this worker wait for.
    awaited: Awaited,
    /// The last position up to which everything was delivered to this worker.
    mark: Option<Position>,
    /// Empty between calls; kept to reuse its memory.
    pub(super) effects: Vec<ClientEffect>,
    /// What is remembered for those who ask why a client did not get an event.
    pub trail: Trail,
}

impl Clients {
    pub fn new(
        worker: Arc<OnceLock<WorkerId>>,
        config: Arc<GatewayConfig>,
        bridge: Addr<Bridge>,
    ) -> Self {
        let trail = Trail::new(config.workers, Instant::now());
        Self {
            subscriptions: Subscriptions::new(config.max_groups),
            worker,
            meters: config.meters.add_worker(),
            config,
            bridge,
            awaited: Awaited::default(),
            mark: None,
            effects: Vec::new(),
            trail,
        }
    }

    /// The worker's id; `None` before the broker has given it one.
    pub fn id(&self) -> Option<WorkerId> {
        self.worker.get().copied()
    }

    /// The lines to all clients.
    pub fn lines(&mut self) -> Vec<Line> {
        self.subscriptions.all_mut().map(|(client, _)| client.line.clone()).collect()
    }

    /// The clients that may not stay under a new access, with the codes that tell them.
    pub fn shut_out(&mut self, access: &Access) -> Vec<(Line, CloseCode)> {
        let all = self.subscriptions.all_mut();
        let denied = all.filter_map(|(client, _)| {
            let rejection = access.shuts_out(&client.principal)?;
            Some((client.line.clone(), CloseCode::from(&rejection)))
        });
        denied.collect()
    }

    /// Gives clients the rights that they have under a new access. Returns those that may now be in groups
    /// that they have no right to.
    pub fn change_rights(&mut self, access: &Access) -> Vec<ConnectionId> {
        let all = self.subscriptions.all_mut();
        let changed = all.filter_map(|(client, _)| {
            client.principal = access.changes(&client.principal)?;
            Some(client.connection)
        });
        changed.collect()
    }

    /// Performs a delivery. An event that is followed by another one is not flushed yet. Returns the rest
    /// of a delivery that takes too long.
    pub fn perform(
        &mut self,
        delivery: Delivery,
        is_last_event: bool,
        batch: &mut Batch,
    ) -> Option<Delivery> {
        if !matches!(delivery, Delivery::Event(_)) {
            batch.flush(&self.subscriptions);
        }
        match delivery {
            Delivery::Event(event) => {
                let excepted = event.except_at(self.worker.get());
                let written = match is_last_event {
                    true => batch.deliver_last(&event, excepted, &self.subscriptions),
                    false => batch.deliver(&event, excepted, &self.subscriptions),
                };
                self.meters.wrote(written);
                self.reach_event(&event);
            }
            Delivery::Counted(ticket, within, event) => {
                self.count(ticket, within, &event, &mut batch.closed);
                self.reach_event(&event);
            }
            Delivery::Direct(ticket, connection, event) => {
                self.send_direct(ticket, connection, &event)
            }
            Delivery::Confirmed(ticket, position) => return self.confirm(ticket, position),
            Delivery::Resumed(ticket, found, position) => self.resume(ticket, found, position),
            Delivery::Mark(position) => {
                self.mark = Some(position);
                self.reach(position);
            }
            Delivery::Gap { gap, cursor, from } => self.report_gap(gap, cursor, from),
        }
        None
    }

    /// The last position up to which everything was delivered to this worker.
    pub fn mark(&self) -> Option<Position> {
        self.mark
    }

    /// What this worker counts.
    pub fn meters(&self) -> &WorkerMeters {
        &self.meters
    }

    /// The id of this worker; `None` until the gateway has had a link to its broker.
    pub fn worker(&self) -> Option<&WorkerId> {
        self.worker.get()
    }

    /// Checks every client for signs of life. Returns the clients that are closed: they no longer listen,
    /// although their sessions have yet to finish the close.
    pub fn sweep(&mut self, now: Instant) -> Vec<ConnectionId> {
        let mark = self.mark.map(FramedMark::new);
        let (mut closed, mut outbox_bytes) = (Vec::new(), 0);
        for (client, standing) in self.subscriptions.all_mut() {
            client.look_after(now, standing, mark.as_ref(), &self.config);
            let (is_open, waiting_bytes) = client.line.socket.standing();
            outbox_bytes += waiting_bytes as u64;
            if !is_open {
                closed.push(client.connection);
            }
        }
        self.meters.outbox_bytes.set(outbox_bytes);
        closed
    }

    /// Writes an event to its listeners, and reports the tally to the bridge once the outcome is known for
    /// all of them or the time is over. A task of its own waits for slow readers, so that they cost
    /// nothing in the meantime.
    fn count(
        &self,
        ticket: RequestTicket,
        within: Duration,
        event: &Framed,
        closed: &mut Vec<Closed>,
    ) {
        let excepted = event.except_at(self.worker.get());
        let mut written = Written::default();
        let (clients, awaited) = (&self.subscriptions, &self.awaited);
        let counting = Counting::deliver(event, excepted, clients, awaited, &mut written, closed);
        self.meters.wrote(written);
        let bridge = self.bridge.clone();
        match counting {
            Ok(tally) => bridge.do_send(DeliveryReport::Counted(ticket, tally)),
            Err(counting) => drop(actix_rt::spawn(async move {
                let tally = counting.finish(within).await;
                bridge.do_send(DeliveryReport::Counted(ticket, tally));
            })),
        }
    }

    fn send_direct(&self, ticket: RequestTicket, connection: ConnectionId, event: &Framed) {
        let report = move |outcome| DeliveryReport::Direct(ticket, outcome);
        let Some(client) = self.subscriptions.get(connection).filter(|c| c.line.socket.is_open())
        else {
            self.bridge.do_send(report(DirectOutcome::UnknownConnection));
            return;
        };
        let frame = event.frame(client.line.dialect);
        if client.line.deliver(frame) {
            self.meters.wrote(Written { events: 1, bytes: frame.len() as u64 });
        }
        match client.line.socket.written() {
            None if client.line.socket.is_open() => {
                self.bridge.do_send(report(DirectOutcome::Written))
            }
            None => self.bridge.do_send(report(DirectOutcome::NotWritten)),
            Some(written) => {
                let bridge = self.bridge.clone();
                actix_rt::spawn(async move {
                    match timeout(LONGEST_QUESTION, written).await {
                        Ok(Ok(())) => bridge.do_send(report(DirectOutcome::Written)),
                        Ok(Err(_)) => bridge.do_send(report(DirectOutcome::NotWritten)),
                        // Nobody waits for the answer any more.
                        Err(_) => {}
                    }
                });
            }
        }
    }

    fn report_gap(&mut self, gap: Gap, cursor: Position, position: Position) {
        self.mark = Some(position);
        self.note_gap(gap, cursor, position);
        self.subscriptions.all_mut().for_each(|(client, _)| client.send_gap(gap, position));
    }

    fn confirm(&mut self, up_to: StepTicket, position: Position) -> Option<Delivery> {
        // After a confirmation, the broker sends no separate mark for this position.
        self.mark = Some(position);
        self.reach(position);
        let done = self.subscriptions.confirm(up_to, CONFIRMED_AT_ONCE);
        // If there are more, they come next, before any later delivery.
        let is_full = done.len() == CONFIRMED_AT_ONCE;
        for (step, resumed) in done {
            self.complete(&step, resumed, position);
        }
        is_full.then_some(Delivery::Confirmed(up_to, position))
    }

    fn complete(&mut self, step: &Step, resumed: Option<Resumed>, position: Position) {
        let standing = self.subscriptions.standing(step.connection());
        reply::confirmed(step, resumed, standing, position, &mut self.effects);
        if resumed.is_some() {
            self.note_malformed(step, position);
        }
        self.perform_effects(step.connection());
    }

    /// Completes the step of a returning client. Missed events do not count for the bound of its outbox;
    /// they have a bound of their own.
    fn resume(&mut self, ticket: StepTicket, found: ResumeOutcome, position: Position) {
        self.reach(position);
        let Some((step, start)) = self.subscriptions.resume(ticket) else { return };
        let connection = step.connection();
        let Some(client) = self.subscriptions.get(connection) else { return };
        let worker = self.worker.get();
        // The missed events may include one that was published to all but this connection.
        let found = found.map(|FoundEvents { mut events, is_complete }| {
            events.retain(|event| event.except_at(worker) != Some(connection));
            FoundEvents { events, is_complete }
        });
        let standing = self.subscriptions.standing(connection);
        let has_room = || client.has_room(&self.config);
        reply::resumed(&step, start, found, standing, position, has_room, &mut self.effects);
        self.note_resumed(&step, start, position);
        self.perform_effects(connection);
    }

    /// Performs the effects for one client.
    fn perform_effects(&mut self, connection: ConnectionId) {
        let effects = self.effects.drain(..);
        let (Some(client), Some(&worker)) = (self.subscriptions.get(connection), self.worker.get())
        else {
            return;
        };
        let count = |resumed: Option<Resumed>| {
            if let Some(resumed) = resumed {
                self.config.meters.resumes.count(resumed.into());
            }
        };
        for effect in effects {
            match effect {
                ClientEffect::Greet { position, resumed, history } => {
                    count(resumed);
                    let address = Address { worker, connection };
                    let named =
                        || self.subscriptions.user(connection).map(|user| Identity::named(user));
                    let identity = client.identity().or_else(named);
                    client.greet(&Greeting { address, position, resumed, history, identity });
                }
                ClientEffect::Replay(events) => self.meters.wrote(client.replay(&events)),
                ClientEffect::SendJoined(Audience::Group(group), resumed) => {
                    count(resumed);
                    client.send_joined(&group, resumed);
                }
                // A client can only join groups.
                ClientEffect::SendJoined(Audience::Everyone | Audience::User(_), _) => {}
                ClientEffect::SendPosition(position) => client.send_position(position),
            }
        }
    }
}
