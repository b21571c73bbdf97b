//! The session of one client: what it says, and its life from greeting to close. An event stream's
//! client says nothing.
//!
//! Receives from its client, through [`Incoming`]. Sends to the registry of its worker, and to its
//! own socket. Runs on the worker's thread. Bounded by: one message of its client at a time; the
//! client is not read while the registry has not answered.

use std::time::Instant;

use actix::prelude::*;
use campanile_edge::Principal;
use campanile_edge::websocket::Message as Said;
use campanile_messages::{ConnectionId, GroupName};

use crate::connection::line::Line;
use crate::connection::socket::Unsent;
use crate::dialects::{Errors, Request, RequestError};
use crate::entrance::seats::Seat;
use crate::entrance::wish::Wish;
use crate::registry::{Attach, Detach, Join, JoinAnswer, Leave, Registry};
use crate::resume::Since;
use crate::websocket::{CloseCode, Incoming};

/// See the module's documentation.
pub struct Session {
    connection: ConnectionId,
    line: Line,
    registry: Addr<Registry>,
    max_groups: usize,
    errors: Errors,
    /// Taken when the session starts.
    opening: Option<Box<Opening>>,
    _seat: Seat,
}

/// What a session begins with.
#[derive(Debug)]
pub struct Opening {
    pub principal: Principal,
    pub wish: Wish,
    pub incoming: Incoming,
}

impl Session {
    pub fn new(
        connection: ConnectionId,
        line: Line,
        opening: Opening,
        (registry, max_groups): (Addr<Registry>, usize),
        seat: Seat,
    ) -> Self {
        Self {
            connection,
            line,
            registry,
            max_groups,
            errors: Errors::default(),
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
            line: self.line.clone(),
            principal: opening.principal,
            groups: opening.wish.groups,
            since: opening.wish.since,
        });
        ctx.add_stream(opening.incoming);
    }
}

impl Drop for Session {
    /// Whatever ended the session, a panic included, the registry forgets it.
    fn drop(&mut self) {
        self.line.socket.abort();
        self.registry.do_send(Detach(self.connection));
    }
}

impl StreamHandler<Said> for Session {
    fn handle(&mut self, said: Said, ctx: &mut Self::Context) {
        let Some(request) = self.line.rules().read(&said) else { return };
        // Nothing is answered before the greeting.
        let Some(greeted) = self.line.socket.greeted() else {
            return self.answer(request, ctx);
        };
        // Needs no limit of its own: the registry sees to it that there is a greeting, or a close, within
        // the handshake limit; one that hangs or panics ends the process, by the watchdog.
        ctx.wait(greeted.into_actor(self).map(|_, session, ctx| session.answer(request, ctx)));
    }
}

impl Session {
    fn answer(&mut self, request: Result<Request, RequestError>, ctx: &mut Context<Self>) {
        match request {
            Ok(Request::Join(group, since)) => self.join(group, since, ctx),
            Ok(Request::Leave(group)) => self.leave(group, ctx),
            Ok(Request::Ping) => self.line.say(self.line.rules().pong()),
            Err(error) => self.refuse(&error),
        }
    }

    fn join(&mut self, group: GroupName, since: Option<Since>, ctx: &mut Context<Self>) {
        let join = Join(self.connection, group.clone(), since);
        // Without a limit, here and below: a request that is given up is never performed, and a registry
        // that hangs is a matter for the watchdog.
        let asked = self.registry.send(join);
        ctx.wait(asked.into_actor(self).map(move |answer, session, _| match answer {
            Ok(JoinAnswer::Already) => session.line.say(session.line.rules().joined(&group, None)),
            Ok(JoinAnswer::AlreadyJoined) => {
                session.refuse(&RequestError::AlreadyJoined { group });
            }
            Ok(JoinAnswer::TooMany) => {
                let max = session.max_groups;
                session.refuse(&RequestError::TooManyGroups { group, max });
            }
            Ok(JoinAnswer::NotAllowed) => session.refuse(&RequestError::NotAllowed { group }),
            Ok(JoinAnswer::GatewayFull) => session.refuse(&RequestError::GatewayFull { group }),
            // Without a registry that answers the process is ending.
            Ok(JoinAnswer::Awaited) | Err(_) => {}
        }));
    }

    fn leave(&mut self, group: GroupName, ctx: &mut Context<Self>) {
        let leave = Leave(self.connection, group.clone());
        let asked = self.registry.send(leave);
        ctx.wait(asked.into_actor(self).map(move |_, session, _| {
            session.line.say(session.line.rules().left(&group));
        }));
    }

    fn refuse(&mut self, error: &RequestError) {
        self.line.say(self.line.rules().error(error));
        if self.errors.count(Instant::now()) {
            self.line.close(CloseCode::PolicyViolation, Unsent::Flush);
        }
    }
}
