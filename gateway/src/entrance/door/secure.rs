//! The TLS handshake before the head of the first request. Both have one deadline.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout_at};
use tracing::debug;

use super::Door;
use crate::connection::stream::Stream;
use crate::entrance::ends::end;
use crate::entrance::hello::Hello;
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
        mut tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<Stream, Option<(TcpStream, Bytes)>> {
        let Some(tls) = &self.config.tls else { return Ok(tcp.into()) };
        let received = match Hello::read(&mut tcp).await {
            Ok((Hello::Tls, received)) => received,
            Ok((Hello::Http, _)) => {
                let refusal = Refusal::plain_http();
                debug!(%peer, status = refusal.status, "refused a request without TLS");
                return Err(Some((tcp, refusal.response(None))));
            }
            Err(_) => return Err(None),
        };
        let mut turn = self.handshakes.turn().await;
        let config = tls.borrow().clone();
        let made = tokio::select! {
            made = Stream::shake_hands(tcp, config, received) => made,
            () = turn.ended() => return Err(None),
        };
        made.map_err(|failure| {
            debug!(%peer, error = %failure.error, "a TLS handshake failed");
            Some((failure.tcp, failure.alert.into()))
        })
    }
}
