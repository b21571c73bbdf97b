//! What operators see of a socket.

use std::net::SocketAddr;

use super::Socket;

/// What operators see of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketSeen {
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// How many bytes it was sent, before they were sealed.
    pub sent_bytes: u64,
    /// How many bytes wait to be sent.
    pub waiting_bytes: u64,
}

impl Socket {
    /// What operators see of the connection.
    pub fn seen(&self) -> SocketSeen {
        let state = self.lock();
        SocketSeen {
            client: self.client(),
            sent_bytes: state.outbox.written_bytes(),
            waiting_bytes: state.outbox.queued_bytes() as u64,
        }
    }
}
