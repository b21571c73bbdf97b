//! What there is to know about connections.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::{Address, Position, UserName};

/// The most connections of a user that one answer lists.
pub const MAX_LISTED_CONNECTIONS: usize = 100;

/// The most connections that one answer lists of those that ended last.
pub const MAX_LISTED_ENDED: u16 = 50;

/// How many bytes of names of groups are listed for each connection of a user, so that all of them fit.
pub const MAX_GROUPS_BYTES_OF_MANY: usize = 1 << 10;

/// How many bytes of names of groups are listed for a single connection.
pub const MAX_GROUPS_BYTES_OF_ONE: usize = 64 << 10;

/// The connections that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionsSummary {
    /// At most [`MAX_LISTED_CONNECTIONS`], in the order of their addresses; those that ended last, the newest
    /// first.
    pub connections: Vec<ConnectionSummary>,
    /// How many more there are.
    pub left_out: u64,
}

impl ConnectionsSummary {
    /// Adds other connections.
    pub fn join(mut self, other: Self) -> Self {
        self.left_out += other.left_out;
        self.connections.extend(other.connections);
        self.connections.sort_unstable_by_key(|it| (it.at.worker, it.at.connection));
        self.left_out += self.connections.len().saturating_sub(MAX_LISTED_CONNECTIONS) as u64;
        self.connections.truncate(MAX_LISTED_CONNECTIONS);
        self
    }

    /// Adds others that ended, and keeps the newest ones, at most this many.
    pub fn join_ended(mut self, other: Self, most: u16) -> Self {
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.connections.extend(other.connections);
        self.connections.sort_by_key(|it| {
            let ended = it.ended.as_ref().map(|end| end.unix_millis);
            (Reverse(ended), it.at.worker, Reverse(it.at.connection))
        });
        let more = self.connections.len().saturating_sub(most.into());
        self.left_out = self.left_out.saturating_add(more as u64);
        self.connections.truncate(most.into());
        self
    }
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionSummary {
    /// Where it is, or was.
    pub at: Address,
    /// The user that it is, if it is one.
    #[serde(default)]
    pub user: Option<UserName>,
    /// Where the TCP connection comes from, `IP:PORT`, if that is known. Behind a proxy, it is the proxy.
    #[serde(default)]
    pub address: Option<String>,
    /// `plain`, `v1` or `events`.
    #[serde(default)]
    pub dialect: String,
    /// The groups that it listens to, in order, as far as they are listed.
    #[serde(default)]
    pub groups: Vec<String>,
    /// How many more there are.
    #[serde(default)]
    pub groups_left_out: u64,
    /// For how long it has been open, or was.
    #[serde(default)]
    pub open_millis: u64,
    /// The last position that it got, if its dialect has positions.
    #[serde(default)]
    pub position: Option<Position>,
    /// How many bytes wait for it.
    #[serde(default)]
    pub outbox_bytes: u64,
    /// How many bytes it was sent.
    #[serde(default)]
    pub sent_bytes: u64,
    /// How it ended; `None` while it lives.
    #[serde(default)]
    pub ended: Option<ConnectionEnd>,
}

/// How a connection ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionEnd {
    /// The close code that was sent; 0 for none.
    pub code: u16,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// What closed it, as a word such as `too_slow`; empty if nobody did, and in the answers of earlier releases.
    pub cause: String,
}

/// What became of connections that were to be closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DisconnectedSummary {
    /// How many have ended.
    pub ended: u64,
    /// How many are closed and have not ended yet, because their clients do not close their side.
    pub ending: u64,
}

impl DisconnectedSummary {
    /// Adds others.
    pub fn join(self, other: Self) -> Self {
        Self { ended: self.ended + other.ended, ending: self.ending + other.ending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inquiry::{Answer, MAX_PACKED_BYTES, pack};
    use crate::{ConnectionId, WorkerId};

    fn connection(number: u64) -> ConnectionSummary {
        let name = "\u{e9}".repeat(120);
        ConnectionSummary {
            at: Address { worker: WorkerId(1), connection: ConnectionId(number) },
            user: Some(UserName::new(name.clone()).expect("a name")),
            address: Some("[2001:db8:1111:2222:3333:4444:5555:6666]:65535".to_owned()),
            dialect: "events".to_owned(),
            groups: vec!["g".to_owned(); MAX_GROUPS_BYTES_OF_MANY / 4],
            groups_left_out: u64::MAX,
            open_millis: u64::MAX,
            position: Some(Position { epoch: u64::MAX, sequence: u64::MAX }),
            outbox_bytes: u64::MAX,
            sent_bytes: u64::MAX,
            ended: Some(ConnectionEnd {
                code: u16::MAX,
                unix_millis: u64::MAX - number,
                cause: "too_many_unauthenticated".to_owned(),
            }),
        }
    }

    #[test]
    fn many_connections_are_listed_as_far_as_they_fit() {
        let all = |numbers: std::ops::Range<u64>| ConnectionsSummary {
            connections: numbers.map(connection).collect(),
            left_out: 1,
        };
        let joined = all(60..120).join(all(0..60));
        assert_eq!((joined.connections.len(), joined.left_out), (MAX_LISTED_CONNECTIONS, 22));
        assert_eq!(joined.connections[99].at.connection, ConnectionId(99));
        let len = pack(&Answer::Connections(joined)).expect("it fits").as_bytes().len();
        assert!(len < MAX_PACKED_BYTES * 9 / 10, "{len}");
    }

    #[test]
    fn the_newest_ends_come_first_and_are_bounded() {
        let ended = |numbers: std::ops::Range<u64>| ConnectionsSummary {
            connections: numbers.map(connection).collect(),
            left_out: 3,
        };
        let joined = ended(30..90).join_ended(ended(0..30), MAX_LISTED_ENDED);
        let numbers: Vec<_> = joined.connections.iter().map(|it| it.at.connection.0).collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
        assert_eq!(joined.left_out, 46);
    }
}
