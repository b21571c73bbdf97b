//! What a registry does about the tokens of its clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::incident;
use campanile_edge::{Principal, Secret};
use campanile_messages::{Audience, ConnectionId};
use tracing::field::display;

use super::{Registry, renewal};
use crate::config::GatewayConfig;
use crate::connection::socket::Unsent;
use crate::dialects::RequestError;
use crate::meters::TokenResult;
use crate::registry::client::Client;
use crate::registry::subscriptions::Standing;

/// How many clients a new access is applied to before the other actors of the thread get their turn.
const AT_ONCE: usize = 256;

/// The time between two such steps.
const STEP: Duration = Duration::from_millis(2);

/// The gateway's access has changed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct AccessChanged;

impl Handler<AccessChanged> for Registry {
    type Result = ();

    /// Closes the clients that the deny list names, and guests if none are let in any more. Guests whose
    /// rights have changed leave the groups that they have no right to. All others stay until their tokens
    /// expire.
    fn handle(&mut self, _: AccessChanged, ctx: &mut Self::Context) {
        let access = self.config.access.borrow().clone();
        let denied = self.clients.shut_out(&access);
        for (step, some) in denied.chunks(AT_ONCE).enumerate() {
            let some = some.to_vec();
            ctx.run_later(STEP * step as u32, move |_, _| {
                some.iter().for_each(|(line, code)| line.close(*code, Unsent::Flush));
            });
        }
        let changed = self.clients.change_rights(&access);
        for (step, some) in changed.chunks(AT_ONCE).enumerate() {
            let some = some.to_vec();
            ctx.run_later(STEP * step as u32, move |registry, ctx| {
                for connection in some {
                    registry.leave_what_is_not_allowed(connection, ctx);
                }
            });
        }
    }
}

/// Gives a connection a new token.
#[derive(Debug, Message)]
#[rtype(result = "Result<u64, RequestError>")]
pub(crate) struct Renew(pub ConnectionId, pub Secret);

impl Handler<Renew> for Registry {
    type Result = Result<u64, RequestError>;

    /// Returns how long the new token is valid, in seconds.
    fn handle(&mut self, renew: Renew, ctx: &mut Self::Context) -> Self::Result {
        let Renew(connection, token) = renew;
        let access = self.config.access.borrow().clone();
        let worker = self.clients.id();
        // Without a client, the connection is ending.
        let Some(client) = self.clients.subscriptions.get_mut(connection) else { return Ok(0) };
        // To check a signature takes longer than most that this thread does.
        client.count_renewal(Instant::now())?;
        let token = std::str::from_utf8(token.expose()).unwrap_or_default();
        let checked = access.check(token, (self.config.unix_time)());
        if let Err(rejection) = &checked {
            self.config.meters.tokens.count(rejection.into());
            let (word, cause) = (rejection.word(), rejection.to_string());
            let incidents = &self.config.incidents;
            let peer = client.line.socket.client();
            let (address, peer) = (peer.map(|peer| peer.ip()), peer.map(display));
            let worker = worker.map(display);
            incident!(
                incidents,
                info,
                word,
                address,
                peer,
                worker,
                %connection,
                cause,
                "refused a new token"
            );
            if rejection.names_unknown_key() {
                self.config.unknown_key.notify_one();
            }
        }
        let is_valid = checked.is_ok();
        let rights = renewal::check(&client.principal, checked);
        if is_valid {
            let result = if rights.is_ok() { TokenResult::Renewed } else { TokenResult::Invalid };
            self.config.meters.tokens.count(result);
        }
        let rights = rights?;
        client.principal = Principal::Token(Arc::new(rights));
        client.start_token(Instant::now(), (self.config.unix_time)(), self.config.token_grace);
        let expires_in = client.identity().and_then(|identity| identity.expires_in).unwrap_or(0);
        self.leave_what_is_not_allowed(connection, ctx);
        Ok(expires_in)
    }
}

impl Registry {
    /// Starts the time of a new client's token. Closes the client if it was shut out, or has lost the right to
    /// one of its groups, while it was on its way.
    pub(super) fn welcome(&self, client: &mut Client, groups: &[Audience]) {
        if client.principal == Principal::Anyone {
            return;
        }
        let GatewayConfig { unix_time, token_grace, .. } = *self.config;
        client.start_token(Instant::now(), unix_time(), token_grace);
        let access = self.config.access.borrow();
        if let Some(rejection) = access.shuts_out(&client.principal) {
            client.line.close((&rejection).into(), Unsent::Flush);
        } else if let Some(principal) = access.changes(&client.principal) {
            client.principal = principal;
            if let Some(group) = groups.iter().find(|group| !client.may_listen_to(group)) {
                client.line.close_not_allowed(group.name());
            }
        }
    }

    fn leave_what_is_not_allowed(&mut self, connection: ConnectionId, ctx: &mut Context<Self>) {
        let subscriptions = &self.clients.subscriptions;
        let Some(client) = subscriptions.known(connection) else { return };
        let is_denied = |audience: &&Audience| !client.may_listen_to(audience);
        let denied: Vec<Audience> =
            subscriptions.audiences_of(connection).filter(is_denied).cloned().collect();
        let is_greeted = subscriptions.standing(connection) != Standing::Pending;
        for audience in denied {
            let left = self.clients.leave(connection, &audience);
            self.reporter.add(left.unwrap_or_default());
            if let (Audience::Group(group), Some(client)) =
                (&audience, self.clients.subscriptions.known(connection))
            {
                client.send_not_allowed(group, is_greeted);
            }
        }
        self.report(ctx);
    }
}
