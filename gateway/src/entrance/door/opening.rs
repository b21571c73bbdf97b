//! Starts the sessions of clients that are let in.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_channel::tls::Stream;
use campanile_edge::Principal;
use campanile_edge::websocket::close_code;
use campanile_messages::ConnectionId;
use tracing::info;

use super::Door;
use super::decision::Opened;
use super::refusing::log;
use crate::config::GatewayConfig;
use crate::connection::Ended;
use crate::connection::line::Line;
use crate::connection::session::{Opening, Session};
use crate::connection::socket::Socket;
use crate::dialects::Dialect;
use crate::entrance::seats::Seat;
use crate::entrance::unauthenticated::Newcomer;
use crate::entrance::{first_message, identity};
use crate::websocket::{Incoming, Upgrade};

/// The largest first message of a client that has yet to say who it is. A token is smaller.
const MAX_FIRST_BYTES: NonZeroU32 = NonZeroU32::new(16 << 10).expect("not zero");

/// The shortest time between two log lines of a worker about an unknown subprotocol.
const LOG_AGAIN: Duration = Duration::from_secs(60);

impl Door {
    /// Logs an unknown subprotocol, because a browser fails such a connection by itself, without a
    /// reason that a page could see.
    pub(super) fn log_subprotocol(&self, upgrade: &Upgrade) {
        let Some(offered) = &upgrade.unknown_subprotocol else { return };
        let was_logged = self.logged_subprotocol.get();
        if was_logged.is_none_or(|logged| logged.elapsed() >= LOG_AGAIN) {
            self.logged_subprotocol.set(Some(Instant::now()));
            info!(
                ?offered,
                "a websocket offered an unknown subprotocol and got the plain dialect, which a \
                 browser does not accept; it should offer campanile.v1, or none"
            );
        }
    }

    /// Starts the session of a client.
    pub(super) fn open(
        &self,
        stream: impl Into<Stream>,
        (opened, principal): (Opened, Principal),
        early: Vec<u8>,
        seat: Seat,
    ) {
        let Opened { response, dialect, wish, is_page_trusted, client } = opened;
        let line = self.connect((stream.into(), client), response, dialect);
        let incoming = match dialect.rules().is_one_way() {
            true => Incoming::dropping(line.clone(), self.terms.clone()),
            false => {
                let limits = self.config.client_limits;
                Incoming::new(line.clone(), limits, early, self.terms.clone())
            }
        };
        self.start_session(line, Opening { principal, wish, incoming, is_page_trusted }, seat);
    }

    /// Opens a websocket whose client has yet to say who it is, and waits for that. Nothing is sent to it
    /// meanwhile but control frames.
    pub(super) async fn open_later(
        &self,
        stream: impl Into<Stream>,
        opened: Opened,
        early: Vec<u8>,
        (seat, newcomer): (Seat, Newcomer),
    ) {
        let Opened { response, dialect, wish, is_page_trusted, client: peer } = opened;
        let line = self.connect((stream.into(), peer), response, dialect);
        let GatewayConfig { auth_limit, max_groups, client_limits, .. } = *self.config;
        let (max, terms) = (MAX_FIRST_BYTES, self.terms.clone());
        let mut incoming =
            Incoming::unauthenticated(line.clone(), client_limits, max, early, terms);
        line.socket.release();
        let token = first_message::token(&mut incoming, &line, auth_limit, &self.health).await;
        drop(newcomer);
        let Some(token) = token else {
            match line.socket.close_code() {
                // The client is gone, or the gateway shuts down.
                0 | close_code::NORMAL | close_code::GOING_AWAY => {}
                code => self.config.meters.refused.count(code.into()),
            }
            let Line { socket, dialect } = &line;
            Ended { socket, dialect: *dialect, user: None }.log_incident(&self.config.incidents);
            return first_message::end(incoming).await;
        };
        let token = std::str::from_utf8(token.expose()).unwrap_or_default();
        let principal = self.identify(Some(token), peer).map_err(|(_, refusal)| refusal);
        let granted = principal.and_then(|principal| {
            let wish = identity::grant(&principal, wish, max_groups)?;
            self.admissions.count_user(&principal, &seat)?;
            Ok((principal, wish))
        });
        match granted {
            Ok((principal, wish)) => {
                self.start_session(
                    line,
                    Opening { principal, wish, incoming, is_page_trusted },
                    seat,
                );
            }
            Err(refusal) => {
                self.count_by_message(&refusal);
                log(&self.config, peer, &refusal);
                first_message::refuse(&line, &refusal);
                first_message::end(incoming).await;
            }
        }
    }

    /// Takes over a stream, on which nothing is sent yet.
    fn connect(
        &self,
        (stream, client): (Stream, SocketAddr),
        response: Bytes,
        dialect: Dialect,
    ) -> Line {
        let socket = Socket::of_client(stream, self.config.max_outbox_bytes, client);
        socket.hold(response);
        Line { socket, dialect }
    }

    fn start_session(&self, line: Line, opening: Opening, seat: Seat) {
        let connection = ConnectionId(self.last_connection.get() + 1);
        self.last_connection.set(connection.0);
        Session::start(connection, line, opening, self.handle.clone(), seat);
    }
}
