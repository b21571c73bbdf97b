//! The line to a client: its socket and its dialect.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use campanile_channel::Full;

use crate::connection::socket::{Socket, Unsent};
use crate::dialects::{Dialect, Rules};
use crate::websocket::{CloseCause, CloseCode};

/// A way to write to one client in its dialect. Clones are the same line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Where to write.
    pub socket: Arc<Socket>,
    /// How to write.
    pub dialect: Dialect,
}

/// A line that does not keep its connection: when everybody else is done with that, its socket is closed.
#[derive(Debug, Clone)]
pub struct WeakLine {
    socket: Weak<Socket>,
    dialect: Dialect,
}

impl WeakLine {
    /// The line, unless its connection is gone.
    pub fn upgrade(&self) -> Option<Line> {
        Some(Line { socket: self.socket.upgrade()?, dialect: self.dialect })
    }
}

impl Line {
    /// The same line for those that may outlive its connection.
    pub fn downgrade(&self) -> WeakLine {
        WeakLine { socket: Arc::downgrade(&self.socket), dialect: self.dialect }
    }

    /// The rules of its dialect.
    pub fn rules(&self) -> &'static dyn Rules {
        self.dialect.rules()
    }

    /// Writes a frame that is not one of an event of the log at once, or closes the client if too much waits in its outbox.
    pub fn send(&self, frame: &Bytes) {
        self.socket.count_other(frame.len());
        self.settle(self.socket.send_now(frame));
    }

    /// Writes the frame of an event like [`send`](Self::send). Returns whether it is in the outbox, or written
    /// already.
    pub fn deliver(&self, frame: &Bytes) -> bool {
        self.socket.count_other(frame.len());
        self.settle(self.socket.send_now(frame)).unwrap_or(false)
    }

    /// Writes the greeting, whatever the bound of the outbox is, and lets other messages follow.
    pub fn greet(&self, frame: Bytes) {
        self.socket.greet(frame);
    }

    /// Writes a frame that may also leave before the greeting.
    pub fn send_control(&self, frame: &Bytes) {
        self.settle(self.socket.send_control(frame));
    }

    /// Writes a message, if the dialect has one.
    pub fn say(&self, frame: Option<Bytes>) {
        if let Some(frame) = frame {
            self.send(&frame);
        }
    }

    /// Closes the connection with a code. `unsent` says what happens to what waits in the outbox.
    pub fn close(&self, code: CloseCode, unsent: Unsent) {
        self.socket.close(self.rules().close(code, None), unsent, Some(CloseCause::Gateway(code)));
    }

    /// Closes the connection for an operator, who has given a reason.
    pub fn disconnect(&self, code: CloseCode, reason: &str) {
        let cause = Some(CloseCause::Operator(code));
        self.socket.close(self.rules().disconnect(code, reason), Unsent::Flush, cause);
    }

    /// Closes a client that was not greeted yet, because it may not listen to a group any more.
    pub fn close_not_allowed(&self, group: &str) {
        let code = CloseCode::NotAllowed;
        let cause = Some(CloseCause::Gateway(code));
        self.socket.close(self.rules().close(code, Some(group)), Unsent::Flush, cause);
    }

    /// Closes a client that reads too slowly. This is the only place that does.
    pub fn settle<T>(&self, sent: Result<T, Full>) -> Option<T> {
        sent.inspect_err(|_| self.close(CloseCode::TooSlow, Unsent::Drop)).ok()
    }
}
