//! One TCP connection between a broker and a gateway or publisher: what both ends of it do, and the
//! end of the gateway or publisher.
//!
//! [`FrameReader`] reads whole frames. An [`Outbound`] queues frames within a bound, and
//! [`write_out`] writes them and keeps the link alive while there is nothing to say. [`client`]
//! connects to the broker again and again.

mod attempts;
mod backoff;
pub mod client;
mod frames;
mod outbound;
pub mod outbox;
mod write_loop;

use std::io;
use std::time::Duration;

use campanile_messages::DecodeError;
use campanile_messages::hello::Disagreement;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

pub(crate) use frames::FrameReader;
pub use outbound::Outbound;
pub use outbox::{Full, Outbox};
pub(crate) use write_loop::write_out;

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
    /// The broker asks for a proof, which this release cannot give.
    #[error(
        "the broker asks for a proof of the cluster's secret by {method:?}, which this release \
         cannot give: link it to a broker that asks for none, or use the broker's release"
    )]
    Challenged {
        /// The method of proof that the broker named.
        method: String,
    },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_that_cannot_be_answered_says_what_is_missing() {
        let error = LinkError::Challenged { method: "hmac".to_owned() };
        assert_eq!(
            error.to_string(),
            "the broker asks for a proof of the cluster's secret by \"hmac\", which this release \
             cannot give: link it to a broker that asks for none, or use the broker's release"
        );
    }
}
