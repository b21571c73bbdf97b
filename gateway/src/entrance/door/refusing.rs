//! Answers requests that are refused.

use std::net::SocketAddr;

use bytes::Bytes;
use campanile_channel::incident;
use campanile_edge::pages::Reader;
use campanile_edge::{Head, Incidents, websocket};
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use super::{Decision, Door, come_back};
use crate::config::GatewayConfig;
use crate::entrance::ends::{REFUSAL_LIMIT, end, last_message, read_head};
use crate::entrance::refusal::Refusal;
use crate::entrance::wish::TOO_MANY_GROUPS;
use crate::meters::ClientLimit;
use crate::websocket::{CloseCode, Upgrade};

impl Door {
    /// What is logged of a connection for which there is no room.
    pub fn news(&self, peer: SocketAddr, refusal: &Refusal) -> News {
        let (incidents, is_told) = (self.config.incidents.clone(), self.health.is_draining());
        News { incidents, peer, code: refusal.code, is_told }
    }

    /// Answers a client for which there is no room so that it comes back later, and answers health
    /// checks as usual. While the gateway shuts down, only health checks get an answer: a proxy then
    /// tries another gateway, as if this one did not listen. The request must be there at the deadline.
    pub async fn turn_away(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        (refusal, mut news): (Refusal, News),
        deadline: Deadline,
    ) {
        let Some(mut stream) = self.open_stream(tcp, peer, deadline).await else {
            // That was logged.
            news.is_told = true;
            return;
        };
        let mut received = Vec::new();
        let plain = refusal.response(None);
        let is_told = &mut news.is_told;
        let decide = |head: &Head<'_>, _| self.decide_without_room(head, refusal.clone(), is_told);
        let read = read_head(&mut stream, &mut received, decide);
        let last = match timeout_at(deadline, read).await {
            Ok(Ok(Some(last))) => last,
            _ if self.health.is_draining() => None,
            _ => {
                self.count_by_status(&refusal);
                Some(plain)
            }
        };
        if let Some(last) = last {
            let _ = timeout(2 * REFUSAL_LIMIT, end(stream, last)).await;
        }
    }

    /// The answer to a client for which there is no room; `None` if it gets none.
    fn decide_without_room(
        &self,
        head: &Head<'_>,
        refusal: Refusal,
        is_told: &mut bool,
    ) -> Option<Bytes> {
        let refusal = match self.answer_to_check(head) {
            Some(answer) => {
                *is_told = true;
                return Some(answer.for_method(head.method).response(self.reader(head)));
            }
            None if self.health.is_draining() => return None,
            None => refusal,
        };
        Some(self.answer(head, refusal))
    }

    /// Everything that a client gets that should come back later: for an event stream, when that is.
    pub(super) fn answer(&self, head: &Head<'_>, refusal: Refusal) -> Bytes {
        let is_event_stream = head.path == "/events" && !websocket::is_meant(head);
        let refusal = match refusal.is_one_of_many() && is_event_stream {
            true => come_back(),
            false => refusal,
        };
        if let Some(last) = refusal_by_message(head, &refusal) {
            self.count_by_message(&refusal);
            return last;
        }
        self.count_by_status(&refusal);
        refusal.for_method(head.method).response(self.reader(head))
    }

    /// The answer to a request that is refused by its status, which is logged.
    pub(super) fn refused(
        &self,
        peer: SocketAddr,
        refusal: &Refusal,
        reader: Option<Reader<'_>>,
    ) -> Decision {
        log(&self.config, peer, refusal);
        self.count_by_status(refusal);
        Decision::Refuse(refusal.response(reader))
    }

    /// Counts a refusal with its status, unless it is the answer to a preflight request.
    fn count_by_status(&self, refusal: &Refusal) {
        self.count_groups(refusal);
        if refusal.status != 204 {
            self.config.meters.refused.count(refusal.status.into());
        }
    }

    /// Counts a refusal with its close code.
    pub(super) fn count_by_message(&self, refusal: &Refusal) {
        self.count_groups(refusal);
        let code = refusal.close_code().map_or(0, CloseCode::code);
        self.config.meters.refused.count(code.into());
    }

    /// Counts the limit of groups, if that is the reason.
    fn count_groups(&self, refusal: &Refusal) {
        let is_reached = refusal.code == TOO_MANY_GROUPS;
        self.config.meters.reached(is_reached.then_some(ClientLimit::Groups));
    }
}

/// Logs a refusal, unless it is no news.
pub(super) fn log(config: &GatewayConfig, peer: SocketAddr, refusal: &Refusal) {
    if refusal.is_news {
        let (status, code) = (refusal.status, refusal.code);
        // A path may be a token in the wrong place.
        let reason = (status != 404).then(|| refusal.for_log());
        incident!(config.incidents, info, code, Some(peer.ip()), %peer, status, reason, "refused");
    }
}

/// Logs that there was no room for a connection, however that ends: even if its task was never run.
pub struct News {
    incidents: Incidents,
    peer: SocketAddr,
    code: &'static str,
    is_told: bool,
}

impl Drop for News {
    fn drop(&mut self) {
        let Self { incidents, peer, code, is_told } = self;
        if !*is_told {
            incident!(incidents, info, *code, Some(peer.ip()), %peer, "refused a connection");
        }
    }
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
