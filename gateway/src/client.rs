//! A client as the registry of its worker sees it, and a batch of what is written to many of them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use campanile_channel::Full;
use campanile_messages::{Address, ConnectionId, Position};

use crate::config::GatewayConfig;
use crate::delivery::Framed;
use crate::liveness::{Liveness, Verdict};
use crate::protocol;
use crate::socket::{Sent, Socket, Waiting};
use crate::subscriptions::Subscriptions;
use crate::websocket::CloseCode;
use crate::websocket::encode::{self, Opcode};
use crate::websocket::handshake::Protocol;

/// A batch is flushed at the latest when it holds this much: what waits in an outbox longer than it
/// must is memory.
const FLUSH_EVERY_BYTES: usize = 128 << 10;

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
}

impl Client {
    /// A client that has just come.
    pub fn new(
        connection: ConnectionId,
        socket: Arc<Socket>,
        protocol: Protocol,
        now: Instant,
    ) -> Self {
        Self { connection, socket, protocol, attached: now, asked: None }
    }

    /// Tells the client to go, after or without what waits for it.
    pub fn close(&self, code: CloseCode, waiting: Waiting) {
        self.socket.close(encode::close(code), waiting);
    }

    /// Writes a frame at once. A client for which too much waits is closed.
    pub fn send(&self, frame: &Bytes) {
        self.settle(self.socket.send_now(frame));
    }

    /// Sends the first message: who the client is, and in `campanile.v1` where its stream begins.
    pub fn greet(&self, address: Address, position: Position) {
        self.send(&match self.protocol {
            Protocol::Plain => greeting(address),
            Protocol::V1 => protocol::welcome(address, position),
        });
    }

    /// Closes a client that was silent, or waited for the broker, for too long; asks one that was
    /// silent for a while.
    pub fn look_after(&mut self, now: Instant, is_confirmed: bool, config: &GatewayConfig) {
        let GatewayConfig { ping_after, silence_limit, handshake_limit, .. } = *config;
        if !is_confirmed && now.saturating_duration_since(self.attached) > handshake_limit {
            self.close(CloseCode::TryAgainLater, Waiting::Flush);
        }
        let liveness = Liveness { ping_after, silence_limit };
        match liveness.judge(now, self.socket.heard(), self.asked) {
            Verdict::Fine => {}
            Verdict::Gone => self.close(CloseCode::Silent, Waiting::Drop),
            Verdict::Ask => {
                self.asked = Some(now);
                self.send(&encode::frame(Opcode::Ping, b""));
            }
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
    encode::frame(Opcode::Text, text.as_bytes())
}

/// Clients that were written to and not flushed: many events become one write each.
#[derive(Debug, Default)]
pub struct Batch {
    touched: Vec<usize>,
    bytes: usize,
}

impl Batch {
    /// Adds an event to the outbox of each of its listeners.
    pub fn deliver(&mut self, framed: &Framed, clients: &Subscriptions<Client>) {
        let Some(audience) = framed.audience() else { return };
        let mut len_bytes = 0;
        clients.for_each_listener(audience, |slot, client| {
            let frame = framed.frame(client.protocol);
            len_bytes = len_bytes.max(frame.len());
            if client.settle(client.socket.send(frame)) == Some(Sent::First) {
                self.touched.push(slot);
            }
        });
        self.bytes += len_bytes;
        if self.bytes >= FLUSH_EVERY_BYTES {
            self.flush(clients);
        }
    }

    /// Writes what was added.
    pub fn flush(&mut self, clients: &Subscriptions<Client>) {
        for slot in self.touched.drain(..) {
            if let Some(client) = clients.in_slot(slot) {
                client.socket.flush();
            }
        }
        self.bytes = 0;
    }
}
