//! Finds out who a client is.

use std::borrow::Cow;
use std::net::SocketAddr;

use campanile_channel::incident;
use campanile_edge::{Head, Principal, pages};

use super::Door;
use super::decision::{come_back, patient};
use crate::access::Rejection;
use crate::config::GatewayConfig;
use crate::entrance::credentials::{self, Places};
use crate::entrance::identity;
use crate::entrance::refusal::Refusal;
use crate::entrance::wish::UrlToken;
use crate::meters::TokenResult;

impl Door {
    /// The token in a request, if there is one.
    pub(super) fn token_of<'a>(&self, head: &'a Head<'_>) -> Result<Option<Cow<'a, str>>, Refusal> {
        let GatewayConfig { access, token_cookie, allow_origins, allow_hosts, .. } = &*self.config;
        if access.borrow().is_open() {
            return Ok(None);
        }
        let on = self.listens_on;
        let places = Places {
            cookie: token_cookie.as_deref(),
            trusts_cookie: pages::may_use_cookie(head, allow_origins, allow_hosts, on),
            url: identity::url_token(&self.config, on) == UrlToken::Accepted,
        };
        credentials::token_of(head, places)
    }

    pub(super) fn principal_of(
        &self,
        head: &Head<'_>,
        peer: SocketAddr,
    ) -> Result<Principal, Refusal> {
        let token = self.token_of(head)?;
        self.identify(token.as_deref(), peer).map_err(|(_, refusal)| refusal)
    }

    /// The same for an event stream, whose client would give up for good on 401 and 503, although the key
    /// for its token may be fetched a moment later.
    pub(super) fn principal_of_stream(
        &self,
        head: &Head<'_>,
        peer: SocketAddr,
    ) -> Result<Principal, Refusal> {
        let token = self.token_of(head)?;
        self.identify(token.as_deref(), peer).map_err(|(rejection, refusal)| {
            let may_change = rejection.names_unknown_key();
            match may_change && self.config.access.borrow().keys_are_fetched {
                true => come_back(),
                false => patient(refusal),
            }
        })
    }

    /// Who a client with this token is. The log gets the exact cause of a rejection, and the client only the
    /// refusal.
    pub(super) fn identify(
        &self,
        token: Option<&str>,
        peer: SocketAddr,
    ) -> Result<Principal, (Rejection, Refusal)> {
        let access = self.config.access.borrow().clone();
        let identified = access.identify(token, (self.config.unix_time)());
        if token.is_some() {
            let result = identified.as_ref().err().map_or(TokenResult::Accepted, Into::into);
            self.config.meters.tokens.count(result);
        }
        identified.map_err(|rejection| {
            self.log_rejection(&rejection, peer);
            if rejection.names_unknown_key() {
                self.config.unknown_key.notify_one();
            }
            // Who has no token is not refused everywhere.
            let mut refusal = Refusal::rejected(&rejection);
            refusal.is_news = rejection == Rejection::NoToken;
            (rejection, refusal)
        })
    }

    fn log_rejection(&self, rejection: &Rejection, peer: SocketAddr) {
        if *rejection != Rejection::NoToken {
            let (incidents, cause) = (&self.config.incidents, rejection.to_string());
            let word = rejection.word();
            incident!(incidents, info, word, Some(peer.ip()), %peer, cause, "refused a token");
        }
    }
}
