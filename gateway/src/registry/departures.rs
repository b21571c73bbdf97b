//! Who waits for which connections to end. Pure: a part of the registry's core.

use std::collections::HashSet;

use campanile_messages::ConnectionId;
use campanile_messages::inquiry::DisconnectedSummary;

/// Those who wait. `W` is what is needed to answer one of them. Bounded by how many questions of operators
/// the bridge passes on at a time.
#[derive(Debug)]
pub struct Departures<W> {
    waiting: Vec<Departing<W>>,
    last: u64,
}

/// One who waits.
#[derive(Debug)]
struct Departing<W> {
    number: u64,
    waiter: W,
    connections: HashSet<ConnectionId>,
    ended: u64,
}

/// Who waited, with what has become of the connections.
pub type Departed<W> = (W, DisconnectedSummary);

impl<W> Default for Departures<W> {
    fn default() -> Self {
        Self { waiting: Vec::new(), last: 0 }
    }
}

impl<W> Departures<W> {
    /// Waits for connections, of which there is at least one. Returns the number to
    /// [`give_up`](Self::give_up) with.
    pub fn wait_for(
        &mut self,
        connections: impl IntoIterator<Item = ConnectionId>,
        waiter: W,
    ) -> u64 {
        self.last += 1;
        let connections = connections.into_iter().collect();
        self.waiting.push(Departing { number: self.last, waiter, connections, ended: 0 });
        self.last
    }

    /// Notes that a connection has ended. Returns those for whom it was the last one.
    pub fn ended(&mut self, connection: ConnectionId) -> Vec<Departed<W>> {
        let done = self.waiting.extract_if(.., |departing| {
            departing.ended += u64::from(departing.connections.remove(&connection));
            departing.connections.is_empty()
        });
        // Without anybody who waits, nothing is allocated.
        done.map(Departing::end).collect()
    }

    /// Waits no longer. `None` if all have ended before.
    pub fn give_up(&mut self, number: u64) -> Option<Departed<W>> {
        let place = self.waiting.iter().position(|departing| departing.number == number)?;
        Some(self.waiting.swap_remove(place).end())
    }
}

impl<W> Departing<W> {
    fn end(self) -> Departed<W> {
        let Self { waiter, connections, ended, .. } = self;
        (waiter, DisconnectedSummary { ended, ending: connections.len() as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: std::ops::Range<u64>) -> impl Iterator<Item = ConnectionId> {
        numbers.map(ConnectionId)
    }

    #[test]
    fn whoever_waits_is_answered_when_the_last_connection_has_ended() {
        let mut departures = Departures::default();
        departures.wait_for(ids(0..2), "a");
        departures.wait_for(ids(1..2), "b");
        assert_eq!(departures.ended(ConnectionId(7)), []);
        assert_eq!(departures.ended(ConnectionId(0)), []);
        assert_eq!(departures.ended(ConnectionId(0)), [], "each ends once");
        let done = departures.ended(ConnectionId(1));
        let ended = |ended| DisconnectedSummary { ended, ending: 0 };
        assert_eq!(done, [("a", ended(2)), ("b", ended(1))]);
        assert_eq!(departures.ended(ConnectionId(1)), []);
    }

    #[test]
    fn whoever_gives_up_learns_how_many_are_left() {
        let mut departures = Departures::default();
        let number = departures.wait_for(ids(0..3), ());
        departures.ended(ConnectionId(2));
        let left = Some(((), DisconnectedSummary { ended: 1, ending: 2 }));
        assert_eq!(departures.give_up(number), left);
        assert_eq!(departures.give_up(number), None);
    }
}
