//! Which groups the connections of one worker have left lately, and at which positions. What they are in has
//! its position where the membership is kept. Pure.
//!
//! Bounded in bytes per worker, and in number per connection, so that a client that joins and leaves again
//! and again costs the others little. What is dropped is known by the connection, as long as there is room.

use std::collections::{HashMap, VecDeque};

use campanile_messages::ConnectionId;

use super::listening::Listening;

/// The most bytes that all left groups of one worker take.
pub const MAX_BYTES: usize = 64 << 10;

/// The most left groups that are kept of one connection.
pub const MAX_PER_CONNECTION: usize = 64;

/// What an entry costs in addition to the name of its group.
const ENTRY_BYTES: usize = 2 * size_of::<LeftGroup>() + 64;

/// Of how many connections it is known up to where their left groups were dropped.
const MAX_DROPPED: usize = 512;

/// What such a connection costs.
const DROPPED_BYTES: usize = 32;

/// A group that a connection has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftGroup {
    /// The connection.
    pub connection: ConnectionId,
    /// The group.
    pub group: Box<str>,
    /// Since when it had listened to it.
    pub listening: Listening,
    /// It got the events of the group up to this sequence.
    pub left: u64,
}

/// The groups that connections have left.
#[derive(Debug, Default)]
pub struct LeftGroups {
    kept: VecDeque<LeftGroup>,
    bytes: usize,
    /// Up to which sequence those of a connection were dropped.
    dropped: HashMap<ConnectionId, u64>,
    /// The same of any connection.
    dropped_of_any: u64,
}

impl LeftGroups {
    /// Notes a group that was left.
    pub fn note(&mut self, left: LeftGroup) {
        let connection = left.connection;
        let mut of_it = self.kept.iter().enumerate().filter(|(_, d)| d.connection == connection);
        let oldest = of_it.next().map(|(place, _)| place);
        if let Some(oldest) = oldest.filter(|_| of_it.count() + 1 >= MAX_PER_CONNECTION)
            && let Some(left) = self.kept.remove(oldest)
        {
            self.drop(&left);
        }
        self.bytes += cost_bytes(&left);
        self.kept.push_back(left);
        while self.bytes + MAX_DROPPED * DROPPED_BYTES > MAX_BYTES
            && let Some(left) = self.kept.pop_front()
        {
            self.drop(&left);
        }
    }

    fn drop(&mut self, left: &LeftGroup) {
        self.bytes -= cost_bytes(left);
        if self.dropped.len() >= MAX_DROPPED && !self.dropped.contains_key(&left.connection) {
            let all = self.dropped.drain().map(|(_, up_to)| up_to).max().unwrap_or(0);
            self.dropped_of_any = self.dropped_of_any.max(all);
        }
        self.dropped.insert(left.connection, left.left);
    }

    /// The groups that a connection has left, as far as they are kept.
    pub fn of(&self, connection: ConnectionId) -> impl Iterator<Item = &LeftGroup> {
        self.kept.iter().filter(move |left| left.connection == connection)
    }

    /// Up to this sequence, groups that a connection has left may have been dropped.
    pub fn dropped(&self, connection: ConnectionId) -> u64 {
        self.dropped.get(&connection).copied().unwrap_or(0).max(self.dropped_of_any)
    }

    /// All that are kept.
    pub fn all(&self) -> impl Iterator<Item = &LeftGroup> {
        self.kept.iter()
    }

    /// Forgets everything, because another epoch begins, to whose positions these do not belong.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many bytes it takes at most.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes + self.dropped.len() * DROPPED_BYTES
    }
}

fn cost_bytes(left: &LeftGroup) -> usize {
    let continued = match left.listening {
        Listening::Continued(_) => 64,
        _ => 0,
    };
    ENTRY_BYTES + left.group.len() + continued
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group_left(connection: u64, group: &str, left: u64) -> LeftGroup {
        let (connection, listening) = (ConnectionId(connection), Listening::After(0));
        LeftGroup { connection, group: group.into(), listening, left }
    }

    fn lefts(left_groups: &LeftGroups, connection: u64) -> Vec<u64> {
        left_groups.of(ConnectionId(connection)).map(|left| left.left).collect()
    }

    #[test]
    fn the_last_64_groups_that_a_connection_left_are_kept() {
        let mut left_groups = LeftGroups::default();
        left_groups.note(group_left(2, "a", 1));
        (1..=70).for_each(|at| left_groups.note(group_left(1, "a", at)));
        assert_eq!(lefts(&left_groups, 1), (7..=70).collect::<Vec<_>>());
        assert_eq!((left_groups.dropped(ConnectionId(1)), lefts(&left_groups, 2)), (6, vec![1]));
        assert_eq!(left_groups.dropped(ConnectionId(2)), 0, "others lose nothing");
    }

    #[test]
    fn a_storm_of_leaves_stays_within_64_kib() {
        let mut left_groups = LeftGroups::default();
        let long = "g".repeat(255);
        for n in 0..100_000 {
            left_groups.note(group_left(n, if n % 2 == 0 { &long } else { "a" }, n));
            assert!(left_groups.bytes() <= MAX_BYTES, "{}", left_groups.bytes());
        }
        assert!(left_groups.all().count() > 30);
        assert_eq!(lefts(&left_groups, 99_999), [99_999]);
        assert!(left_groups.dropped(ConnectionId(5)) >= 5, "what was dropped is not denied");
    }
}
