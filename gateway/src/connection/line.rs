//! The line to a client: its socket, and the dialect that is spoken on it.

use std::sync::Arc;

use bytes::Bytes;
use campanile_channel::Full;

use crate::connection::socket::{Socket, Unsent};
use crate::dialects::{Dialect, Rules};
use crate::websocket::CloseCode;

/// Clones are the same line.
#[derive(Debug, Clone)]
pub struct Line {
    pub socket: Arc<Socket>,
    pub dialect: Dialect,
}

impl Line {
    /// What is said in its dialect, and how.
    pub fn rules(&self) -> &'static dyn Rules {
        self.dialect.rules()
    }

    /// Writes a frame at once. A client for which too much waits is closed.
    pub fn send(&self, frame: &Bytes) {
        self.settle(self.socket.send_now(frame));
    }

    /// Writes the first message, whatever waits, and lets others follow.
    pub fn greet(&self, frame: Bytes) {
        self.socket.greet(frame);
    }

    /// Writes what may leave before the greeting, too.
    pub fn send_control(&self, frame: &Bytes) {
        self.settle(self.socket.send_control(frame));
    }

    /// Sends what the dialect has words for.
    pub fn say(&self, frame: Option<Bytes>) {
        if let Some(frame) = frame {
            self.send(&frame);
        }
    }

    /// Sends the client away, after or without what waits for it.
    pub fn close(&self, code: CloseCode, waiting: Unsent) {
        self.socket.close(self.rules().close(code), waiting);
    }

    /// The one place where a client is found to be too slow, and closed.
    pub fn settle<T>(&self, sent: Result<T, Full>) -> Option<T> {
        sent.inspect_err(|_| self.close(CloseCode::TooSlow, Unsent::Drop)).ok()
    }
}
