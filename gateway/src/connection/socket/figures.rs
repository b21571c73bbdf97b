//! What a socket knows of its connection, for those who ask what became of it.

use std::net::IpAddr;

use campanile_edge::Peer;

use super::Socket;
use crate::trace::ended::ConnectionEnd;
use crate::websocket::CloseCause;

impl Socket {
    /// How much was written until now, and how much was not: because it waits, or was dropped at the close.
    pub fn end(&self) -> ConnectionEnd {
        let state = self.lock();
        let sealed = state.tls.as_ref().map_or(0, |tls| tls.unsent_plaintext_bytes()) as u64;
        let waits = state.outbox.queued_bytes() as u64 + sealed;
        ConnectionEnd {
            code: state.cause.map_or(0, CloseCause::code),
            sent_bytes: state.sent_bytes(),
            unsent_bytes: waits + u64::from(state.discarded_bytes),
        }
    }

    /// The address of the peer, of IPv6 the first half, while it is connected.
    pub fn peer(&self) -> Option<IpAddr> {
        Peer::of(Some(self.stream.peer_addr().ok()?.ip())).address()
    }
}
