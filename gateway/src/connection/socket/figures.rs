//! What a socket knows of its connection, for those who ask what became of it.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use campanile_edge::Peer;

use super::Socket;
use crate::trace::ended::ConnectionEnd;

impl Socket {
    /// How much was written until now, and how much was not: because it waits, or was dropped at the close.
    /// What still waits of the message that closes the connection does not count, unless it is sealed already.
    pub fn end(&self) -> ConnectionEnd {
        let state = self.lock();
        let sealed = state.tls.as_ref().map_or(0, |tls| tls.unsent_plaintext_bytes()) as u64;
        let last_bytes = if state.cause.is_some() { state.outbox.last_bytes() } else { 0 };
        let waits = (state.outbox.queued_bytes() - last_bytes) as u64 + sealed;
        ConnectionEnd {
            cause: state.cause,
            sent_bytes: state.sent_bytes(),
            unsent_bytes: waits + u64::from(state.discarded_bytes),
            other_bytes: self.other_bytes.load(Ordering::Relaxed),
        }
    }

    /// Counts a message that is not an event of the log. All changes are made by the connection's worker.
    pub(in crate::connection) fn count_other(&self, len_bytes: usize) {
        let len_bytes = u16::try_from(len_bytes).unwrap_or(u16::MAX);
        let counted = self.other_bytes.load(Ordering::Relaxed).saturating_add(len_bytes);
        self.other_bytes.store(counted, Ordering::Relaxed);
    }

    /// The address of the client, of IPv6 the first half.
    pub fn client_address(&self) -> Option<IpAddr> {
        Peer::of(self.client().map(|client| client.ip())).address()
    }
}
