//! What is logged of a connection that has ended.

use std::net::SocketAddr;

use campanile_channel::incident;
use campanile_edge::Incidents;
use tracing::field::display;
use tracing::info;

use crate::connection::socket::Socket;
use crate::dialects::Dialect;
use crate::websocket::CloseCause;

/// A connection that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    pub socket: &'a Socket,
    pub dialect: Dialect,
    /// The user of the client, if it is one.
    pub user: Option<&'a str>,
}

impl Ended<'_> {
    /// Writes a line of the access log.
    pub fn log_access(&self) {
        let Self { socket, dialect, user } = self;
        let (peer, dialect) = (socket.client().map(display), dialect.word());
        let code = socket.cause().map(CloseCause::code);
        let (seconds, sent_bytes) = (socket.age().as_secs_f64(), socket.sent_bytes());
        info!(
            target: "campanile::access",
            peer, user, dialect, seconds, code, sent_bytes, "a connection ended"
        );
    }

    /// Logs the end if the gateway has closed the connection, except if it shuts down.
    pub fn log_incident(&self, incidents: &Incidents) {
        let cause = self.socket.cause();
        let Some((cause, (word, reason))) =
            cause.and_then(|cause| Some((cause, cause.incident()?)))
        else {
            return;
        };
        let Self { socket, dialect, user } = self;
        let (peer, code, dialect) = (socket.client(), cause.code(), dialect.word());
        let (address, peer) = (peer.as_ref().map(SocketAddr::ip), peer.map(display));
        let waiting_bytes = socket.overrun_bytes();
        incident!(
            incidents,
            info,
            word,
            address,
            peer,
            user,
            dialect,
            code,
            waiting_bytes,
            reason,
            "closed a client"
        );
    }
}
