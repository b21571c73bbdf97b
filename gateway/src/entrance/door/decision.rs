//! What becomes of a request.

use std::net::SocketAddr;

use bytes::Bytes;
use campanile_edge::Principal;

use crate::dialects::Dialect;
use crate::entrance::refusal::{COME_BACK_MILLIS, Refusal};
use crate::entrance::unauthenticated::Newcomer;
use crate::entrance::wish::Wish;
use crate::websocket::Upgrade;

/// What happens to a connection after the head of its first request.
pub(super) enum Decision {
    /// A session starts.
    Open(Opened, Principal),
    /// A websocket opens, and a session starts when the client has said who it is.
    OpenLater(Opened, Newcomer),
    /// The page's `App` answers.
    Page,
    /// The connection gets these bytes and ends.
    Refuse(Bytes),
    /// The same for a websocket, which opens only to get a message that says why it is refused.
    RefuseByMessage(Bytes),
    /// The connection exceeds a limit of its address or user, of which there may be a flood: it gets these
    /// bytes and ends, or ends without them.
    RefuseOneOfMany(Bytes),
}

/// A client that is let in.
pub(super) struct Opened {
    /// The head of the response, which is sent together with the greeting.
    pub response: Bytes,
    pub dialect: Dialect,
    pub wish: Wish,
    /// Whether the page that opens the connection may publish without a token.
    pub is_page_trusted: bool,
    /// Where the request is from.
    pub client: SocketAddr,
}

/// A request that passed every check.
pub(super) enum Admitted {
    /// Without a principal, the client has yet to send its token.
    Websocket(Upgrade, Wish, Option<Principal>),
    EventStream(Wish, Principal),
    Page,
}

/// The same refusal for an event stream, whose client would give up for good on 503.
pub(super) fn patient(refusal: Refusal) -> Refusal {
    if refusal.status == 503 { come_back() } else { refusal }
}

/// The refusal of an event stream whose client comes back by itself.
pub(super) fn come_back() -> Refusal {
    Refusal::come_back(rand::random_range(COME_BACK_MILLIS))
}
