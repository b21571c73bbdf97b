//! A client as the registry of its worker sees it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use campanile_edge::Principal;
use campanile_messages::link::Gap;
use campanile_messages::{ConnectionId, GroupName, Position};
use tokio::sync::oneshot;

use crate::config::GatewayConfig;
use crate::connection::line::Line;
use crate::connection::liveness::{Liveness, Verdict};
use crate::connection::socket::Unsent;
use crate::dialects::{Dialect, Framed, Greeting};
use crate::registry::subscriptions::Standing;
use crate::resume::Resumed;
use crate::websocket::CloseCode;

/// Where and how to write to a client, and when it was last asked for a sign of life.
#[derive(Debug)]
pub struct Client {
    pub connection: ConnectionId,
    pub line: Line,
    /// Who the client is.
    pub principal: Principal,
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
pub enum WriteOutcome {
    /// Its last byte is in the kernel.
    Written,
    /// It waits for the client to read.
    Waits(oneshot::Receiver<()>),
    /// The client was closed: it reads too slowly.
    TooSlow,
    /// The connection is ending.
    Gone,
}

/// Where the stream stands, in every dialect that says so.
#[derive(Debug)]
pub struct FramedMark {
    position: Position,
    frames: [Option<Bytes>; Dialect::ALL.len()],
}

impl FramedMark {
    /// Nothing is missing up to here.
    pub fn new(position: Position) -> Self {
        Self { position, frames: Dialect::ALL.map(|dialect| dialect.rules().position(position)) }
    }
}

impl Client {
    pub fn new(connection: ConnectionId, line: Line, principal: Principal, now: Instant) -> Self {
        let (told, owed) = (Cell::new(0), Cell::new(0));
        Self { connection, line, principal, attached: now, asked: None, marked: now, told, owed }
    }

    /// Sends the first message, and lets others follow.
    pub fn greet(&self, greeting: &Greeting) {
        self.told.set(greeting.position.sequence);
        self.line.greet(self.line.rules().greeting(greeting));
    }

    /// Whether the client may be sent what it has missed: not while more waits for it than its
    /// outbox takes, or a client that does not read could ask again and again.
    pub fn has_room(&self, config: &GatewayConfig) -> bool {
        self.line.socket.held_bytes() <= config.max_outbox_bytes
    }

    /// Sends what the client has missed, past the bound of its outbox.
    pub fn replay(&self, events: &[Arc<Framed>]) {
        if events.is_empty() {
            return;
        }
        let last = events.iter().map(|event| event.sequence()).max().unwrap_or(0);
        self.told.set(self.told.get().max(last));
        self.line.socket.replay(events.iter().map(|event| event.frame(self.line.dialect).clone()));
    }

    /// The client listens to a group that it has asked for.
    pub fn send_joined(&self, group: &GroupName, resumed: Option<Resumed>) {
        self.line.say(self.line.rules().joined(group, resumed));
    }

    /// Nothing is missing up to here.
    pub fn send_position(&self, position: Position) {
        self.told.set(position.sequence);
        self.line.say(self.line.rules().position(position));
    }

    /// Events may be missing here.
    pub fn send_gap(&self, gap: Gap, position: Position) {
        self.told.set(position.sequence);
        self.line.say(self.line.rules().gap(gap, position));
    }

    /// Writes an event at once, and tells what became of it.
    pub fn send_counted(&self, event: &Framed) -> WriteOutcome {
        self.note(event);
        self.line.send(event.frame(self.line.dialect));
        match self.line.socket.written() {
            Some(written) if self.line.socket.is_open() => WriteOutcome::Waits(written),
            None if self.line.socket.is_open() => WriteOutcome::Written,
            _ if self.line.socket.is_overrun() => WriteOutcome::TooSlow,
            _ => WriteOutcome::Gone,
        }
    }

    /// Closes a client that was silent, or waited for the broker, for too long; asks one that was
    /// silent for a while; tells one that hears little where it stands.
    pub fn look_after(
        &mut self,
        now: Instant,
        standing: Standing,
        mark: Option<&FramedMark>,
        config: &GatewayConfig,
    ) {
        let GatewayConfig { ping_after, silence_limit, handshake_limit, .. } = *config;
        if standing == Standing::Pending {
            // Its handshake need not wait any longer for the broker.
            self.line.socket.release();
            if now.saturating_duration_since(self.attached) > handshake_limit {
                self.line.close(CloseCode::Unconfirmed, Unsent::Flush);
            }
        } else if now.saturating_duration_since(self.marked) >= ping_after
            || standing == Standing::Settled && self.is_owed(mark)
        {
            self.marked = now;
            self.mark(mark.filter(|_| standing == Standing::Settled));
        }
        let Some(ping) = self.line.rules().ping() else { return };
        let liveness = Liveness { ping_after, silence_limit };
        match liveness.judge(now, self.line.socket.heard(), self.asked) {
            Verdict::Fine => {}
            Verdict::Gone => self.line.close(CloseCode::Silent, Unsent::Drop),
            Verdict::Ask => {
                self.asked = Some(now);
                self.line.send_control(&ping);
            }
        }
    }

    fn mark(&self, mark: Option<&FramedMark>) {
        match mark.filter(|mark| mark.position.sequence > self.told.get()) {
            None => self.line.say(self.line.rules().keep_alive()),
            Some(mark) => {
                self.line.say(mark.frames[self.line.dialect as usize].clone());
                self.told.set(mark.position.sequence);
            }
        }
    }

    /// The client does not get this event, and has to learn its position otherwise.
    pub fn leave_out(&self, event: &Framed) {
        if self.line.dialect.has_positions() {
            self.owed.set(event.sequence());
        }
    }

    fn is_owed(&self, mark: Option<&FramedMark>) -> bool {
        let owed = self.owed.get();
        owed > self.told.get() && mark.is_some_and(|mark| mark.position.sequence >= owed)
    }

    /// The client has this event's position.
    pub fn note(&self, event: &Framed) {
        if self.line.dialect.has_positions() {
            self.told.set(event.sequence());
        }
    }
}
