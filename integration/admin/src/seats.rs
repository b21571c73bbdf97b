//! The connections of each address, and which of them are idle. Pure.

use std::collections::HashMap;
use std::net::SocketAddr;

use campanile_edge::Peer;

/// The most connections of one address at a time, loopback included: whoever comes from there cannot take the
/// seats of all others.
const MAX_PER_ADDRESS: usize = 64;

/// Who is connected. `L` is what is needed to have a connection end. An address without connections takes no memory.
#[derive(Debug)]
pub struct Seats<L> {
    of_addresses: HashMap<Peer, Vec<Occupant<L>>>,
    /// Counts what happens, so that later numbers are of later times.
    last: u64,
}

#[derive(Debug)]
struct Occupant<L> {
    number: u64,
    /// A client has no two connections from the same port.
    from: SocketAddr,
    /// When its last request was over, or when it came; `None` while one is under way.
    idle_since: Option<u64>,
    leave: L,
}

/// A connection was admitted.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<L> {
    /// What it is called when it [leaves](Seats::leave).
    pub number: u64,
    /// The one that has to end for it, and is not counted any more.
    pub evicted: Option<L>,
}

/// A connection is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests from your address: at most {MAX_PER_ADDRESS} at a time are accepted")]
pub struct Crowded;

impl<L> Default for Seats<L> {
    fn default() -> Self {
        Self { of_addresses: HashMap::new(), last: 0 }
    }
}

impl<L> Seats<L> {
    /// Counts a new connection, which is idle.
    ///
    /// # Errors
    /// Its address has as many as it may, and none of them is idle.
    pub fn take(&mut self, from: SocketAddr, leave: L) -> Result<Taken<L>, Crowded> {
        let number = self.next();
        let occupants = self.of_addresses.entry(Peer::from(from.ip())).or_default();
        let mut evicted = None;
        if occupants.len() >= MAX_PER_ADDRESS {
            let idle = occupants
                .iter()
                .enumerate()
                .filter_map(|(place, occupant)| occupant.idle_since.map(|since| (since, place)));
            let (_, oldest) = idle.min().ok_or(Crowded)?;
            evicted = Some(occupants.swap_remove(oldest).leave);
        }
        occupants.push(Occupant { number, from, idle_since: Some(number), leave });
        Ok(Taken { number, evicted })
    }

    /// A connection has ended. Does nothing if it had to end for another one.
    pub fn leave(&mut self, from: SocketAddr, number: u64) {
        let address = Peer::from(from.ip());
        if let Some(occupants) = self.of_addresses.get_mut(&address) {
            occupants.retain(|occupant| occupant.number != number);
            if occupants.is_empty() {
                self.of_addresses.remove(&address);
            }
        }
    }

    /// A request of a connection begins.
    pub fn begin(&mut self, from: SocketAddr) {
        self.note(from, None);
    }

    /// A request of a connection is over.
    pub fn end(&mut self, from: SocketAddr) {
        let now = self.next();
        self.note(from, Some(now));
    }

    fn note(&mut self, from: SocketAddr, idle_since: Option<u64>) {
        let occupants = self.of_addresses.get_mut(&Peer::from(from.ip()));
        for occupant in occupants.into_iter().flatten().filter(|occupant| occupant.from == from) {
            occupant.idle_since = idle_since;
        }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn full() -> Seats<u16> {
        let mut seats = Seats::default();
        for port in 0..MAX_PER_ADDRESS as u16 {
            assert_eq!(seats.take(from(port), port).expect("room").evicted, None);
        }
        seats
    }

    #[test]
    fn the_connection_that_is_idle_for_the_longest_gives_way() {
        let mut seats = full();
        // The first has just been answered, and the second is about to be.
        seats.begin(from(0));
        seats.end(from(0));
        seats.begin(from(1));
        let mut evicted = |port| seats.take(from(port), port).map(|taken| taken.evicted);
        assert_eq!(evicted(100), Ok(Some(2)));
        for port in 3..64 {
            assert_eq!(evicted(100 + port), Ok(Some(port)));
        }
        assert_eq!(evicted(200), Ok(Some(0)));
        assert_eq!(evicted(201), Ok(Some(100)));
        let other = SocketAddr::from(([127, 0, 0, 2], 1));
        assert_eq!(seats.take(other, 300).map(|taken| taken.evicted), Ok(None));
    }

    #[test]
    fn requests_that_are_under_way_do_not_give_way() {
        let mut seats = full();
        for port in 0..MAX_PER_ADDRESS as u16 {
            seats.begin(from(port));
        }
        assert_eq!(seats.take(from(100), 100), Err(Crowded));
        seats.end(from(7));
        let taken = seats.take(from(100), 100).expect("room");
        assert_eq!(taken.evicted, Some(7));
        seats.begin(from(100));
        // The evicted one ends later than it was counted.
        seats.leave(from(7), 8);
        assert_eq!(seats.take(from(101), 101), Err(Crowded));
        seats.leave(from(100), taken.number);
        assert_eq!(seats.take(from(101), 101).map(|taken| taken.evicted), Ok(None));
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let mut seats = Seats::default();
        let taken = seats.take(from(1), ()).expect("room");
        seats.leave(from(1), taken.number + 1);
        assert_eq!(seats.of_addresses.len(), 1);
        seats.leave(from(1), taken.number);
        seats.begin(from(1));
        seats.end(from(1));
        assert!(seats.of_addresses.is_empty());
    }
}
