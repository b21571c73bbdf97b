//! The connections of one worker that ended lately. Pure.
//!
//! A connection is added when it stops to listen, and completed when its session ends, which may be some
//! seconds later.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use campanile_edge::Peer;
use campanile_messages::{Audience, ConnectionId, Position};

use super::listening::Listening;
use crate::dialects::Dialect;

/// How many ended connections a gateway remembers, all its workers together.
pub const MAX_ENDED: usize = 10_000;

/// The most bytes that they take.
pub const MAX_BYTES: usize = 8 << 20;

/// The most bytes of the groups of one connection. What is beyond that is counted only.
pub const MAX_GROUPS_BYTES: usize = 4 << 10;

/// What a box costs in addition to what is in it, with what the allocator rounds up.
const BOX_BYTES: usize = 16;

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
            Some(_) => {
                self.last = match &self.first {
                    Listening::After(after) => *after,
                    Listening::Continued(past) => past.at,
                    Listening::Awaits(_) | Listening::WithConnection => self.last,
                }
            }
        }
    }
}

/// How a connection ended, as far as its socket knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// The close code; 0 if the connection broke, or the client has closed it without one.
    pub code: u16,
    /// How many bytes were written.
    pub sent_bytes: u64,
    /// How many waited and were never written.
    pub unsent_bytes: u64,
    /// How many bytes of all that was queued were surely not events of the log; `u16::MAX` for that many or more.
    pub other_bytes: u16,
}

/// A connection as it is kept. Ten thousand of them stay when all clients have left, so it is small.
#[derive(Debug)]
struct EndedEntry {
    connection: ConnectionId,
    /// What is kept of its address.
    peer: Peer,
    /// `None` if it had no user and no groups, and there is nothing to say of how it began.
    more: Option<Box<More>>,
    /// Since after which sequence it listened, if that is all there is to say.
    after: u64,
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
    code: u16,
    /// The place of its epoch in the list of epochs.
    log: u16,
    dialect: Dialect,
    /// Whether it was closed because the event after `last` did not fit into its outbox.
    is_overrun: bool,
}

/// What only some of the connections have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct More {
    user: Option<Box<str>>,
    groups: KeptGroups,
    /// Since when it listened, unless that is just since after a sequence.
    first: Option<Box<Listening>>,
    groups_left_out: u32,
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
    /// The logs that their positions belong to.
    epochs: Vec<u64>,
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
            epochs: Vec::new(),
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

    /// Those that were there when an event was handed to connections, and belonged to its audience when they ended
    /// or `had_left` it before.
    pub fn at<'a>(
        &'a self,
        position: Position,
        audience: &'a Audience,
        had_left: impl Fn(ConnectionId) -> bool + 'a,
    ) -> impl Iterator<Item = EndedConnection> + 'a {
        let Position { epoch, sequence } = position;
        let log = self.log(epoch);
        let were_there = self.kept.iter().filter(move |entry| {
            let last = entry.last + u64::from(entry.is_overrun);
            let is_its = || entry.belongs_to(audience) || had_left(entry.connection);
            Some(entry.log) == log && last >= sequence && is_its()
        });
        were_there.map(|entry| self.unpack(entry))
    }

    /// Those that had come back with a position.
    pub fn returned(&self) -> impl Iterator<Item = EndedConnection> {
        let returned = |entry: &&EndedEntry| matches!(entry.first(), Some(Listening::Continued(_)));
        self.kept.iter().filter(returned).map(|entry| self.unpack(entry))
    }

    /// The last ones are asked for most, because a connection is completed soon after it is added.
    fn entry_mut(&mut self, connection: ConnectionId) -> Option<&mut EndedEntry> {
        self.kept.iter_mut().rev().find(|entry| entry.connection == connection)
    }

    fn since_start(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.started).as_micros() as u64
    }

    /// The place of an epoch in the list of epochs.
    fn log(&self, epoch: u64) -> Option<u16> {
        let place = self.epochs.iter().rposition(|known| *known == epoch)?;
        u16::try_from(place).ok()
    }

    /// The same, with a new place for one that is not in the list. When all places are taken, everything is
    /// forgotten.
    fn log_of(&mut self, epoch: u64) -> u16 {
        self.log(epoch).unwrap_or_else(|| {
            if self.epochs.len() > usize::from(u16::MAX) {
                (self.epochs, self.kept, self.bytes) = (Vec::new(), VecDeque::new(), 0);
            }
            self.epochs.push(epoch);
            (self.epochs.len() - 1) as u16
        })
    }

    fn pack(&mut self, ended: EndedConnection) -> EndedEntry {
        let EndedConnection { user, groups, groups_left_out, .. } = ended;
        let (after, first) = match ended.first {
            Listening::After(after) => (after, None),
            first => (0, Some(Box::new(first))),
        };
        let groups_left_out = u32::try_from(groups_left_out).unwrap_or(u32::MAX);
        let more = More { user, groups, first, groups_left_out };
        let mut entry = EndedEntry {
            connection: ended.connection,
            peer: Peer::of(ended.address),
            more: (more != More::default()).then(|| Box::new(more)),
            after,
            last: ended.last,
            not_written: not_written(ended.last, ended.written_up_to),
            opened: self.since_start(ended.opened),
            ended: self.since_start(ended.ended),
            sent_bytes: 0,
            unsent_bytes: 0,
            other_bytes: 0,
            code: 0,
            log: self.log_of(ended.epoch),
            dialect: ended.dialect,
            is_overrun: ended.overrun_by.is_some(),
        };
        entry.set_end(ended.end);
        entry
    }

    fn unpack(&self, entry: &EndedEntry) -> EndedConnection {
        let at = |micros| self.started + Duration::from_micros(micros);
        let More { user, groups, groups_left_out, .. } =
            entry.more.as_deref().cloned().unwrap_or_default();
        EndedConnection {
            connection: entry.connection,
            address: entry.peer.address(),
            user,
            dialect: entry.dialect,
            epoch: self.epochs[usize::from(entry.log)],
            first: entry.first().cloned().unwrap_or(Listening::After(entry.after)),
            last: entry.last,
            written_up_to: (entry.not_written != UNKNOWN)
                .then(|| entry.last - u64::from(entry.not_written)),
            overrun_by: entry.is_overrun.then_some(entry.last + 1),
            groups,
            groups_left_out: groups_left_out as usize,
            opened: at(entry.opened),
            ended: at(entry.ended),
            end: ConnectionEnd {
                code: entry.code,
                sent_bytes: entry.sent_bytes,
                unsent_bytes: entry.unsent_bytes.into(),
                other_bytes: entry.other_bytes,
            },
        }
    }
}

impl EndedEntry {
    fn set_end(&mut self, end: ConnectionEnd) {
        let ConnectionEnd { code, sent_bytes, unsent_bytes, other_bytes } = end;
        (self.code, self.sent_bytes, self.other_bytes) = (code, sent_bytes, other_bytes);
        self.unsent_bytes = u32::try_from(unsent_bytes).unwrap_or(u32::MAX);
    }

    /// Since when it listened, unless that is just since `after`.
    fn first(&self) -> Option<&Listening> {
        self.more.as_ref()?.first.as_deref()
    }

    fn user(&self) -> Option<&str> {
        self.more.as_ref()?.user.as_deref()
    }

    fn groups(&self) -> &[(Box<str>, Listening)] {
        self.more.as_ref().map_or(&[], |more| &more.groups)
    }

    fn belongs_to(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Everyone => true,
            Audience::User(user) => self.user().is_some_and(|own| *own == **user),
            Audience::Group(group) => self.groups().iter().any(|(name, _)| **name == **group),
        }
    }

    fn cost_bytes(&self) -> usize {
        let continued = |listening: &Listening| match listening {
            Listening::Continued(_) => 64,
            _ => 0,
        };
        let groups =
            self.groups().iter().map(|(group, l)| GROUP_BYTES + group.len() + continued(l));
        let user = self.user().map_or(0, |user| user.len() + BOX_BYTES);
        let first = self.first().map_or(0, |first| size_of::<Listening>() + continued(first));
        let more = self.more.as_ref().map_or(0, |_| size_of::<More>() + BOX_BYTES);
        size_of::<Self>() + more + groups.sum::<usize>() + user + first
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
