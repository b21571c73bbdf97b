//! TLS over sockets, for the listeners of every service: the handshake, which is bounded, and the stream
//! behind it.

mod handshakes;
mod hello;
pub mod sealed;
mod stream;

use std::rc::Rc;
use std::sync::Arc;

use campanile_edge::tls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;

pub use handshakes::Handshakes;
pub use stream::{HandshakeFailure, Stream};

use hello::Hello;

/// The settings of a listener. A newcomer gets the latest.
pub type TlsSettings = watch::Receiver<Arc<ServerConfig>>;

/// What a peer hears that speaks HTTP without TLS on a port that speaks TLS.
pub const SPEAKS_TLS: &str = "this port speaks TLS: use https or wss";

/// Why there is no stream.
#[derive(Debug)]
pub enum NoStream {
    /// The peer is gone, or it stalled while others waited for its place.
    Gone,
    /// The peer speaks HTTP without TLS.
    PlainHttp(TcpStream),
    /// The peer speaks something else, or nothing that is accepted.
    Failed(HandshakeFailure),
}

/// Performs the server's side of a TLS handshake, in turn with others. It has no time limit of its own.
///
/// # Errors
/// Why there is no stream.
pub async fn accept(
    mut tcp: TcpStream,
    settings: &TlsSettings,
    handshakes: &Rc<Handshakes>,
) -> Result<Stream, NoStream> {
    let received = match Hello::read(&mut tcp).await {
        Ok((Hello::Tls, received)) => received,
        Ok((Hello::Http, _)) => return Err(NoStream::PlainHttp(tcp)),
        Err(_) => return Err(NoStream::Gone),
    };
    let mut turn = handshakes.turn().await;
    let config = settings.borrow().clone();
    tokio::select! {
        made = Stream::shake_hands(tcp, config, received) => made.map_err(NoStream::Failed),
        () = turn.ended() => Err(NoStream::Gone),
    }
}
