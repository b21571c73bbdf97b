//! The connections of one worker that ended lately. Pure.
//!
//! A connection is added when it stops to listen, and completed when its session ends, which may be some
//! seconds later.

mod entry;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use campanile_edge::Peer;
use campanile_messages::{Audience, ConnectionId, Position};

use super::listening::Listening;
use crate::dialects::Dialect;
use crate::websocket::CloseCause;
use entry::{EndedEntry, since};

/// How many ended connections a gateway remembers, all its workers together.
pub const MAX_ENDED: usize = 10_000;

/// The most bytes that they take.
pub const MAX_BYTES: usize = 8 << 20;

/// The most bytes of the groups of one connection. What is beyond that is counted only.
pub const MAX_GROUPS_BYTES: usize = 4 << 10;

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
    /// The event that did not fit into its outbox any more, so that it was closed: the one after `last`.
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
                // Everything before that was handed to it, even if nobody here wanted it.
                self.last = sequence.saturating_sub(1);
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
        let log = self.log_of(ended.epoch);
        let entry = EndedEntry::pack(ended, self.started, log);
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
        let ended = since(self.started, now);
        let Some(entry) = self.entry_mut(connection) else { return false };
        (entry.peer, entry.ended) = (Peer::of(address), ended);
        entry.set_end(end);
        true
    }

    /// Notes up to where everything was surely written to a connection that ended with something waiting.
    pub fn note_written(&mut self, connection: ConnectionId, up_to: u64) {
        if let Some(entry) = self.entry_mut(connection) {
            entry.note_written(up_to);
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

    fn unpack(&self, entry: &EndedEntry) -> EndedConnection {
        entry.unpack(self.started, self.epochs[usize::from(entry.log)])
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
