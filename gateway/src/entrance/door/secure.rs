//! The TLS handshake before the head of the first request. Both have one deadline.

use std::net::SocketAddr;

use campanile_channel::incident;
use campanile_channel::tls::{self, NoStream, Stream};
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout_at};

use super::Door;
use crate::entrance::seats::Seat;
use crate::meters::TlsHandshake;

impl Door {
    /// Serves a connection that begins with a TLS handshake.
    pub(super) async fn receive_sealed(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        seat: Seat,
        deadline: Deadline,
    ) {
        if let Some(stream) = self.open_stream(tcp, peer, deadline).await {
            self.admit((stream, Vec::new(), None), peer, seat, deadline).await;
        }
    }

    /// Performs the TLS handshake, if this gateway speaks TLS. `None` if the connection has ended.
    pub(super) async fn open_stream(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        deadline: Deadline,
    ) -> Option<Stream> {
        let Some(settings) = &self.config.tls else { return Some(tcp.into()) };
        let accepted = tls::accept(tcp, peer.ip(), settings, &self.handshakes);
        let counted = &self.config.meters.tls_handshakes;
        match timeout_at(deadline, accepted).await {
            Ok(Ok(stream)) => {
                counted.count(TlsHandshake::Completed);
                return Some(stream);
            }
            Ok(Err(NoStream::Gone)) => counted.count(TlsHandshake::Gone),
            Ok(Err(no_stream)) => {
                counted.count(TlsHandshake::Failed);
                self.log_no_tls(peer, &no_stream.to_string());
                no_stream.end().await;
            }
            Err(_) => {
                counted.count(TlsHandshake::Late);
                self.log_no_tls(peer, "the handshake took too long");
            }
        }
        None
    }

    fn log_no_tls(&self, peer: SocketAddr, error: &str) {
        let incidents = &self.config.incidents;
        incident!(incidents, info, "tls", Some(peer.ip()), %peer, error, "no TLS with a client");
    }
}
