//! What others ask about a socket.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Socket, SocketPhase};
use crate::websocket::CloseCause;

impl Socket {
    /// Whether the connection is neither closed nor closing.
    pub fn is_open(&self) -> bool {
        self.lock().phase <= SocketPhase::Open
    }

    /// Whether the connection is neither closed nor closing, and how many bytes wait to be written.
    pub fn standing(&self) -> (bool, usize) {
        let state = self.lock();
        (state.phase <= SocketPhase::Open, state.outbox.queued_bytes())
    }

    /// What has closed the connection; `None` if nothing did, or if it was refused.
    pub fn cause(&self) -> Option<CloseCause> {
        self.lock().cause
    }

    /// The code with which the connection was closed; 0 without a [`cause`](Self::cause).
    pub fn close_code(&self) -> u16 {
        self.cause().map_or(0, CloseCause::code)
    }

    /// Whether the outbox has exceeded its bound.
    pub fn is_overrun(&self) -> bool {
        self.lock().is_overrun
    }

    /// How many bytes waited when the outbox exceeded its bound, in the measure of that; `None` if it did not.
    pub fn overrun_bytes(&self) -> Option<u32> {
        Some(self.overrun_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// The address of the client, as far as it is known.
    pub fn client(&self) -> Option<SocketAddr> {
        self.client.get()
    }

    /// How many bytes everything in the outbox costs, including what was replayed.
    pub fn held_bytes(&self) -> usize {
        self.lock().outbox.held_bytes()
    }

    /// How many bytes the kernel has taken for the client, before they were sealed where there is TLS.
    pub fn sent_bytes(&self) -> u64 {
        self.lock().sent_bytes()
    }

    /// When the connection was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// How long ago the connection was opened.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Whether nothing waits to be sent.
    pub fn is_flushed(&self) -> bool {
        !self.lock().has_unsent()
    }

    /// When the last byte came from the peer; before the first byte, when the connection was opened.
    pub fn heard(&self) -> Instant {
        self.opened + Duration::from_nanos(self.heard_nanos.load(Ordering::Relaxed))
    }
}
