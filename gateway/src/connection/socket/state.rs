//! What a socket holds under its lock: its output, how far it has come, and who waits for that.

use campanile_channel::Outbox;
use campanile_edge::tls::TlsSession;
use tokio::sync::oneshot;

use crate::websocket::CloseCause;

#[derive(Debug)]
pub(super) struct SocketState {
    pub(super) outbox: Outbox,
    pub(super) phase: SocketPhase,
    /// `None` if nobody waits: an idle connection should be small.
    pub(super) waiting: Option<Box<Waiting>>,
    /// Whether the outbox has exceeded its bound.
    pub(super) is_overrun: bool,
    /// What has closed the connection; `None` also if it was refused.
    pub(super) cause: Option<CloseCause>,
    /// How many bytes were dropped when it was closed, at most what fits into the type.
    pub(super) discarded_bytes: u32,
    /// Seals what is written. What leaves the outbox is sealed at once, and waits here if the kernel does
    /// not take it: at most one record.
    pub(super) tls: Option<Box<TlsSession>>,
}

impl SocketState {
    /// Whether something waits to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        !self.outbox.is_empty() || self.tls.as_ref().is_some_and(|tls| !tls.unsent().is_empty())
    }

    /// How many bytes the kernel has taken, before they were sealed.
    pub(super) fn sent_bytes(&self) -> u64 {
        let unsent = self.tls.as_ref().map_or(0, |tls| tls.unsent_plaintext_bytes());
        self.outbox.written_bytes() - unsent as u64
    }

    /// Adds a caller that waits until everything that is queued now is written.
    pub(super) fn await_write(&mut self, waiter: WriteWaiter) {
        match self.waiting.as_deref_mut() {
            Some(Waiting::ForWrites(waiters)) => waiters.push(waiter),
            _ => self.waiting = Some(Box::new(Waiting::ForWrites(vec![waiter]))),
        }
    }

    /// Notifies the callers whose offset was reached.
    pub(super) fn resolve_waiters(&mut self) {
        if self.waiting.is_none() {
            return;
        }
        let reached = self.sent_bytes();
        let Some(Waiting::ForWrites(waiters)) = self.waiting.as_deref_mut() else { return };
        let done = waiters.partition_point(|waiter| waiter.offset <= reached);
        for waiter in waiters.drain(..done) {
            let _ = waiter.done.send(());
        }
        if waiters.is_empty() {
            self.waiting = None;
        }
    }

    /// Notifies the caller that waits for the greeting.
    pub(super) fn resolve_greeting(&mut self) {
        if let Some(Waiting::ForGreeting(greeted)) = self.forget_greeting().map(|waiting| *waiting)
        {
            let _ = greeted.send(());
        }
    }

    /// Whoever waits for the greeting, does so no longer.
    pub(super) fn forget_greeting(&mut self) -> Option<Box<Waiting>> {
        self.waiting.take_if(|waiting| matches!(**waiting, Waiting::ForGreeting(_)))
    }
}

/// Who waits. Until the greeting, nobody waits for writes.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The caller of [`greeted`](super::Socket::greeted); dropped if there will be no greeting.
    ForGreeting(oneshot::Sender<()>),
    /// The callers that wait until the outbox has written up to an offset, in order.
    ForWrites(Vec<WriteWaiter>),
}

/// A caller that waits until the outbox has written up to an offset.
#[derive(Debug)]
pub(super) struct WriteWaiter {
    /// In bytes from the connection's start.
    pub(super) offset: u64,
    pub(super) done: oneshot::Sender<()>,
}

/// The phases of a connection, in order; it never returns to an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SocketPhase {
    /// Nothing is written yet, so that the head leaves together with the greeting.
    Held,
    /// The head may leave; all output before the greeting is dropped, except for control frames.
    Ungreeted,
    /// Everything may leave.
    Open,
    /// The last slice is queued; later output is dropped.
    Closing,
    /// Everything is sent, and the sending direction is closed.
    Lingering,
    /// Nothing can be sent or read.
    Broken,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a socket would hold without the cause of its end.
    #[allow(dead_code, reason = "only its size counts")]
    struct WithoutCause {
        outbox: Outbox,
        phase: SocketPhase,
        waiting: Option<Box<Waiting>>,
        is_overrun: bool,
        tls: Option<Box<TlsSession>>,
    }

    #[test]
    fn to_know_the_cause_of_the_end_takes_no_memory() {
        assert_eq!(size_of::<SocketState>(), size_of::<WithoutCause>());
    }
}
