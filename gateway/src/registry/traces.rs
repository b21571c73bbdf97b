//! What a registry remembers for those who ask why a client did not get an event, and what it tells them.

use std::collections::HashMap;
use std::time::Instant;

use actix::prelude::*;
use campanile_messages::inquiry::trace::ContinuedClient;
use campanile_messages::inquiry::{EndedClient, TracedEvent};
use campanile_messages::link::Gap;
use campanile_messages::{Address, Audience, ConnectionId, Position};

use crate::dialects::Framed;
use crate::inquiry::FindUnsent;
use crate::registry::Registry;
use crate::registry::batch::Closed;
use crate::registry::clients::Clients;
use crate::registry::reply::ClientEffect;
use crate::registry::subscriptions::{Changed, Step};
use crate::resume::{Lost, ReplayStart};
use crate::trace::ended::{EndedConnection, MAX_GROUPS_BYTES, keep_groups};
use crate::trace::facts::Facts;
use crate::trace::gaps::Loss;
use crate::trace::left_groups::LeftGroup;
use crate::trace::listening::{Continued, Listening, PastOutcome};
use crate::trace::successor::may_succeed;
use crate::trace::wall::WallClock;
use crate::trace::worker::WorkerTrace;

/// Of how many connections the bridge is asked at a time what was not written to them.
const MAX_UNSENT_ASKED: usize = 32;

impl Clients {
    /// Notes how far the deliveries have come.
    #[inline]
    pub fn reach(&mut self, position: Position) {
        if position.epoch != self.trail.epoch {
            self.trail.begin_epoch(position.epoch);
            self.subscriptions.reach(position.sequence);
            self.subscriptions.restart();
        }
        self.subscriptions.reach(position.sequence);
    }

    /// The same, with an event.
    #[inline]
    pub fn reach_event(&mut self, event: &Framed) {
        if let Some(position) = event.position() {
            self.reach(position);
        }
    }

    /// Notes that this gateway has lost the events between two positions.
    pub fn note_gap(&mut self, gap: Gap, cursor: Position, until: Position) {
        // Up to there, it has got all that were for its connections.
        self.reach(cursor);
        self.trail.note_gap(gap, cursor.sequence, until, Instant::now());
        self.reach(until);
    }

    /// Lets a connection leave an audience, and remembers where it did.
    pub fn leave(&mut self, connection: ConnectionId, audience: &Audience) -> Option<Changed> {
        let mut memberships = self.subscriptions.memberships(connection);
        let listening = memberships.find(|(joined, _)| *joined == audience).map(|(_, l)| l.clone());
        drop(memberships);
        if let (Audience::Group(group), Some(listening)) = (audience, listening)
            && !listening.is_pending()
        {
            let left = self.subscriptions.reached();
            let group = (&**group).into();
            self.trail.left_groups.note(LeftGroup { connection, group, listening, left });
        }
        self.subscriptions.leave(connection, audience)
    }

    /// Notes that a client sent something that is not a position when it took a step.
    pub fn note_malformed(&mut self, step: &Step, position: Position) {
        let outcome = PastOutcome::Lost(Lost::Malformed);
        let continued = Continued { since: None, at: position.sequence, outcome };
        self.note_continued(step, continued);
    }

    /// Notes what a client gets that has asked for the past; the effects for it say what.
    pub fn note_resumed(&mut self, step: &Step, start: ReplayStart, position: Position) {
        let found = self.effects.iter().find_map(|effect| match effect {
            ClientEffect::Greet { position, resumed, .. } => Some((*position, *resumed)),
            ClientEffect::SendJoined(_, resumed) => Some((position, *resumed)),
            _ => None,
        });
        let Some((begins, resumed)) = found else { return };
        let outcome = match resumed {
            Some(Ok(())) => PastOutcome::Replayed,
            Some(Err(lost)) => PastOutcome::Lost(lost),
            None => PastOutcome::History,
        };
        self.note_continued(step, Continued::new(start, begins, position.sequence, outcome));
    }

    /// A connection that is closed already gets nothing.
    fn note_continued(&mut self, step: &Step, continued: Continued) {
        let client = self.subscriptions.known(step.connection());
        if client.is_some_and(|client| client.line.socket.is_open()) {
            self.subscriptions.note_continued(step, continued);
        }
    }

    /// Remembers a connection that is about to be forgotten. Does nothing if it is forgotten already.
    pub fn note_end(&mut self, connection: ConnectionId, closed: Option<Closed>) {
        let Some(mut ended) = self.present(connection, MAX_GROUPS_BYTES) else { return };
        if let Some(closed) = closed {
            ended.end_at(closed.missed, closed.is_overrun);
        }
        self.trail.ended.add(ended);
    }

    /// What there is to know of a connection that lives, as if it ended now, with as many groups as fit into
    /// the bytes.
    fn present(
        &self,
        connection: ConnectionId,
        max_groups_bytes: usize,
    ) -> Option<EndedConnection> {
        let (client, first) = self.subscriptions.since(connection)?;
        let memberships = self.subscriptions.memberships(connection);
        let groups = memberships.filter_map(|(audience, listening)| match audience {
            Audience::Group(group) => Some((&**group, listening)),
            Audience::Everyone | Audience::User(_) => None,
        });
        let (groups, groups_left_out) = keep_groups(groups, max_groups_bytes);
        Some(EndedConnection {
            connection,
            address: client.line.socket.client_address(),
            user: self.subscriptions.user(connection).map(|user| (&**user).into()),
            dialect: client.line.dialect,
            epoch: self.trail.epoch,
            first: first.clone(),
            last: self.subscriptions.reached(),
            written_up_to: None,
            overrun_by: None,
            groups,
            groups_left_out,
            opened: client.attached(),
            ended: Instant::now(),
            end: client.line.socket.end(),
        })
    }

    /// What there is to know of a connection for those who ask about an event; `None` if it is not
    /// remembered.
    pub fn facts(&self, connection: ConnectionId, position: Position) -> Option<Facts> {
        let present = self.present(connection, usize::MAX);
        let is_ended = present.is_none();
        let known = present.or_else(|| self.trail.ended.get(connection))?;
        let departed = self.trail.left_groups.of(connection).cloned().collect();
        Some(self.facts_of(known, is_ended, departed, position))
    }

    fn facts_of(
        &self,
        known: EndedConnection,
        is_ended: bool,
        departed: Vec<LeftGroup>,
        position: Position,
    ) -> Facts {
        let left_groups = &self.trail.left_groups;
        let is_of_this_log = known.epoch == self.trail.epoch;
        Facts {
            is_ended,
            awaits_past: self.subscriptions.awaits_past(known.connection),
            left_groups: if is_of_this_log { departed } else { Vec::new() },
            left_dropped: match is_of_this_log {
                true => left_groups.dropped(known.connection),
                // With the log, all of them were forgotten.
                false => known.last,
            },
            loss: self.trail.gaps.loss(position, is_ended.then_some(known.ended)),
            known,
        }
    }

    /// What became of an event at the connections of this worker, and at one of them; `None` before the worker has an
    /// id.
    pub fn trace(
        &self,
        position: Position,
        event: &TracedEvent,
        at: Option<Address>,
    ) -> Option<WorkerTrace> {
        let id = self.id()?;
        let mut trace = WorkerTrace::new(id, self.trail.newest);
        let TracedEvent { audience, except } = event;
        let excepted = except.filter(|except| except.worker == id).map(|except| except.connection);
        let is_lost = self.trail.gaps.loss(position, None) != Loss::No;
        self.subscriptions.for_each_listener_since(audience, |client, first, listening| {
            let own = if *listening == Listening::WithConnection { first } else { listening };
            if excepted != Some(client.connection) && self.was_handed(own, position, is_lost) {
                let is_idle = client.line.socket.end().unsent_bytes == 0;
                trace.add_living(is_idle, || self.facts(client.connection, position));
            }
        });
        // Those who have left the group since, and those who have ended.
        let mut departed: HashMap<ConnectionId, Vec<LeftGroup>> = HashMap::new();
        for left in self.trail.left_groups.all() {
            departed.entry(left.connection).or_default().push(left.clone());
        }
        let has_left = |connection: ConnectionId| {
            let left = departed.get(&connection).into_iter().flatten();
            matches!(audience, Audience::Group(group) if left.clone().any(|left| {
                left.left >= position.sequence && *left.group == **group
            }))
        };
        let of = |connection| departed.get(&connection).cloned().unwrap_or_default();
        let ended = self.trail.ended.at(position, audience, has_left);
        for known in ended.filter(|known| excepted != Some(known.connection)) {
            let left = of(known.connection);
            trace.add_other(Some(self.facts_of(known, true, left, position)));
        }
        let living = departed.keys().filter(|id| excepted != Some(**id) && has_left(**id));
        for connection in living {
            if let Some(known) = self.present(*connection, usize::MAX) {
                trace.add_other(Some(self.facts_of(known, false, of(*connection), position)));
            }
        }
        if let Some(at) = at.filter(|at| at.worker == id) {
            trace.facts = self.facts(at.connection, position);
        }
        Some(trace)
    }

    /// What there is to know of one connection of this worker for those who ask about an event of which nobody
    /// knows any more who it was for; `None` if it is not of this worker.
    pub fn trace_one(&self, position: Position, at: Address) -> Option<WorkerTrace> {
        let id = self.id().filter(|id| *id == at.worker)?;
        let mut trace = WorkerTrace::new(id, self.trail.newest);
        trace.facts = self.facts(at.connection, position);
        Some(trace)
    }

    /// The first connection of the same user, or else from the same address, that was opened after another one,
    /// and at most 2 minutes before that has ended, by a client that continued before an event.
    pub fn continued(&self, client: &EndedClient, clock: WallClock) -> Option<ContinuedClient> {
        let worker = self.id()?;
        let ended: Vec<_> = self.trail.ended.returned().collect();
        let ended = ended.iter().map(|ended| {
            (ended.connection, ended.opened, &ended.first, ended.user.as_deref(), ended.address)
        });
        let living = self.subscriptions.all_since().map(|(known, first)| {
            let user = self.subscriptions.user(known.connection).map(|user| &**user);
            let address = known.line.socket.client_address();
            (known.connection, known.attached(), first, user, address)
        });
        let found = ended.chain(living).filter_map(|(connection, opened, first, user, address)| {
            let Listening::Continued(past) = first else { return None };
            let since = past.since?;
            let opened = clock.at(opened);
            let is_same = match (&client.user, user) {
                (Some(one), Some(other)) => one == other,
                (None, None) => {
                    let address = address.map(|address| address.to_string());
                    address.is_some() && address == client.address
                }
                _ => false,
            };
            let at = Address { worker, connection };
            let is_meant = is_same && may_succeed(client, at, opened, since);
            is_meant.then(|| ContinuedClient {
                at,
                opened,
                since,
                is_recovered: past.outcome == PastOutcome::Replayed,
            })
        });
        found.min_by_key(|found| found.opened)
    }

    /// Whether a connection that lives, and listens since then, was handed an event, which this gateway may
    /// have lost.
    fn was_handed(&self, listening: &Listening, position: Position, is_lost: bool) -> bool {
        let Position { epoch, sequence } = position;
        let is_reached = !is_lost && sequence <= self.subscriptions.reached();
        let is_live = |after: u64| is_reached && after < sequence;
        epoch == self.trail.epoch
            && match listening {
                Listening::Awaits(_) | Listening::WithConnection => false,
                Listening::After(after) | Listening::Restarted(after) => is_live(*after),
                Listening::Continued(past) => {
                    let is_lost = matches!(past.outcome, PastOutcome::Lost(_));
                    is_live(past.at) || !is_lost && past.asked_for(position)
                }
            }
    }
}

impl Registry {
    /// Asks the bridge, as long as it keeps the events, what was not written to a connection that has ended.
    /// If very many end at once, it is not known of all of them.
    pub(super) fn find_unsent(&mut self, connection: ConnectionId, ctx: &mut Context<Self>) {
        let Some(ended) = self.clients.trail.ended.get(connection) else { return };
        let is_known = ended.written_up_to.is_some() || ended.end.unsent_bytes == 0;
        if is_known || self.unsent_asked >= MAX_UNSENT_ASKED {
            return;
        }
        let position = Position { epoch: ended.epoch, sequence: ended.last };
        let Some(facts) = self.clients.facts(connection, position) else { return };
        self.unsent_asked += 1;
        let asked = self.bridge.send(FindUnsent(Box::new(facts))).into_actor(self);
        ctx.spawn(asked.map(move |found, registry, _| {
            registry.unsent_asked -= 1;
            if let Ok(Some(up_to)) = found {
                registry.clients.trail.ended.note_written(connection, up_to);
            }
        }));
    }
}
