//! The gate before the greeting. Until the broker has confirmed what a connection listens to, only the head of
//! the response and control frames leave.

use bytes::Bytes;
use campanile_channel::Full;
use tokio::sync::oneshot;

use super::state::Waiting;
use super::{Socket, SocketPhase};

impl Socket {
    /// Closes the gate until the greeting. Queues the head of the response, which leaves together with
    /// what follows: nothing is written before [`greet`](Self::greet), [`release`](Self::release) or
    /// [`close`](Self::close).
    pub fn hold(&self, head: Bytes) {
        let mut state = self.lock();
        self.count_other(head.len());
        state.outbox.force(head);
        state.phase = SocketPhase::Held;
    }

    /// Like [`send_now`](Self::send_now), for a slice that may also leave before the greeting.
    ///
    /// # Errors
    /// Like [`send`](Self::send).
    pub fn send_control(&self, slice: &Bytes) -> Result<(), Full> {
        self.count_other(slice.len());
        let mut state = self.lock();
        if state.phase >= SocketPhase::Open {
            drop(state);
            return self.send_now(slice).map(drop);
        }
        self.queue(&mut state, slice)?;
        drop(state);
        self.flush();
        Ok(())
    }

    /// Writes the head without waiting for the greeting any longer.
    pub fn release(&self) {
        let mut state = self.lock();
        if state.phase == SocketPhase::Held {
            state.phase = SocketPhase::Ungreeted;
            drop(state);
            self.flush();
        }
    }

    /// Writes the greeting and opens the gate for other output. Does nothing if the connection is greeted
    /// already, or is ending.
    pub fn greet(&self, first: Bytes) {
        let mut state = self.lock();
        if state.phase < SocketPhase::Open {
            self.count_other(first.len());
            state.outbox.force(first);
            state.phase = SocketPhase::Open;
            state.resolve_greeting();
            drop(state);
            self.flush();
        }
    }

    /// Returns a receiver that resolves once the connection is greeted or ends. `None` if it has been
    /// greeted or is ending already. One caller at a time may wait.
    pub fn greeted(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.phase >= SocketPhase::Open {
            return None;
        }
        let (waits, greeted) = oneshot::channel();
        state.waiting = Some(Box::new(Waiting::ForGreeting(waits)));
        Some(greeted)
    }
}
