//! The first message of a client that has opened a websocket without a token.

use std::time::Duration;

use campanile_edge::Secret;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::connection::line::Line;
use crate::connection::socket::Unsent;
use crate::dialects::Request;
use crate::entrance::ends::{REFUSAL_LIMIT, last_message};
use crate::entrance::health::Health;
use crate::entrance::refusal::Refusal;
use crate::websocket::{CloseCode, Incoming};

/// Waits for the message with the token. `None` if the client has to go, and is closed.
pub async fn token(
    incoming: &mut Incoming,
    line: &Line,
    limit: Duration,
    health: &Health,
) -> Option<Secret> {
    let first = tokio::select! {
        first = timeout(limit, incoming.next()) => first,
        () = health.draining() => {
            line.close(CloseCode::GoingAway, Unsent::Flush);
            return None;
        }
    };
    let request = match first {
        // The client is gone, or was closed because it broke the protocol.
        Ok(None) => return None,
        Ok(Some(said)) => line.rules().read(&said),
        Err(_) => None,
    };
    match request {
        Some(Ok(Request::Auth(token))) => Some(token),
        _ => {
            line.close(CloseCode::NoValidToken, Unsent::Flush);
            None
        }
    }
}

/// Sends the reason and the close of a client that is refused after its first message.
pub fn refuse(line: &Line, refusal: &Refusal) {
    if let Some(last) = last_message(refusal, line.rules()) {
        line.socket.close(last, Unsent::Flush, None);
    }
}

/// Waits until a closed client is gone.
pub async fn end(mut incoming: Incoming) {
    let ends = async { while incoming.next().await.is_some() {} };
    let _ = timeout(REFUSAL_LIMIT, ends).await;
}
