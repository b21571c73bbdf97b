//! The connections of one worker that ended lately. Pure.
//!
//! A connection is added when it stops to listen, and completed when its session ends, which may be some
//! seconds later.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use campanile_edge::Peer;
use campanile_messages::{Audience, ConnectionId, Position};

use super::listening::Listening;
use crate::dialects::Dialect;
use crate::websocket::CloseCause;

/// How many ended connections a gateway remembers, all its workers together.
pub const MAX_ENDED: usize = 10_000;

/// The most bytes that they take.
pub const MAX_BYTES: usize = 8 << 20;

/// The most bytes of the groups of one connection. What is beyond that is counted only.
pub const MAX_GROUPS_BYTES: usize = 4 << 10;

/// What two boxes cost, one in the other, in addition to what is in them.
const BOX_BYTES: usize = 48;

/// What a group costs in addition to its name.
const GROUP_BYTES: usize = size_of::<(Box<str>, Listening)>() + 16;

/// Groups of a connection with since when it was in them.
pub type KeptGroups = Box<[(Box<str>, Listening)]>;

/// A connection that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedConnection {
    /// Its id at this worker.
    pub connection: ConnectionId,
    /// The client's address; of IPv6 the first half. `None` until its session has ended.
    pub address: Option<IpAddr>,
    /// Its user, if it had one.
    pub user: Option<Box<str>>,
    /// How it was spoken to.
    pub dialect: Dialect,
    /// The log that its positions belong to.
    pub epoch: u64,
    /// Since when it listened.
    pub first: Listening,
    /// It was handed the events up to this sequence.
    pub last: u64,
    /// The events up to this sequence were surely written, although something waited when it ended; `None` if
    /// that is not known.
    pub written_up_to: Option<u64>,
    /// The event that did not fit into its outbox any more, so that it was closed.
    pub overrun_by: Option<u64>,
    /// The groups that it was in at the end.
    pub groups: KeptGroups,
    /// How many more there were.
    pub groups_left_out: usize,
    /// When it was opened.
    pub opened: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How it ended.
    pub end: ConnectionEnd,
}

impl EndedConnection {
    /// The connection got nothing from this event on, which possibly did not fit into its outbox.
    pub fn end_at(&mut self, missed: Option<Position>, is_overrun: bool) {
        match missed {
            Some(Position { epoch, sequence }) if epoch == self.epoch => {
                self.last = self.last.min(sequence.saturating_sub(1));
                self.overrun_by = is_overrun.then_some(sequence);
            }
            None => {}
            // Another log has begun since, and it got nothing of that.
            Some(_) => self.last = self.first.after().unwrap_or(self.last),
        }
    }
}

/// How a connection ended, as far as its socket knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// What closed it; `None` if the connection broke, or the client went away without a close.
    pub cause: Option<CloseCause>,
    /// How many bytes were written.
    pub sent_bytes: u64,
    /// How many waited and were never written.
    pub unsent_bytes: u64,
    /// How many bytes of all that was queued were surely not events of the log; `u16::MAX` for that many or more.
    pub other_bytes: u16,
}

impl ConnectionEnd {
    /// The close code; 0 without a cause.
    pub fn code(&self) -> u16 {
        self.cause.map_or(0, CloseCause::code)
    }
}

/// A connection as it is kept. Ten thousand of them stay when all clients have left, so it is small.
#[derive(Debug)]
struct EndedEntry {
    connection: ConnectionId,
    /// What is kept of its address.
    peer: Peer,
    user: Option<Box<Box<str>>>,
    /// With how many more there were; `None` if there were none.
    groups: Option<Box<(KeptGroups, usize)>>,
    epoch: u64,
    first: Listening,
    last: u64,
    /// How far before `last` everything was surely written; [`UNKNOWN`] for none.
    not_written: u32,
    /// In microseconds since the start, as `ended`.
    opened: u64,
    ended: u64,
    sent_bytes: u64,
    /// At most what fits into the type.
    unsent_bytes: u32,
    other_bytes: u16,
    cause: Option<CloseCause>,
    dialect: Dialect,
    /// Whether it was closed because the event after `last` did not fit into its outbox.
    is_overrun: bool,
}

const UNKNOWN: u32 = u32::MAX;

fn not_written(last: u64, written_up_to: Option<u64>) -> u32 {
    let not_written = written_up_to.map(|up_to| u32::try_from(last.saturating_sub(up_to)));
    not_written.and_then(Result::ok).unwrap_or(UNKNOWN)
}

/// By how many entries the memory grows at a time.
const GROWTH: usize = 512;

/// The connections that ended lately.
#[derive(Debug)]
pub struct EndedConnections {
    started: Instant,
    kept: VecDeque<EndedEntry>,
    bytes: usize,
    max_bytes: usize,
    max: usize,
}

impl EndedConnections {
    /// Starts empty, for one of this many workers.
    pub fn new(workers: usize, now: Instant) -> Self {
        let workers = workers.max(1);
        Self {
            started: now,
            kept: VecDeque::new(),
            bytes: 0,
            max_bytes: MAX_BYTES / workers,
            max: MAX_ENDED.div_ceil(workers),
        }
    }

    /// Adds a connection that does not listen any more.
    pub fn add(&mut self, ended: EndedConnection) {
        let entry = self.pack(ended);
        self.bytes += entry.cost_bytes();
        while (self.kept.len() >= self.max || self.bytes > self.max_bytes)
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.cost_bytes();
        }
        if self.kept.len() == self.kept.capacity() {
            self.kept.reserve_exact(GROWTH);
        }
        self.kept.push_back(entry);
    }

    /// Completes a connection whose session has ended. Returns whether it is remembered.
    pub fn complete(
        &mut self,
        connection: ConnectionId,
        address: Option<IpAddr>,
        end: ConnectionEnd,
        now: Instant,
    ) -> bool {
        let ended = self.since_start(now);
        let Some(entry) = self.entry_mut(connection) else { return false };
        (entry.peer, entry.ended) = (Peer::of(address), ended);
        entry.set_end(end);
        true
    }

    /// Notes up to where everything was surely written to a connection that ended with something waiting.
    pub fn note_written(&mut self, connection: ConnectionId, up_to: u64) {
        if let Some(entry) = self.entry_mut(connection) {
            entry.not_written = not_written(entry.last, Some(up_to));
        }
    }

    /// A connection that has ended, if it is remembered.
    pub fn get(&self, connection: ConnectionId) -> Option<EndedConnection> {
        let entry = self.kept.iter().rev().find(|entry| entry.connection == connection)?;
        Some(self.unpack(entry))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Those that ended last, the newest first, at most this many.
    pub fn newest(&self, most: usize) -> impl Iterator<Item = EndedConnection> {
        // They are kept in the order in which they stopped to listen, and some take long to end.
        let newest_first = |entry: &&EndedEntry| Reverse((entry.ended, entry.connection));
        let mut newest: Vec<_> = self.kept.iter().collect();
        // Clients wait meanwhile, so not all of them are sorted.
        if most < newest.len() {
            newest.select_nth_unstable_by_key(most, newest_first);
            newest.truncate(most);
        }
        newest.sort_unstable_by_key(newest_first);
        newest.into_iter().map(|entry| self.unpack(entry))
    }

    /// Those that were there when an event was handed to connections, and belonged to its audience when they ended
    /// or `had_left` it before.
    pub fn at<'a>(
        &'a self,
        position: Position,
        audience: &'a Audience,
        had_left: impl Fn(ConnectionId) -> bool + 'a,
    ) -> impl Iterator<Item = EndedConnection> + 'a {
        let Position { epoch, sequence } = position;
        let were_there = self.kept.iter().filter(move |entry| {
            let last = entry.last + u64::from(entry.is_overrun);
            let is_its = || entry.belongs_to(audience) || had_left(entry.connection);
            entry.epoch == epoch && last >= sequence && is_its()
        });
        were_there.map(|entry| self.unpack(entry))
    }

    /// Those that had come back with a position.
    pub fn returned(&self) -> impl Iterator<Item = EndedConnection> {
        let returned = |entry: &&EndedEntry| matches!(entry.first, Listening::Continued(_));
        self.kept.iter().filter(returned).map(|entry| self.unpack(entry))
    }

    /// The last ones are asked for most, because a connection is completed soon after it is added.
    fn entry_mut(&mut self, connection: ConnectionId) -> Option<&mut EndedEntry> {
        self.kept.iter_mut().rev().find(|entry| entry.connection == connection)
    }

    fn since_start(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.started).as_micros() as u64
    }

    fn pack(&self, ended: EndedConnection) -> EndedEntry {
        let EndedConnection { groups, groups_left_out, .. } = ended;
        let has_groups = !groups.is_empty() || groups_left_out > 0;
        let mut entry = EndedEntry {
            connection: ended.connection,
            peer: Peer::of(ended.address),
            user: ended.user.map(Box::new),
            groups: has_groups.then(|| Box::new((groups, groups_left_out))),
            epoch: ended.epoch,
            first: ended.first,
            last: ended.last,
            not_written: not_written(ended.last, ended.written_up_to),
            opened: self.since_start(ended.opened),
            ended: self.since_start(ended.ended),
            sent_bytes: 0,
            unsent_bytes: 0,
            other_bytes: 0,
            cause: None,
            dialect: ended.dialect,
            is_overrun: ended.overrun_by.is_some(),
        };
        entry.set_end(ended.end);
        entry
    }

    fn unpack(&self, entry: &EndedEntry) -> EndedConnection {
        let at = |micros| self.started + Duration::from_micros(micros);
        let (groups, groups_left_out) = entry.groups.as_deref().cloned().unwrap_or_default();
        EndedConnection {
            connection: entry.connection,
            address: entry.peer.address(),
            user: entry.user.as_deref().cloned(),
            dialect: entry.dialect,
            epoch: entry.epoch,
            first: entry.first.clone(),
            last: entry.last,
            written_up_to: (entry.not_written != UNKNOWN)
                .then(|| entry.last - u64::from(entry.not_written)),
            overrun_by: entry.is_overrun.then_some(entry.last + 1),
            groups,
            groups_left_out,
            opened: at(entry.opened),
            ended: at(entry.ended),
            end: ConnectionEnd {
                cause: entry.cause,
                sent_bytes: entry.sent_bytes,
                unsent_bytes: entry.unsent_bytes.into(),
                other_bytes: entry.other_bytes,
            },
        }
    }
}

impl EndedEntry {
    fn set_end(&mut self, end: ConnectionEnd) {
        let ConnectionEnd { cause, sent_bytes, unsent_bytes, other_bytes } = end;
        (self.cause, self.sent_bytes, self.other_bytes) = (cause, sent_bytes, other_bytes);
        self.unsent_bytes = u32::try_from(unsent_bytes).unwrap_or(u32::MAX);
    }

    fn belongs_to(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Everyone => true,
            Audience::User(user) => self.user.as_ref().is_some_and(|own| ***own == **user),
            Audience::Group(group) => {
                let groups = self.groups.as_deref().map_or(&[][..], |(groups, _)| groups);
                groups.iter().any(|(name, _)| **name == **group)
            }
        }
    }

    fn cost_bytes(&self) -> usize {
        let continued = |listening: &Listening| match listening {
            Listening::Continued(_) => 64,
            _ => 0,
        };
        let (groups, _) =
            self.groups.as_deref().map_or((&[][..], 0), |(kept, out)| (&**kept, *out));
        let groups = groups.iter().map(|(group, l)| GROUP_BYTES + group.len() + continued(l));
        let user = self.user.as_ref().map_or(0, |user| user.len() + BOX_BYTES);
        size_of::<Self>() + groups.sum::<usize>() + user + BOX_BYTES + continued(&self.first)
    }
}

/// The groups of a connection that fit into `max_bytes`, in memory of their own, and how many are left out.
pub fn keep_groups<'a>(
    groups: impl Iterator<Item = (&'a str, &'a Listening)>,
    max_bytes: usize,
) -> (KeptGroups, usize) {
    let (mut kept, mut bytes, mut left_out) = (Vec::new(), 0, 0);
    for (group, listening) in groups {
        bytes += GROUP_BYTES + group.len();
        match bytes <= max_bytes {
            true => kept.push((group.into(), listening.clone())),
            false => left_out += 1,
        }
    }
    (kept.into(), left_out)
}

#[cfg(test)]
mod tests;
