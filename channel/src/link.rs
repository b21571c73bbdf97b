//! One TCP connection between a broker and a gateway or publisher: what both ends of it do, and the
//! end of the gateway or publisher.
//!
//! [`FrameReader`] reads whole frames. An [`Outbound`] queues frames within a bound, and
//! [`write_out`] writes them and keeps the link alive while there is nothing to say. [`client`]
//! connects to the broker again and again.

mod attempts;
mod backoff;
pub mod brokers;
pub mod client;
mod connecting;
mod frames;
mod halves;
mod outbound;
pub mod outbox;
pub mod proof;
mod round;
mod secrets;
mod secure;
mod write_loop;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use campanile_messages::DecodeError;
use campanile_messages::hello::Disagreement;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::watch;

use brokers::UnfitBroker;
pub(crate) use frames::FrameReader;
pub(crate) use halves::{LinkStream, WriteHalf};
pub use outbound::Outbound;
pub use outbox::{Full, Outbox};
use proof::ProofError;
pub use secrets::{MAX_SECRETS_BYTES, Secrets, SecretsError};
pub use secure::LinkTls;
pub(crate) use write_loop::write_out;

/// The secrets as they are now. They can change while a service runs; links that are up stay.
pub type SecretsNow = watch::Receiver<Arc<Secrets>>;

/// Secrets that never change. Where there are none, links are open to everybody.
pub fn unchanging(secrets: Secrets) -> SecretsNow {
    watch::channel(Arc::new(secrets)).1
}

/// A side that has nothing to say sends a heartbeat this often.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A link on which nothing was heard for this long is over: four heartbeats and some.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(9);

/// Why a link ended, or could not be made. No other link is affected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The peer is gone.
    #[error("the peer closed the link")]
    Closed,
    /// The system reported an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer is out of reach, or has stopped without closing the connection.
    #[error("nothing heard for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// There is no TLS with the broker.
    #[error("no TLS with the broker: {0}")]
    Tls(io::Error),
    /// The broker answered with an alert of TLS.
    #[error("the broker speaks TLS: give its address as tls://HOST:PORT")]
    SpeaksTls,
    /// The peer sent bytes that are not a frame of this protocol.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The peer reads too slowly.
    #[error("the peer reads too slowly: {0}")]
    Full(#[from] Full),
    /// The actor that owns this side hangs.
    #[error("the actor that owns this side has not answered for {} s", .0.as_secs_f32())]
    Unanswered(Duration),
    /// The owner of this side has ended the link without waiting for what was queued.
    #[error("this side cut the link")]
    Cut,
    /// The peer accepts less than this side may have to send.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// The broker and this side do not have the same secret.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The broker does not belong to the cluster that this side knows.
    #[error(transparent)]
    Unfit(#[from] UnfitBroker),
    /// The broker ended the link and gave this reason.
    #[error("the broker says: {0}")]
    Goodbye(String),
}

/// Prepares a link's socket: no delay, keepalive, and an end to the connection if data stays
/// unacknowledged for [`SILENCE_LIMIT`].
///
/// # Errors
/// An error of the system.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(SILENCE_LIMIT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE_LIMIT))
}
