//! Who waits for which connections to end. Pure: a part of the registry's core.

use std::collections::HashSet;

use campanile_messages::ConnectionId;
use campanile_messages::inquiry::DisconnectedSummary;

/// Those who wait. `W` is what is needed to answer one of them. Bounded by how many questions of operators
/// the bridge passes on at a time.
#[derive(Debug)]
pub struct AwaitedEnds<W> {
    waiting: Vec<AwaitedEnd<W>>,
    last: u64,
}

/// One who waits.
#[derive(Debug)]
struct AwaitedEnd<W> {
    number: u64,
    waiter: W,
    connections: HashSet<ConnectionId>,
    ended: u64,
}

/// Who waited, with what has become of the connections.
pub type EndsAnswer<W> = (W, DisconnectedSummary);

impl<W> Default for AwaitedEnds<W> {
    fn default() -> Self {
        Self { waiting: Vec::new(), last: 0 }
    }
}

impl<W> AwaitedEnds<W> {
    /// Waits for connections, of which there is at least one. Returns the number to
    /// [`give_up`](Self::give_up) with.
    pub fn wait_for(
        &mut self,
        connections: impl IntoIterator<Item = ConnectionId>,
        waiter: W,
    ) -> u64 {
        self.last += 1;
        let connections = connections.into_iter().collect();
        self.waiting.push(AwaitedEnd { number: self.last, waiter, connections, ended: 0 });
        self.last
    }

    /// Notes that a connection has ended. Returns those for whom it was the last one.
    pub fn ended(&mut self, connection: ConnectionId) -> Vec<EndsAnswer<W>> {
        let done = self.waiting.extract_if(.., |awaited| {
            awaited.ended += u64::from(awaited.connections.remove(&connection));
            awaited.connections.is_empty()
        });
        // Without anybody who waits, nothing is allocated.
        done.map(AwaitedEnd::end).collect()
    }

    /// Waits no longer. `None` if all have ended before.
    pub fn give_up(&mut self, number: u64) -> Option<EndsAnswer<W>> {
        let place = self.waiting.iter().position(|awaited| awaited.number == number)?;
        Some(self.waiting.swap_remove(place).end())
    }
}

impl<W> AwaitedEnd<W> {
    fn end(self) -> EndsAnswer<W> {
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
        let mut ends = AwaitedEnds::default();
        ends.wait_for(ids(0..2), "a");
        ends.wait_for(ids(1..2), "b");
        assert_eq!(ends.ended(ConnectionId(7)), []);
        assert_eq!(ends.ended(ConnectionId(0)), []);
        assert_eq!(ends.ended(ConnectionId(0)), [], "each ends once");
        let done = ends.ended(ConnectionId(1));
        let ended = |ended| DisconnectedSummary { ended, ending: 0 };
        assert_eq!(done, [("a", ended(2)), ("b", ended(1))]);
        assert_eq!(ends.ended(ConnectionId(1)), []);
    }

    #[test]
    fn whoever_gives_up_learns_how_many_are_left() {
        let mut ends = AwaitedEnds::default();
        let number = ends.wait_for(ids(0..3), ());
        ends.ended(ConnectionId(2));
        let left = Some(((), DisconnectedSummary { ended: 1, ending: 2 }));
        assert_eq!(ends.give_up(number), left);
        assert_eq!(ends.give_up(number), None);
    }
}
