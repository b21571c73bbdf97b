//! Sockets at the broker without a link: they have not sent a hello yet, or their link was refused or
//! has ended and they do not close. They must never keep a peer out that does send a hello. So every
//! socket is accepted, and when there are too many, the address with the most of them loses its oldest
//! one.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;

use campanile_edge::Peer;
use tokio::sync::oneshot;

/// Decides which socket is closed when there are too many. Pure.
#[derive(Debug)]
struct Room {
    /// The numbers of the sockets without a link, in the order in which they came.
    strangers: HashMap<Peer, VecDeque<u64>>,
    strangers_len: usize,
    seated: usize,
    max_sockets: usize,
    next: u64,
}

impl Room {
    fn new(max_sockets: usize) -> Self {
        Self { strangers: HashMap::new(), strangers_len: 0, seated: 0, max_sockets, next: 0 }
    }

    fn add(&mut self, peer: Peer) -> u64 {
        self.next += 1;
        self.strangers.entry(peer).or_default().push_back(self.next);
        self.strangers_len += 1;
        self.next
    }

    fn remove(&mut self, peer: Peer, number: u64) {
        let Some(numbers) = self.strangers.get_mut(&peer) else {
            return;
        };
        if let Ok(at) = numbers.binary_search(&number) {
            numbers.remove(at);
            self.strangers_len -= 1;
        }
        if numbers.is_empty() {
            self.strangers.remove(&peer);
        }
    }

    /// Removes one socket if there are too many, and returns its number.
    fn evict(&mut self) -> Option<u64> {
        if self.strangers_len + self.seated <= self.max_sockets {
            return None;
        }
        let most = self.strangers.iter().max_by_key(|(_, numbers)| {
            // If two have equally many, the one whose oldest socket came first.
            (numbers.len(), std::cmp::Reverse(numbers.front().copied()))
        });
        let (&peer, numbers) = most?;
        let oldest = *numbers.front()?;
        self.remove(peer, oldest);
        Some(oldest)
    }
}

/// All sockets of the broker. Clones share them.
#[derive(Debug, Clone)]
pub struct Strangers(Rc<RefCell<StrangersState>>);

#[derive(Debug)]
struct StrangersState {
    room: Room,
    /// Dropping a sender closes its socket.
    doors: HashMap<u64, oneshot::Sender<Infallible>>,
}

impl Strangers {
    /// No sockets yet, and up to `max_sockets`, with or without links.
    pub fn new(max_sockets: usize) -> Self {
        Self(Rc::new(RefCell::new(StrangersState {
            room: Room::new(max_sockets),
            doors: HashMap::new(),
        })))
    }

    /// Adds a new socket, and closes others if there are too many. Returns whether there were.
    pub fn admit(&self, address: IpAddr) -> (Guest, bool) {
        let guest = self.add(Peer::from(address));
        let mut state = self.0.borrow_mut();
        let mut were_too_many = false;
        while let Some(evicted) = state.room.evict() {
            state.doors.remove(&evicted);
            were_too_many = true;
        }
        drop(state);
        (guest, were_too_many)
    }

    fn add(&self, peer: Peer) -> Guest {
        let (door, is_shown_out) = oneshot::channel();
        let mut state = self.0.borrow_mut();
        let number = state.room.add(peer);
        state.doors.insert(number, door);
        Guest { strangers: self.clone(), peer, number, is_shown_out }
    }
}

/// A socket without a link.
#[derive(Debug)]
pub struct Guest {
    strangers: Strangers,
    peer: Peer,
    number: u64,
    is_shown_out: oneshot::Receiver<Infallible>,
}

impl Guest {
    /// Waits until the socket has to be closed.
    pub async fn is_shown_out(&mut self) {
        let _ = (&mut self.is_shown_out).await;
    }

    /// The socket has a link from now on.
    pub fn sit_down(self) -> Seated {
        let (strangers, peer) = (self.strangers.clone(), self.peer);
        drop(self);
        strangers.0.borrow_mut().room.seated += 1;
        Seated { strangers, peer }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.strangers.0.borrow_mut();
        state.room.remove(self.peer, self.number);
        state.doors.remove(&self.number);
    }
}

/// A socket with a link.
#[derive(Debug)]
pub struct Seated {
    strangers: Strangers,
    peer: Peer,
}

impl Seated {
    /// The link is over, and the socket still there. If there are too many sockets now, one is closed
    /// when the next one comes.
    pub fn stand_up(self) -> Guest {
        self.strangers.add(self.peer)
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.strangers.0.borrow_mut().room.seated -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn the_address_with_most_sockets_loses_its_oldest() {
        let (few, many) = (peer("10.0.0.1"), peer("10.0.0.2"));
        let mut room = Room::new(4);
        let first_of_few = room.add(few);
        let of_many: Vec<u64> = (0..3).map(|_| room.add(many)).collect();
        assert_eq!(room.evict(), None);
        let second_of_few = room.add(few);
        assert_eq!(room.evict(), Some(of_many[0]));
        assert_eq!(room.evict(), None);
        room.seated += 1;
        // Both have two: the one whose oldest came first.
        assert_eq!(room.evict(), Some(first_of_few));
        room.remove(few, second_of_few);
        room.remove(few, second_of_few);
        assert_eq!((room.strangers_len, room.strangers.len()), (2, 1));
    }

    #[test]
    fn sockets_with_links_are_never_closed() {
        let strangers = Strangers::new(2);
        let address = IpAddr::from([127, 0, 0, 1]);
        let seated: Vec<_> = (0..2).map(|_| strangers.admit(address).0.sit_down()).collect();
        let (mut late, were_too_many) = strangers.admit(address);
        assert!(were_too_many);
        assert!(late.is_shown_out.try_recv().is_err());
        assert!(strangers.0.borrow().doors.is_empty());
        let mut standing: Vec<_> = seated.into_iter().map(Seated::stand_up).collect();
        assert_eq!(strangers.0.borrow().room.seated, 0);
        assert!(!strangers.0.borrow().doors.is_empty());
        drop((late, standing.pop(), standing.pop()));
        let state = strangers.0.borrow();
        assert!(state.doors.is_empty() && state.room.strangers.is_empty());
    }
}
