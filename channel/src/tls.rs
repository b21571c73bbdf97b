//! TLS over sockets, for the listeners of every service: the handshake, which is bounded, and the stream
//! behind it.

mod handshakes;
mod hello;
pub mod sealed;
mod stream;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use campanile_edge::tls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

pub use handshakes::Handshakes;
pub use stream::{HandshakeFailure, Stream};

use handshakes::Turn;
use hello::Hello;

/// The settings of a listener. A newcomer gets the latest.
pub type TlsSettings = watch::Receiver<Arc<ServerConfig>>;

/// What a peer hears that speaks HTTP without TLS on a port that speaks TLS.
const SPEAKS_TLS: &str = "this port speaks TLS: use https or wss";

/// How long a peer without a stream may take to read why, and to close.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// Why the connection was not opened.
#[derive(Debug, thiserror::Error)]
pub enum NoStream {
    /// The peer closed its side, or lost it.
    #[error("the peer is gone")]
    Gone,
    /// The peer stalled while others waited for its place.
    #[error("the peer was slow, and others were waiting")]
    Stalled,
    /// The peer speaks HTTP without TLS.
    #[error("the peer speaks HTTP without TLS")]
    PlainHttp(TcpStream),
    /// The peer speaks something else, or nothing that is accepted.
    #[error("{}", .0.error)]
    Failed(HandshakeFailure),
}

impl NoStream {
    /// Sends the peer an alert, or a sentence where it can read one, and waits until it has closed, at most
    /// 2 s.
    pub async fn end(self) {
        let (mut tcp, last) = match self {
            Self::Gone | Self::Stalled => return,
            Self::Failed(HandshakeFailure { tcp, alert, .. }) => (tcp, alert),
            Self::PlainHttp(tcp) => {
                let head = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
                     Content-Type: text/plain; charset=utf-8";
                let len = SPEAKS_TLS.len() + 1;
                let answer = format!("{head}\r\nContent-Length: {len}\r\n\r\n{SPEAKS_TLS}\n");
                (tcp, answer.into())
            }
        };
        let closing = async {
            tcp.write_all(&last).await?;
            tcp.shutdown().await?;
            // Closing the socket with unread input would lose what was just written.
            let mut dropped = [0; 4_096];
            while tcp.read(&mut dropped).await? > 0 {}
            io::Result::Ok(())
        };
        // The peer may be gone, which is the end as well.
        let _ = timeout(FAREWELL_LIMIT, closing).await;
    }
}

/// A peer that has begun a handshake and has a place for it.
pub(crate) struct Waited {
    tcp: TcpStream,
    received: Vec<u8>,
    turn: Turn,
}

impl Waited {
    /// Waits for the first bytes of a handshake, and then for a place among the others.
    ///
    /// # Errors
    /// Why the connection was not opened.
    pub(crate) async fn begin(
        mut tcp: TcpStream,
        client: IpAddr,
        handshakes: &Rc<Handshakes>,
    ) -> Result<Self, NoStream> {
        let received = match Hello::read(&mut tcp).await {
            Ok((Hello::Tls, received)) => received,
            Ok((Hello::Http, _)) => return Err(NoStream::PlainHttp(tcp)),
            Err(_) => return Err(NoStream::Gone),
        };
        Ok(Self { tcp, received, turn: handshakes.turn(client.into()).await })
    }

    /// Performs the handshake.
    ///
    /// # Errors
    /// Why the connection was not opened.
    pub(crate) async fn shake_hands(self, settings: &TlsSettings) -> Result<Stream, NoStream> {
        let Self { tcp, received, mut turn } = self;
        let config = settings.borrow().clone();
        tokio::select! {
            made = Stream::shake_hands(tcp, config, received) => made.map_err(NoStream::Failed),
            () = turn.ended() => Err(NoStream::Stalled),
        }
    }
}

/// Performs the server's side of a TLS handshake with a client of this address, in turn with others. It has
/// no time limit of its own.
///
/// # Errors
/// Why the connection was not opened.
pub async fn accept(
    tcp: TcpStream,
    client: IpAddr,
    settings: &TlsSettings,
    handshakes: &Rc<Handshakes>,
) -> Result<Stream, NoStream> {
    Waited::begin(tcp, client, handshakes).await?.shake_hands(settings).await
}
