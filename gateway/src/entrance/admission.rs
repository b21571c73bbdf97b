//! Counts each request for the client that sent it, and limits how many may be refused at a time.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use campanile_edge::{Crowded, Head, Principal, client_behind};
use tracing::warn;

use crate::config::GatewayConfig;
use crate::entrance::refusal::Refusal;
use crate::entrance::seats::Seat;
use crate::limits::GatewayLimits;
use crate::meters::Limit;

/// How many requests that exceed a limit of their client each door answers at a time. Any more are closed
/// without an answer. It bounds what a client behind a proxy can occupy.
const MAX_ANSWERS: usize = 32;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The limits of a door.
pub struct Admissions {
    config: Arc<GatewayConfig>,
    answers: Rc<Cell<usize>>,
}

impl Admissions {
    pub fn new(config: Arc<GatewayConfig>) -> Self {
        Self { config, answers: Rc::default() }
    }

    /// The client that sent a request, as far as it is known: behind trusted proxies, the one for which
    /// they sent it, whose port is unknown and shown as 0.
    pub fn client(&self, head: &Head<'_>, peer: SocketAddr) -> SocketAddr {
        let limits = self.limits();
        match client_behind(peer.ip(), head.all(FORWARDED_FOR), &limits.addresses.trusted_proxies) {
            client if client == peer.ip().to_canonical() => peer,
            client => (client, 0).into(),
        }
    }

    /// Counts a request for its client.
    ///
    /// # Errors
    /// The limit of the client that it exceeds.
    pub fn count(
        &self,
        head: &Head<'_>,
        (peer, client): (SocketAddr, SocketAddr),
        seat: &Seat,
    ) -> Result<(), Crowded> {
        let addresses = &self.limits().addresses;
        if client != peer {
            let limits = &self.config.meters.limits;
            let counted = seat.count_address(client.ip(), addresses);
            return counted.inspect_err(|crowded| limits.count(crowded.into()));
        }
        let forwards = head.all(FORWARDED_FOR).next().is_some();
        if forwards && seat.seats().note_forwarding(peer.ip(), addresses) {
            warn_about(peer.ip());
        }
        Ok(())
    }

    /// Counts a connection for its user.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn count_user(&self, principal: &Principal, seat: &Seat) -> Result<(), Refusal> {
        let Some(user) = principal.user() else { return Ok(()) };
        let max = self.limits().max_connections_per_user;
        seat.count_user(user, max).map_err(|crowded| {
            self.config.meters.limits.count(Limit::ConnectionsPerUser);
            Refusal::crowded_user(crowded.max)
        })
    }

    /// The right to answer one request that exceeds a limit; `None` if too many are being answered.
    pub fn answer(&self) -> Option<AnswerRight> {
        let answers = self.answers.get();
        (answers < MAX_ANSWERS).then(|| {
            self.answers.set(answers + 1);
            AnswerRight(self.answers.clone())
        })
    }

    fn limits(&self) -> Arc<GatewayLimits> {
        self.config.limits.borrow().clone()
    }
}

/// Counts as one answer until it is dropped.
pub struct AnswerRight(Rc<Cell<usize>>);

impl Drop for AnswerRight {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn warn_about(proxy: IpAddr) {
    warn!(
        %proxy,
        "a private address sends X-Forwarded-For and is not trusted, so all clients behind it are one \
         address; if it is a proxy of yours, name it in --trusted-proxies"
    );
}
