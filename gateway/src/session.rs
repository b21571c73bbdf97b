//! The session of one client: what it says, and its life from greeting to close. An event stream's
//! client says nothing.
//!
//! Receives from its client, through [`Incoming`]. Sends to the registry of its worker, and to its
//! own socket. Runs on the worker's thread. Bounded by: one message of its client at a time; the
//! client is not read while the registry has not answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use campanile_edge::websocket::Message as Said;
use campanile_messages::{ConnectionId, GroupName};

use crate::protocol::{self, Errors, Protocol, Request, RequestError};
use crate::registry::{Attach, AwaitGreeting, Detach, Join, JoinAnswer, Leave, Registry};
use crate::seats::Seat;
use crate::socket::{Socket, Waiting};
use crate::subscriptions::Since;
use crate::websocket::{CloseCode, Incoming};
use crate::wish::Wish;

/// A registry that has not answered by then hangs, and the watchdog sees to it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub struct Session {
    connection: ConnectionId,
    socket: Arc<Socket>,
    protocol: Protocol,
    registry: Addr<Registry>,
    max_groups: usize,
    errors: Errors,
    /// Nothing is answered before the greeting.
    is_greeted: bool,
    /// Taken when the session starts.
    opening: Option<Box<Opening>>,
    _seat: Seat,
}

/// What a session begins with.
#[derive(Debug)]
pub struct Opening {
    /// What the client wants to hear.
    pub wish: Wish,
    /// What the client says.
    pub incoming: Incoming,
}

impl Session {
    /// The session of a client whose handshake is done.
    pub fn new(
        connection: ConnectionId,
        socket: Arc<Socket>,
        protocol: Protocol,
        opening: Opening,
        (registry, max_groups): (Addr<Registry>, usize),
        seat: Seat,
    ) -> Self {
        Self {
            connection,
            socket,
            protocol,
            registry,
            max_groups,
            errors: Errors::default(),
            is_greeted: false,
            opening: Some(Box::new(opening)),
            _seat: seat,
        }
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(opening) = self.opening.take() else {
            return;
        };
        self.registry.do_send(Attach {
            connection: self.connection,
            socket: self.socket.clone(),
            protocol: self.protocol,
            groups: opening.wish.groups,
            since: opening.wish.since,
        });
        ctx.add_stream(opening.incoming);
    }
}

impl Drop for Session {
    /// Whatever ended the session, a panic included, the registry forgets it.
    fn drop(&mut self) {
        self.socket.abort();
        self.registry.do_send(Detach(self.connection));
    }
}

impl StreamHandler<Said> for Session {
    fn handle(&mut self, said: Said, ctx: &mut Self::Context) {
        if self.protocol == Protocol::Plain {
            return;
        }
        if self.is_greeted {
            return self.answer(said, ctx);
        }
        // Needs no limit of its own: the registry sees to it that there is a greeting, or a close, within
        // the handshake limit; one that hangs or panics ends the process, by the watchdog.
        let greeted = self.registry.send(AwaitGreeting(self.connection));
        ctx.wait(greeted.into_actor(self).map(|_, session, ctx| {
            session.is_greeted = true;
            session.answer(said, ctx);
        }));
    }
}

impl Session {
    fn answer(&mut self, said: Said, ctx: &mut Context<Self>) {
        let request = match said {
            Said::Text(text) => protocol::read(&text),
            _ => Err(RequestError::NotText),
        };
        match request {
            Ok(Request::Join(group, since)) => self.join(group, since, ctx),
            Ok(Request::Leave(group)) => self.leave(group, ctx),
            Ok(Request::Ping) => self.say(&protocol::pong()),
            Err(error) => self.refuse(&error),
        }
    }

    fn join(&mut self, group: GroupName, since: Option<Since>, ctx: &mut Context<Self>) {
        let join = Join(self.connection, group.clone(), since);
        let asked = self.registry.send(join).timeout(ANSWER_LIMIT);
        ctx.wait(asked.into_actor(self).map(move |answer, session, _| match answer {
            Ok(JoinAnswer::Already) => session.say(&protocol::joined(&group, None)),
            Ok(JoinAnswer::AlreadyJoined) => {
                session.refuse(&RequestError::AlreadyJoined { group });
            }
            Ok(JoinAnswer::TooMany) => {
                let max = session.max_groups;
                session.refuse(&RequestError::TooManyGroups { group, max });
            }
            Ok(JoinAnswer::GatewayFull) => session.refuse(&RequestError::GatewayFull { group }),
            // Without a registry that answers the process is ending.
            Ok(JoinAnswer::Awaited) | Err(_) => {}
        }));
    }

    fn leave(&mut self, group: GroupName, ctx: &mut Context<Self>) {
        let leave = Leave(self.connection, group.clone());
        let asked = self.registry.send(leave).timeout(ANSWER_LIMIT);
        ctx.wait(asked.into_actor(self).map(move |_, session, _| {
            session.say(&protocol::left(&group));
        }));
    }

    fn refuse(&mut self, error: &RequestError) {
        self.say(&protocol::error(error));
        if self.errors.count(Instant::now()) {
            self.socket.close(CloseCode::PolicyViolation.frame(), Waiting::Flush);
        }
    }

    fn say(&self, frame: &Bytes) {
        if self.socket.send_now(frame).is_err() {
            self.socket.close(CloseCode::TooSlow.frame(), Waiting::Drop);
        }
    }
}
