//! A client as the registry of its worker sees it, and a batch of what is written to many of them.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use campanile_channel::Full;
use campanile_channel::watchdog::Pulse;
use campanile_edge::websocket::{Opcode, frame};
use campanile_messages::link::Gap;
use campanile_messages::{Address, ConnectionId, GroupName, Position};
use tokio::sync::oneshot;

use crate::config::GatewayConfig;
use crate::delivery::Framed;
use crate::event_stream;
use crate::history::SaidHistory;
use crate::liveness::{Liveness, Verdict};
use crate::protocol::{self, Protocol, Resumed, Welcome};
use crate::resumes::Found;
use crate::socket::{Sent, Socket, Waiting};
use crate::subscriptions::{Standing, Subscriptions};
use crate::websocket::CloseCode;

/// A batch is flushed at the latest when it holds this much: what waits in an outbox longer than it
/// must is memory.
const FLUSH_EVERY_BYTES: usize = 128 << 10;

/// An event stream's client waits between these before it comes back, in milliseconds: not all of
/// them come at once, and none of them again and again.
const RETRY_MILLIS: RangeInclusive<u32> = 500..=3_000;

/// How many clients are flushed between two beats: some 50 ms, if each takes 128 KiB.
const BEAT_EVERY: usize = 1_024;

/// Where and how to write to a client, and when it was last asked for a sign of life.
#[derive(Debug)]
pub struct Client {
    /// Its number at this worker.
    pub connection: ConnectionId,
    /// Where to write.
    pub socket: Arc<Socket>,
    /// How to write.
    pub protocol: Protocol,
    attached: Instant,
    asked: Option<Instant>,
    /// When it was last told where it stands.
    marked: Instant,
    /// The sequence of the last position that it has; plain clients have none.
    told: Cell<u64>,
    /// The sequence of the last event that it was left out of: it is to be told a position from there
    /// on soon. Settled when `told` has come this far.
    owed: Cell<u64>,
}

/// What became of a counted event.
#[derive(Debug)]
pub enum Fate {
    /// Its last byte is in the kernel.
    Written,
    /// It waits for the client to read.
    Waits(oneshot::Receiver<()>),
    /// The client was closed: it reads too slowly.
    TooSlow,
    /// The connection is ending.
    Gone,
}

/// Where the stream stands, in every protocol that says so.
#[derive(Debug)]
pub struct Mark {
    position: Position,
    v1: Bytes,
    stream: Bytes,
}

impl Mark {
    /// Nothing is missing up to here.
    pub fn new(position: Position) -> Self {
        let (v1, stream) = (protocol::position(position), event_stream::position(position));
        Self { position, v1, stream }
    }
}

/// How long a client is to wait before it comes back.
pub fn retry_millis() -> u32 {
    rand::random_range(RETRY_MILLIS)
}

/// The last bytes to a client of a protocol.
pub fn last_words(protocol: Protocol, code: CloseCode) -> Bytes {
    match protocol {
        Protocol::Plain | Protocol::V1 => code.frame(),
        Protocol::Events => event_stream::retry(retry_millis()),
    }
}

impl Client {
    /// A client that has just come.
    pub fn new(
        connection: ConnectionId,
        socket: Arc<Socket>,
        protocol: Protocol,
        now: Instant,
    ) -> Self {
        let (told, owed) = (Cell::new(0), Cell::new(0));
        Self { connection, socket, protocol, attached: now, asked: None, marked: now, told, owed }
    }

    /// Tells the client to go, after or without what waits for it.
    pub fn close(&self, code: CloseCode, waiting: Waiting) {
        self.socket.close(last_words(self.protocol, code), waiting);
    }

    /// Writes a frame at once. A client for which too much waits is closed.
    pub fn send(&self, frame: &Bytes) {
        self.settle(self.socket.send_now(frame));
    }

    /// Sends the first message: who the client is, and where its stream begins.
    pub fn greet(&self, address: Address, position: Position, resumed: Option<Resumed>) {
        self.welcome(address, position, Welcome::new(address, position, resumed));
    }

    /// The same to a new listener, and what it is to hear of the past.
    pub fn greet_with_history(&self, address: Address, cursor: Position, found: &Found) {
        // Where it is lost before all of that has come, it goes on in front of the next.
        let before = |first: &Arc<Framed>| first.sequence().saturating_sub(1);
        let sequence = found.events.first().map_or(cursor.sequence, before);
        let position = Position { sequence, ..cursor };
        let history = SaidHistory { events: found.len(), complete: found.is_complete };
        let welcome = Welcome::new(address, position, None).with_history(history);
        self.welcome(address, position, welcome);
        self.replay(&found.events);
    }

    fn welcome(&self, address: Address, position: Position, welcome: Welcome) {
        self.told.set(position.sequence);
        self.send(&match self.protocol {
            Protocol::Plain => greeting(address),
            Protocol::V1 => protocol::welcome(welcome),
            Protocol::Events => event_stream::sync(&welcome, position),
        });
        self.socket.release();
    }

    /// Whether the client may be sent what it has missed: not while more waits for it than its
    /// outbox takes, or a client that does not read could ask again and again.
    pub fn has_room(&self, config: &GatewayConfig) -> bool {
        self.socket.held_bytes() <= config.max_outbox_bytes
    }

    /// Sends what the client has missed, past the bound of its outbox.
    pub fn replay(&self, events: &[Arc<Framed>]) {
        if events.is_empty() {
            return;
        }
        let last = events.iter().map(|event| event.sequence()).max().unwrap_or(0);
        self.told.set(self.told.get().max(last));
        self.socket.replay(events.iter().map(|event| event.frame(self.protocol).clone()));
    }

    /// The client listens to a group that it has asked for.
    pub fn tell_joined(&self, group: &GroupName, resumed: Option<Resumed>) {
        self.send(&protocol::joined(group, resumed));
    }

    /// Nothing is missing up to here.
    pub fn tell_position(&self, position: Position) {
        self.told.set(position.sequence);
        self.send(&protocol::position(position));
    }

    /// Events may be missing here.
    pub fn tell_gap(&self, gap: Gap, position: Position) {
        self.told.set(position.sequence);
        match self.protocol {
            Protocol::Plain => {}
            Protocol::V1 => self.send(&protocol::gap(gap, position)),
            Protocol::Events => self.send(&event_stream::gap(gap, position)),
        }
    }

    /// Writes an event at once, and tells what became of it.
    pub fn send_counted(&self, event: &Framed) -> Fate {
        self.note(event);
        self.send(event.frame(self.protocol));
        match self.socket.written() {
            Some(written) if self.socket.is_open() => Fate::Waits(written),
            None if self.socket.is_open() => Fate::Written,
            _ if self.socket.is_overrun() => Fate::TooSlow,
            _ => Fate::Gone,
        }
    }

    /// Closes a client that was silent, or waited for the broker, for too long; asks one that was
    /// silent for a while; tells one that hears little where it stands.
    pub fn look_after(
        &mut self,
        now: Instant,
        standing: Standing,
        mark: Option<&Mark>,
        config: &GatewayConfig,
    ) {
        let GatewayConfig { ping_after, silence_limit, handshake_limit, .. } = *config;
        if standing == Standing::Pending {
            // Its handshake need not wait any longer for the broker.
            self.socket.release();
            if now.saturating_duration_since(self.attached) > handshake_limit {
                self.close(CloseCode::Unconfirmed, Waiting::Flush);
            }
        } else if now.saturating_duration_since(self.marked) >= ping_after
            || standing == Standing::Settled && self.is_owed(mark)
        {
            self.marked = now;
            self.mark(mark.filter(|_| standing == Standing::Settled));
        }
        if self.protocol == Protocol::Events {
            // It cannot answer; a peer that is gone acknowledges nothing of what it is sent.
            return;
        }
        let liveness = Liveness { ping_after, silence_limit };
        match liveness.judge(now, self.socket.heard(), self.asked) {
            Verdict::Fine => {}
            Verdict::Gone => self.close(CloseCode::Silent, Waiting::Drop),
            Verdict::Ask => {
                self.asked = Some(now);
                self.send(&frame(Opcode::Ping, b""));
            }
        }
    }

    fn mark(&self, mark: Option<&Mark>) {
        let news = mark.filter(|mark| mark.position.sequence > self.told.get());
        match (self.protocol, news) {
            (Protocol::Plain, _) | (Protocol::V1, None) => {}
            (Protocol::V1, Some(mark)) => self.send(&mark.v1),
            (Protocol::Events, Some(mark)) => self.send(&mark.stream),
            (Protocol::Events, None) => self.send(&event_stream::COMMENT),
        }
        if let Some(mark) = news {
            self.told.set(mark.position.sequence);
        }
    }

    /// The client does not get this event, and has to learn its position otherwise.
    fn leave_out(&self, event: &Framed) {
        if self.protocol != Protocol::Plain {
            self.owed.set(event.sequence());
        }
    }

    fn is_owed(&self, mark: Option<&Mark>) -> bool {
        let owed = self.owed.get();
        owed > self.told.get() && mark.is_some_and(|mark| mark.position.sequence >= owed)
    }

    /// The client has this event's position.
    fn note(&self, event: &Framed) {
        if self.protocol != Protocol::Plain {
            self.told.set(event.sequence());
        }
    }

    /// The one place where a listener is found to be too slow.
    fn settle<T>(&self, sent: Result<T, Full>) -> Option<T> {
        sent.inspect_err(|_| self.close(CloseCode::TooSlow, Waiting::Drop)).ok()
    }
}

/// The first frame of the plain mode, as the seed sends it.
fn greeting(Address { worker, connection }: Address) -> Bytes {
    let text = format!("workerID:{worker} connectionID:{connection} connected\n");
    frame(Opcode::Text, text.as_bytes())
}

/// Calls `deliver` for each listener of an event but the `excepted` one of this worker. Returns
/// whether there was such a one, and it is open. An event without exceptions costs its listeners
/// nothing for that.
pub fn for_each_receiver(
    event: &Framed,
    excepted: Option<ConnectionId>,
    clients: &Subscriptions<Client>,
    mut deliver: impl FnMut(usize, &Client),
) -> bool {
    let Some(audience) = event.audience() else { return false };
    let Some(excepted) = excepted else {
        clients.for_each_listener(audience, deliver);
        return false;
    };
    let mut left_out = false;
    clients.for_each_listener(audience, |slot, client| {
        if client.connection == excepted {
            client.leave_out(event);
            left_out = client.socket.is_open();
        } else {
            deliver(slot, client);
        }
    });
    left_out
}

/// Clients that were written to and not flushed: many events become one write each.
#[derive(Debug)]
pub struct Batch {
    /// Of the registry that writes.
    pulse: Rc<Pulse>,
    touched: Vec<usize>,
    bytes: usize,
    /// Clients that were closed because they read too slowly.
    pub closed: Vec<ConnectionId>,
}

impl Batch {
    /// Nothing was written yet. The pulse beats within a long flush.
    pub fn new(pulse: Rc<Pulse>) -> Self {
        Self { pulse, touched: Vec::new(), bytes: 0, closed: Vec::new() }
    }

    /// Adds an event to the outbox of each of its listeners, where it waits for others to come.
    pub fn deliver(
        &mut self,
        framed: &Framed,
        excepted: Option<ConnectionId>,
        clients: &Subscriptions<Client>,
    ) {
        let mut len_bytes = 0;
        for_each_receiver(framed, excepted, clients, |slot, client| {
            client.note(framed);
            let frame = framed.frame(client.protocol);
            len_bytes = len_bytes.max(frame.len());
            match client.settle(client.socket.send(frame)) {
                Some(Sent::First) => self.touched.push(slot),
                Some(Sent::Behind | Sent::Ending) => {}
                None => self.closed.push(client.connection),
            }
        });
        self.bytes += len_bytes;
        if self.bytes >= FLUSH_EVERY_BYTES {
            self.flush(clients);
        }
    }

    /// Sends an event behind which there are no others yet, and all that waits for it.
    pub fn deliver_last(
        &mut self,
        framed: &Framed,
        excepted: Option<ConnectionId>,
        clients: &Subscriptions<Client>,
    ) {
        for_each_receiver(framed, excepted, clients, |_, client| {
            client.note(framed);
            let frame = framed.frame(client.protocol);
            if client.settle(client.socket.send_now(frame)).is_none() {
                self.closed.push(client.connection);
            }
        });
        self.flush(clients);
    }

    /// Writes what was added.
    pub fn flush(&mut self, clients: &Subscriptions<Client>) {
        for (place, slot) in self.touched.drain(..).enumerate() {
            if place % BEAT_EVERY == 0 {
                self.pulse.beat();
            }
            if let Some(client) = clients.in_slot(slot) {
                client.socket.flush();
            }
        }
        self.bytes = 0;
    }
}
