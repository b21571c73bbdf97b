//! The TLS handshake before the head of the first request. Both have one deadline.

use std::net::SocketAddr;

use bytes::Bytes;
use campanile_channel::tls::{self, HandshakeFailure, NoStream, Stream};
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout_at};
use tracing::debug;

use super::Door;
use crate::entrance::ends::end;
use crate::entrance::refusal::Refusal;
use crate::entrance::seats::Seat;

impl Door {
    /// Serves a connection that begins with a TLS handshake.
    pub(super) async fn receive_sealed(&self, tcp: TcpStream, peer: SocketAddr, seat: Seat) {
        let deadline = Deadline::now() + self.config.handshake_limit;
        match timeout_at(deadline, self.open_stream(tcp, peer)).await {
            Ok(Ok(stream)) => self.admit((stream, Vec::new(), None), peer, seat, deadline).await,
            Ok(Err(Some((tcp, last)))) => end(tcp, last).await,
            Ok(Err(None)) | Err(_) => debug!(%peer, "the TLS handshake was not finished in time"),
        }
    }

    /// Performs the TLS handshake, if this gateway speaks TLS.
    ///
    /// # Errors
    /// The last bytes for a peer that gets some.
    pub(super) async fn open_stream(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<Stream, Option<(TcpStream, Bytes)>> {
        let Some(settings) = &self.config.tls else { return Ok(tcp.into()) };
        tls::accept(tcp, settings, &self.handshakes).await.map_err(|no_stream| match no_stream {
            NoStream::Gone => None,
            NoStream::PlainHttp(tcp) => {
                let refusal = Refusal::plain_http();
                debug!(%peer, status = refusal.status, "refused a request without TLS");
                Some((tcp, refusal.response(None)))
            }
            NoStream::Failed(HandshakeFailure { error, tcp, alert }) => {
                debug!(%peer, %error, "a TLS handshake failed");
                Some((tcp, alert.into()))
            }
        })
    }
}
