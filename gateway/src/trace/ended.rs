//! The connections of one worker that ended lately. Pure.
//!
//! A connection is added when it stops to listen, and completed when its session ends, which may be some
//! seconds later.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

use campanile_messages::ConnectionId;

use super::listening::Listening;
use crate::dialects::Dialect;

/// How many ended connections a gateway remembers, all its workers together.
pub const MAX_ENDED: usize = 10_000;

/// The most bytes that they take.
pub const MAX_BYTES: usize = 8 << 20;

/// The most bytes of the groups of one connection. What is beyond that is counted only.
pub const MAX_GROUPS_BYTES: usize = 4 << 10;

/// What an entry takes in addition to its names: itself twice, because a growing queue reserves that much,
/// and its place in the index.
const ENTRY_BYTES: usize = 2 * size_of::<EndedConnection>() + 64;

/// What a group costs in addition to its name.
const GROUP_BYTES: usize = size_of::<(Box<str>, Listening)>() + 16;

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
    pub groups: Box<[(Box<str>, Listening)]>,
    /// How many more there were.
    pub groups_left_out: usize,
    /// When it was opened.
    pub opened: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How it ended.
    pub end: ConnectionEnd,
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
}

/// The connections that ended lately.
#[derive(Debug)]
pub struct EndedConnections {
    kept: VecDeque<EndedConnection>,
    /// For each of them, how many were ever added before it.
    numbers: HashMap<ConnectionId, u64>,
    dropped: u64,
    bytes: usize,
    max_bytes: usize,
    max: usize,
}

impl EndedConnections {
    /// Starts empty, for one of this many workers.
    pub fn new(workers: usize) -> Self {
        let workers = workers.max(1);
        Self {
            kept: VecDeque::new(),
            numbers: HashMap::new(),
            dropped: 0,
            bytes: 0,
            max_bytes: MAX_BYTES / workers,
            max: MAX_ENDED.div_ceil(workers),
        }
    }

    /// Adds a connection that does not listen any more.
    pub fn add(&mut self, ended: EndedConnection) {
        self.bytes += cost_bytes(&ended);
        let number = self.dropped + self.kept.len() as u64;
        self.numbers.insert(ended.connection, number);
        self.kept.push_back(ended);
        while (self.kept.len() > self.max || self.bytes > self.max_bytes)
            && let Some(oldest) = self.kept.pop_front()
        {
            self.dropped += 1;
            self.bytes -= cost_bytes(&oldest);
            self.numbers.remove(&oldest.connection);
        }
    }

    /// Completes a connection whose session has ended.
    pub fn complete(
        &mut self,
        connection: ConnectionId,
        address: Option<IpAddr>,
        end: ConnectionEnd,
        now: Instant,
    ) {
        if let Some(place) = self.place(connection)
            && let Some(ended) = self.kept.get_mut(place)
        {
            (ended.address, ended.end, ended.ended) = (address, end, now);
        }
    }

    /// Notes up to where everything was surely written to a connection that ended with something waiting.
    pub fn note_written(&mut self, connection: ConnectionId, up_to: u64) {
        if let Some(place) = self.place(connection)
            && let Some(ended) = self.kept.get_mut(place)
        {
            ended.written_up_to = Some(up_to);
        }
    }

    /// A connection that has ended, if it is remembered.
    pub fn get(&self, connection: ConnectionId) -> Option<&EndedConnection> {
        self.kept.get(self.place(connection)?)
    }

    /// All that are remembered, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &EndedConnection> {
        self.kept.iter()
    }

    fn place(&self, connection: ConnectionId) -> Option<usize> {
        usize::try_from(self.numbers.get(&connection)?.checked_sub(self.dropped)?).ok()
    }
}

/// The groups of a connection that fit into `max_bytes`, in memory of their own, and how many are left out.
pub fn keep_groups<'a>(
    groups: impl Iterator<Item = (&'a str, &'a Listening)>,
    max_bytes: usize,
) -> (Box<[(Box<str>, Listening)]>, usize) {
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

fn cost_bytes(ended: &EndedConnection) -> usize {
    let continued = |listening: &Listening| match listening {
        Listening::Continued(_) => 64,
        _ => 0,
    };
    let groups = ended.groups.iter().map(|(group, l)| GROUP_BYTES + group.len() + continued(l));
    let user = ended.user.as_ref().map_or(0, |user| user.len());
    ENTRY_BYTES + groups.sum::<usize>() + user + continued(&ended.first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(connection: u64, groups: &[&str]) -> EndedConnection {
        let listening = Listening::WithConnection;
        let (groups, groups_left_out) =
            keep_groups(groups.iter().map(|g| (*g, &listening)), MAX_GROUPS_BYTES);
        EndedConnection {
            connection: ConnectionId(connection),
            address: None,
            user: Some("u".repeat(255).into()),
            dialect: Dialect::V1,
            epoch: 1,
            first: Listening::After(0),
            last: 5,
            written_up_to: None,
            overrun_by: None,
            groups,
            groups_left_out,
            opened: Instant::now(),
            ended: Instant::now(),
            end: ConnectionEnd::default(),
        }
    }

    #[test]
    fn the_last_connections_of_a_worker_are_remembered() {
        let mut all = EndedConnections::new(4);
        (0..3_000).for_each(|connection| all.add(ended(connection, &[])));
        assert_eq!((all.kept.len(), all.dropped, all.numbers.len()), (2_500, 500, 2_500));
        assert!(all.get(ConnectionId(499)).is_none());
        assert_eq!(all.get(ConnectionId(500)).map(|found| found.connection.0), Some(500));
        let (address, end) =
            (Some([10, 0, 0, 7].into()), ConnectionEnd { code: 1000, ..Default::default() });
        all.complete(ConnectionId(2_999), address, end, Instant::now());
        all.complete(ConnectionId(1), address, end, Instant::now());
        let last = all.get(ConnectionId(2_999)).expect("the last one");
        assert_eq!((last.address, last.end), (address, end));
    }

    #[test]
    fn a_storm_of_connections_with_long_names_stays_within_its_bytes() {
        let names: Vec<_> = (0..100).map(|n| format!("{n:0>255}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut all = EndedConnections::new(1);
        for connection in 0..100_000 {
            all.add(ended(connection, if connection % 2 == 0 { &names } else { &[] }));
            assert!(all.bytes <= MAX_BYTES);
        }
        let kept = all.get(ConnectionId(99_998)).expect("one of the last");
        assert!(kept.groups.len() > 10);
        assert_eq!(kept.groups.len() + kept.groups_left_out, 100);
    }
}
