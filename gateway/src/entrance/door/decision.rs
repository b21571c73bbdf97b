//! What becomes of a request.

use std::net::SocketAddr;

use bytes::Bytes;
use campanile_edge::pages::Reader;
use campanile_edge::{Head, Principal, websocket};
use tracing::debug;

use crate::dialects::Dialect;
use crate::entrance::ends::last_message;
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
    /// Where the request is from.
    pub client: SocketAddr,
}

/// Refuses a connection with a whole response.
pub(super) fn refused(peer: SocketAddr, refusal: &Refusal, reader: Option<Reader<'_>>) -> Decision {
    debug!(%peer, status = refusal.status, "refused a request");
    Decision::Refuse(refusal.response(reader))
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

/// Everything that a websocket gets whose refusal can be said in its dialect: the
/// handshake, a message and a Close frame. A browser does not show the status of a refused handshake
/// to its page, which would try again for ever.
pub(super) fn refusal_by_message(head: &Head<'_>, refusal: &Refusal) -> Option<Bytes> {
    let may_be_said = refusal.close_code().is_some() && websocket::is_meant(head);
    let upgrade = may_be_said.then(|| Upgrade::check(head))?.ok()?;
    let message = last_message(refusal, upgrade.dialect.rules())?;
    Some([upgrade.response(), message].concat().into())
}
