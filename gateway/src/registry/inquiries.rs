//! What a registry answers when operators ask, and how it closes connections for them.

use std::future::ready;
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::inquiries::unix_micros;
use campanile_messages::inquiry::{
    ConnectionsSummary, DisconnectedSummary, MAX_GROUPS_BYTES_OF_MANY, MAX_GROUPS_BYTES_OF_ONE,
    MAX_LISTED_CONNECTIONS, MAX_LISTED_ENDED, Question, Whom, WorkerSummary,
};
use campanile_messages::{Address, ConnectionId, UserName};
use tokio::sync::oneshot;

use super::Registry;
use crate::inquiry::{Inquire, WorkerAnswer};
use crate::trace::wall::WallClock;
use crate::websocket::CloseCode;

/// How many connections are closed before the other actors of the thread get their turn.
const AT_ONCE: usize = 256;

/// The time between two such steps.
const STEP: Duration = Duration::from_millis(2);

/// How long connections may take to end before the answer says that they are still ending. It is longer than a client
/// has for closing its side, after which it is cut, and shorter than what the bridge waits.
const END_LIMIT: Duration = Duration::from_millis(2_500);

impl Handler<Inquire> for Registry {
    type Result = ResponseFuture<WorkerAnswer>;

    fn handle(&mut self, Inquire(question): Inquire, ctx: &mut Self::Context) -> Self::Result {
        let answer = match question {
            Question::Summary => {
                self.summary().map_or(WorkerAnswer::Nothing, WorkerAnswer::Summary)
            }
            Question::Connection(at) => {
                let found = self.connection(at).into_iter().collect::<Vec<_>>();
                match self.describe(&found, MAX_GROUPS_BYTES_OF_ONE) {
                    described if described.connections.is_empty() => self.ended(at),
                    described => WorkerAnswer::Connections(described),
                }
            }
            Question::User(user) => {
                let found = self.of_user(&user);
                WorkerAnswer::Connections(self.describe(&found, MAX_GROUPS_BYTES_OF_MANY))
            }
            Question::Ended { last } => {
                let clock = WallClock { now: Instant::now(), unix_micros: unix_micros() };
                let most = last.min(MAX_LISTED_ENDED);
                WorkerAnswer::Connections(self.clients.last_ended(most, clock))
            }
            Question::Disconnect { whom, may_return, reason, .. } => {
                let code = if may_return { CloseCode::GoingAway } else { CloseCode::NotAllowed };
                let found = match whom {
                    Whom::Connection(at) => self.connection(at).into_iter().collect(),
                    Whom::User(user) => self.of_user(&user),
                };
                return self.disconnect(found, code, &reason, ctx);
            }
            Question::Trace { position, at, event: Some(event) } => {
                let trace = self.clients.trace(position, &event, at).map(Box::new);
                trace.map_or(WorkerAnswer::Nothing, WorkerAnswer::Trace)
            }
            Question::Continued(client) => {
                let clock = WallClock { now: Instant::now(), unix_micros: unix_micros() };
                let continued = self.clients.continued(&client, clock);
                continued.map_or(WorkerAnswer::Nothing, WorkerAnswer::Continued)
            }
            Question::Trace { position, at: Some(at), event: None } => {
                let trace = self.clients.trace_one(position, at).map(Box::new);
                trace.map_or(WorkerAnswer::Nothing, WorkerAnswer::Trace)
            }
            Question::Trace { at: None, event: None, .. } => WorkerAnswer::Nothing,
        };
        Box::pin(ready(answer))
    }
}

impl Registry {
    /// How this worker fares; `None` before the broker has given it an id.
    fn summary(&self) -> Option<WorkerSummary> {
        let id = self.clients.id()?;
        Some(WorkerSummary {
            id,
            connections: self.clients.subscriptions.connections() as u64,
            outbox_bytes: self.clients.meters().outbox_bytes.get(),
        })
    }

    /// The connection at an address, if it is one of this worker's.
    fn connection(&self, at: Address) -> Option<ConnectionId> {
        let is_here = self.clients.id() == Some(at.worker);
        (is_here && self.clients.subscriptions.known(at.connection).is_some())
            .then_some(at.connection)
    }

    /// The connections of a user, in order.
    fn of_user(&self, user: &UserName) -> Vec<ConnectionId> {
        let found = self.clients.subscriptions.of_user(user);
        let mut found: Vec<_> = found.into_iter().map(|client| client.connection).collect();
        found.sort_unstable();
        found
    }

    /// What there is to know of connections, with names of groups of at most this many bytes for each.
    fn describe(&self, found: &[ConnectionId], max_groups_bytes: usize) -> ConnectionsSummary {
        let now = Instant::now();
        let listed = found.iter().take(MAX_LISTED_CONNECTIONS);
        ConnectionsSummary {
            connections: listed
                .filter_map(|connection| self.clients.describe(*connection, now, max_groups_bytes))
                .collect(),
            left_out: found.len().saturating_sub(MAX_LISTED_CONNECTIONS) as u64,
        }
    }

    /// What is remembered of a connection that has ended.
    fn ended(&self, at: Address) -> WorkerAnswer {
        let is_here = self.clients.id() == Some(at.worker);
        let clock = WallClock { now: Instant::now(), unix_micros: unix_micros() };
        let ended = is_here.then(|| self.clients.describe_ended(at, clock)).flatten();
        WorkerAnswer::Connections(ConnectionsSummary {
            connections: ended.into_iter().collect(),
            left_out: 0,
        })
    }

    /// Closes connections in turns. Answers when they have ended, at the latest after [`END_LIMIT`].
    fn disconnect(
        &mut self,
        found: Vec<ConnectionId>,
        code: CloseCode,
        reason: &str,
        ctx: &mut Context<Self>,
    ) -> ResponseFuture<WorkerAnswer> {
        if found.is_empty() {
            let nobody = DisconnectedSummary::default();
            return Box::pin(ready(WorkerAnswer::Disconnected(nobody)));
        }
        for (step, some) in found.chunks(AT_ONCE).enumerate() {
            let (some, reason) = (some.to_vec(), reason.to_owned());
            ctx.run_later(STEP * step as u32, move |registry, _| {
                let clients = &registry.clients.subscriptions;
                for client in some.iter().filter_map(|connection| clients.known(*connection)) {
                    client.line.disconnect(code, &reason);
                }
            });
        }
        let (done, ended) = oneshot::channel();
        let number = self.awaited_ends.wait_for(found, done);
        ctx.run_later(END_LIMIT, move |registry, _| {
            if let Some((done, summary)) = registry.awaited_ends.give_up(number) {
                // If the bridge does not wait any more, nobody does.
                let _ = done.send(summary);
            }
        });
        // Whoever waits is always answered, unless the registry ends, and the process with it.
        Box::pin(async { WorkerAnswer::Disconnected(ended.await.unwrap_or_default()) })
    }

    /// Notes that a connection has really ended.
    pub(super) fn note_end(&mut self, connection: ConnectionId) {
        for (done, summary) in self.awaited_ends.ended(connection) {
            let _ = done.send(summary);
        }
    }
}
