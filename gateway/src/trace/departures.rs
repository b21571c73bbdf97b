//! Which groups the connections of one worker have left lately, and at which positions. What they are in has
//! its position where the membership is kept. Pure.
//!
//! Bounded in bytes per worker, and in number per connection, so that a client that joins and leaves again
//! and again costs the others little. What is dropped is known by the connection, as long as there is room.

use std::collections::{HashMap, VecDeque};

use campanile_messages::ConnectionId;

use super::listening::Listening;

/// The most bytes that all departures of one worker take.
pub const MAX_BYTES: usize = 64 << 10;

/// The most departures that are kept of one connection.
pub const MAX_PER_CONNECTION: usize = 64;

/// What an entry costs in addition to the name of its group.
const ENTRY_BYTES: usize = 2 * size_of::<Departure>() + 64;

/// Of how many connections it is known up to where their departures were dropped.
const MAX_DROPPED: usize = 512;

/// What such a connection costs.
const DROPPED_BYTES: usize = 32;

/// A group that a connection has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
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
pub struct Departures {
    kept: VecDeque<Departure>,
    bytes: usize,
    /// Up to which sequence the departures of a connection were dropped.
    dropped: HashMap<ConnectionId, u64>,
    /// The same of any connection.
    dropped_of_any: u64,
}

impl Departures {
    /// Notes a departure.
    pub fn note(&mut self, departure: Departure) {
        let connection = departure.connection;
        let mut of_it = self.kept.iter().enumerate().filter(|(_, d)| d.connection == connection);
        let oldest = of_it.next().map(|(place, _)| place);
        if let Some(oldest) = oldest.filter(|_| of_it.count() + 1 >= MAX_PER_CONNECTION)
            && let Some(departure) = self.kept.remove(oldest)
        {
            self.drop(&departure);
        }
        self.bytes += cost_bytes(&departure);
        self.kept.push_back(departure);
        while self.bytes + MAX_DROPPED * DROPPED_BYTES > MAX_BYTES
            && let Some(departure) = self.kept.pop_front()
        {
            self.drop(&departure);
        }
    }

    fn drop(&mut self, departure: &Departure) {
        self.bytes -= cost_bytes(departure);
        if self.dropped.len() >= MAX_DROPPED && !self.dropped.contains_key(&departure.connection) {
            let all = self.dropped.drain().map(|(_, up_to)| up_to).max().unwrap_or(0);
            self.dropped_of_any = self.dropped_of_any.max(all);
        }
        self.dropped.insert(departure.connection, departure.left);
    }

    /// The kept departures of a connection.
    pub fn of(&self, connection: ConnectionId) -> impl Iterator<Item = &Departure> {
        self.kept.iter().filter(move |departure| departure.connection == connection)
    }

    /// Up to this sequence, departures of a connection may have been dropped.
    pub fn dropped(&self, connection: ConnectionId) -> u64 {
        self.dropped.get(&connection).copied().unwrap_or(0).max(self.dropped_of_any)
    }

    /// All that are kept.
    pub fn all(&self) -> impl Iterator<Item = &Departure> {
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

fn cost_bytes(departure: &Departure) -> usize {
    let continued = match departure.listening {
        Listening::Continued(_) => 64,
        _ => 0,
    };
    ENTRY_BYTES + departure.group.len() + continued
}

#[cfg(test)]
mod tests {
    use super::*;

    fn departure(connection: u64, group: &str, left: u64) -> Departure {
        let (connection, listening) = (ConnectionId(connection), Listening::After(0));
        Departure { connection, group: group.into(), listening, left }
    }

    fn lefts(departures: &Departures, connection: u64) -> Vec<u64> {
        departures.of(ConnectionId(connection)).map(|departure| departure.left).collect()
    }

    #[test]
    fn the_last_64_departures_of_a_connection_are_kept() {
        let mut departures = Departures::default();
        departures.note(departure(2, "a", 1));
        (1..=70).for_each(|left| departures.note(departure(1, "a", left)));
        assert_eq!(lefts(&departures, 1), (7..=70).collect::<Vec<_>>());
        assert_eq!((departures.dropped(ConnectionId(1)), lefts(&departures, 2)), (6, vec![1]));
        assert_eq!(departures.dropped(ConnectionId(2)), 0, "others lose nothing");
    }

    #[test]
    fn a_storm_of_departures_stays_within_64_kib() {
        let mut departures = Departures::default();
        let long = "g".repeat(255);
        for n in 0..100_000 {
            departures.note(departure(n, if n % 2 == 0 { &long } else { "a" }, n));
            assert!(departures.bytes() <= MAX_BYTES, "{}", departures.bytes());
        }
        assert!(departures.all().count() > 30);
        assert_eq!(lefts(&departures, 99_999), [99_999]);
        assert!(departures.dropped(ConnectionId(5)) >= 5, "what was dropped is not denied");
    }
}
