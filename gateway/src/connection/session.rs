//! The session of one client: processes the client's messages, and lives as long as its connection. The
//! client of an event stream sends none.
//!
//! Receives from its client, through [`Incoming`]. Sends to its worker's registry and to its own socket.
//! Runs on the worker's thread. Bounded by: one message of its client at a time; the client is not read
//! until the registry has answered.

mod publishing;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;
use campanile_edge::websocket::Message as Said;
use campanile_edge::{Principal, Rate, Secret};
use campanile_messages::{ConnectionId, GroupName};

use crate::config::GatewayConfig;
use crate::connection::Ended;
use crate::connection::line::Line;
use crate::connection::pace::{Pace, Paced};
use crate::connection::socket::{Socket, Unsent};
use crate::dialects::{Dialect, Errors, Request, RequestError};
use crate::entrance::seats::Seat;
use crate::entrance::wish::Wish;
use crate::meters::ClientLimit;
use crate::registry::{Attach, Detach, Join, JoinAnswer, Leave, Registry, Renew};
use crate::resume::Since;
use crate::websocket::{CloseCode, Incoming};
use publishing::Published;

/// The actor of one connection. Each idle connection keeps it, so it is small: with 64 bytes more, its task
/// takes 128 bytes more.
pub struct Session {
    connection: ConnectionId,
    worker: Rc<WorkerHandle>,
    /// The parts of its [`line`](Self::line). Next to a flag, they take less than the line does.
    socket: Arc<Socket>,
    dialect: Dialect,
    /// Whether the page that opened the connection may publish without a token.
    is_page_trusted: bool,
    /// Made with the first message that counts for a limit.
    activity: Option<Box<Activity>>,
    seat: Seat,
}

/// What all sessions of a worker share. An address of an actor is three allocations, so that a session does
/// not have its own.
pub struct WorkerHandle {
    pub registry: Addr<Registry>,
    pub config: Arc<GatewayConfig>,
}

/// What a client has done lately, as far as it is limited.
#[derive(Debug, Default)]
struct Activity {
    joins: Pace,
    errors: Errors,
    published: Published,
}

/// What the door knows of a connection when its session starts.
#[derive(Debug)]
pub struct Opening {
    pub principal: Principal,
    pub wish: Wish,
    pub incoming: Incoming,
    /// Whether the page that opens the connection may publish without a token.
    pub is_page_trusted: bool,
}

impl Session {
    /// Starts the session of a connection on this thread.
    pub fn start(
        connection: ConnectionId,
        line: Line,
        opening: Opening,
        worker: Rc<WorkerHandle>,
        seat: Seat,
    ) {
        worker.config.meters.opened(line.dialect);
        let Opening { principal, wish, incoming, is_page_trusted } = opening;
        if let Some(user) = &wish.user {
            seat.note_user(user);
        }
        Self::create(|ctx| {
            worker.registry.do_send(Attach {
                connection,
                line: line.clone(),
                principal,
                groups: wish.groups,
                user: wish.user,
                since: wish.since,
            });
            ctx.add_stream(incoming);
            let Line { socket, dialect } = line;
            let activity = None;
            Self { connection, worker, socket, dialect, is_page_trusted, activity, seat }
        });
    }
}

impl Actor for Session {
    type Context = Context<Self>;
}

impl Drop for Session {
    /// Whatever ended the session, even a panic, the registry forgets the connection.
    fn drop(&mut self) {
        self.socket.abort();
        self.worker.registry.do_send(Detach {
            connection: self.connection,
            address: self.seat.address(),
            end: self.socket.end(),
        });
        let (config, dialect) = (&self.worker.config, self.dialect);
        config.meters.ended(dialect, self.socket.close_code());
        let ended = Ended { socket: &self.socket, dialect, user: self.seat.user() };
        ended.log_incident(&config.incidents);
        if config.access_log {
            ended.log_access();
        }
    }
}

impl StreamHandler<Said> for Session {
    fn handle(&mut self, said: Said, ctx: &mut Self::Context) {
        let Some(request) = self.dialect.rules().read(&said) else { return };
        // Nothing is answered before the greeting.
        let Some(greeted) = self.socket.greeted() else {
            return self.answer(request, ctx);
        };
        // Without a time limit: the registry greets or closes every client within the handshake limit,
        // and if it hangs or panics, the watchdog ends the process.
        ctx.wait(greeted.into_actor(self).map(|_, session, ctx| session.answer(request, ctx)));
    }
}

impl Session {
    fn answer(&mut self, request: Result<Request, RequestError>, ctx: &mut Context<Self>) {
        match request {
            Ok(Request::Auth(token)) => self.renew(token, ctx),
            Ok(Request::Join(group, since)) => self.join(group, since, ctx),
            Ok(Request::Leave(group)) => self.leave(group, ctx),
            Ok(Request::Ping) => self.line().say(self.dialect.rules().pong()),
            Ok(Request::Publish(publish)) => self.publish(*publish, ctx),
            Err(error) => self.refuse(&error),
        }
    }

    fn join(&mut self, group: GroupName, since: Option<Since>, ctx: &mut Context<Self>) {
        let rate = self.worker.config.limits.borrow().rates.joins;
        let paced = self.activity().joins.count(rate, Instant::now());
        if paced != Paced::InTime {
            self.worker.config.meters.client_limits.count(ClientLimit::Joins);
        }
        match paced {
            Paced::InTime => {}
            Paced::TooSoon => {
                let per_second = rate.map_or(0, Rate::per_second);
                let error =
                    RequestError::RateLimited { group: Some(group), what: "joins", per_second };
                return self.line().say(self.dialect.rules().error(&error));
            }
            Paced::GoesOn => return self.line().close(CloseCode::RateLimited, Unsent::Flush),
        }
        let join = Join(self.connection, group.clone(), since);
        // Without a time limit, here and below: a request that is given up is never performed, and if the
        // registry hangs, the watchdog ends the process.
        let asked = self.worker.registry.send(join);
        ctx.wait(asked.into_actor(self).map(move |answer, session, _| match answer {
            Ok(JoinAnswer::Already) => {
                session.line().say(session.dialect.rules().joined(&group, None))
            }
            Ok(JoinAnswer::AlreadyJoined) => {
                session.refuse(&RequestError::AlreadyJoined { group });
            }
            Ok(JoinAnswer::TooMany) => {
                let max = session.worker.config.max_groups;
                session.refuse(&RequestError::TooManyGroups { group, max });
            }
            Ok(JoinAnswer::NotAllowed) => session.refuse(&RequestError::NotAllowed { group }),
            Ok(JoinAnswer::GatewayFull) => session.refuse(&RequestError::GatewayFull { group }),
            // If the registry is gone, the process is ending.
            Ok(JoinAnswer::Awaited) | Err(_) => {}
        }));
    }

    fn renew(&mut self, token: Secret, ctx: &mut Context<Self>) {
        let asked = self.worker.registry.send(Renew(self.connection, token));
        ctx.wait(asked.into_actor(self).map(|answer, session, _| match answer {
            Ok(Ok(expires_in)) => session.line().say(session.dialect.rules().renewed(expires_in)),
            Ok(Err(error)) => session.refuse(&error),
            // The process is ending.
            Err(_) => {}
        }));
    }

    fn leave(&mut self, group: GroupName, ctx: &mut Context<Self>) {
        let leave = Leave(self.connection, group.clone());
        let asked = self.worker.registry.send(leave);
        ctx.wait(asked.into_actor(self).map(move |_, session, _| {
            session.line().say(session.dialect.rules().left(&group, None));
        }));
    }

    fn line(&self) -> Line {
        Line { socket: self.socket.clone(), dialect: self.dialect }
    }

    fn activity(&mut self) -> &mut Activity {
        self.activity.get_or_insert_default()
    }

    fn refuse(&mut self, error: &RequestError) {
        self.worker.config.meters.reached(ClientLimit::behind(error));
        if let RequestError::Publish(refused) = error {
            self.worker.config.meters.publishes.count((&refused.error).into());
        }
        self.line().say(self.dialect.rules().error(error));
        if error.is_clients_fault() && self.activity().errors.count(Instant::now()) {
            self.line().close(CloseCode::PolicyViolation, Unsent::Flush);
        }
    }
}

#[cfg(test)]
mod tests {
    use actix::dev::ContextFut;

    use super::*;

    #[test]
    fn the_task_of_a_session_fits_into_512_bytes() {
        // The runtime adds about 100 bytes, and rounds up to a multiple of 128.
        assert!(size_of::<ContextFut<Session, Context<Session>>>() <= 408);
    }
}
