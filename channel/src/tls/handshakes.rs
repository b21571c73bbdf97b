//! The TLS handshakes that are under way at one listener of a thread. Each of them costs the worker some CPU and memory
//! before anything is known of its client, so only so many are served at a time. The others wait.
//!
//! A client that stalls does not keep others out: where no place is free, one is taken from the address that
//! holds the most of them, from its oldest handshake. That happens at once for an address that holds clearly
//! fewer, and otherwise when that handshake has taken [`PATIENCE`].

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use campanile_edge::Peer;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

/// How long a handshake may take while others wait for its place: several round trips of a slow network.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The handshakes of one thread's listener.
#[derive(Debug)]
pub struct Handshakes {
    places: RefCell<Places>,
    /// Wakes one of those that wait.
    freed: Notify,
}

/// Who has a place. Pure: the time is an argument.
#[derive(Debug)]
struct Places {
    max: usize,
    last: u64,
    /// In the order in which they began.
    taken: VecDeque<Place>,
    /// How many of them each peer has that has any.
    held: HashMap<Peer, usize>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    peer: Peer,
    since: Instant,
    /// Dropped to end the handshake.
    _ends: oneshot::Sender<()>,
}

impl Places {
    fn new(max: usize) -> Self {
        Self { max: max.max(1), last: 0, taken: VecDeque::new(), held: HashMap::new() }
    }

    /// Takes a place for a peer, if necessary that of the oldest handshake of the peer that holds the most.
    ///
    /// # Errors
    /// When to try again, if nobody gives up a place before.
    fn take(&mut self, peer: Peer, now: Instant) -> Result<(u64, oneshot::Receiver<()>), Instant> {
        if self.taken.len() >= self.max {
            let own = self.held.get(&peer).copied().unwrap_or(0);
            let most = self.held.values().copied().max().unwrap_or(0);
            let of_most = |place: &Place| self.held.get(&place.peer) == Some(&most);
            if let Some(at) = self.taken.iter().position(of_most) {
                let until = self.taken[at].since + PATIENCE;
                // Two that hold equally many, or nearly, do not take the places of each other.
                if most <= own + 1 && until > now {
                    return Err(until);
                }
                self.remove(at);
            }
        }
        self.last += 1;
        let (ends, ended) = oneshot::channel();
        self.taken.push_back(Place { number: self.last, peer, since: now, _ends: ends });
        *self.held.entry(peer).or_default() += 1;
        Ok((self.last, ended))
    }

    fn give_up(&mut self, number: u64) {
        if let Ok(at) = self.taken.binary_search_by_key(&number, |place| place.number) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        let Some(place) = self.taken.remove(at) else { return };
        if let Some(held) = self.held.get_mut(&place.peer) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&place.peer);
            }
        }
    }
}

/// A place for one handshake, which is given up when this is dropped.
#[derive(Debug)]
pub struct Turn {
    handshakes: Rc<Handshakes>,
    number: u64,
    ended: oneshot::Receiver<()>,
}

impl Turn {
    /// Resolves when the place is given to somebody else.
    pub async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.handshakes.places.borrow_mut().give_up(self.number);
        self.handshakes.freed.notify_one();
    }
}

impl Handshakes {
    /// Serves up to `max` handshakes at a time, and at least one.
    pub fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { places: RefCell::new(Places::new(max)), freed: Notify::new() })
    }

    /// Waits for a place for a peer.
    pub async fn turn(self: &Rc<Self>, peer: Peer) -> Turn {
        loop {
            let taken = self.places.borrow_mut().take(peer, Instant::now());
            match taken {
                Ok((number, ended)) => return Turn { handshakes: self.clone(), number, ended },
                Err(again) => tokio::select! {
                    () = self.freed.notified() => {}
                    () = sleep_until(again) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::from(std::net::IpAddr::from([192, 0, 2, last]))
    }

    fn has_ended(ended: &mut oneshot::Receiver<()>) -> bool {
        ended.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn a_stalled_handshake_loses_its_place_only_to_another() {
        let mut places = Places::new(2);
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let (first, mut first_ended) = places.take(peer(1), begin).expect("a place");
        let (_, mut other_ended) = places.take(peer(2), begin + second).expect("a place");
        assert_eq!(places.take(peer(3), begin + second).err(), Some(begin + PATIENCE));
        assert!(!has_ended(&mut first_ended));
        let (third, _) = places.take(peer(3), begin + PATIENCE).expect("the place of the first");
        assert!(has_ended(&mut first_ended) && !has_ended(&mut other_ended));
        let again = places.take(peer(3), begin + PATIENCE).err();
        assert_eq!(again, Some(begin + second + PATIENCE));
        // It has lost it already, so nobody else loses a place.
        places.give_up(first);
        assert!(places.take(peer(3), begin + PATIENCE).is_err());
        places.give_up(third);
        assert!(places.take(peer(3), begin + PATIENCE).is_ok());
    }

    #[test]
    fn the_address_with_most_handshakes_makes_room_for_others_at_once() {
        let mut places = Places::new(3);
        let now = Instant::now();
        let mut of_many: Vec<_> =
            (0..3).map(|_| places.take(peer(1), now).expect("a place").1).collect();
        assert!(places.take(peer(1), now).is_err(), "its own newcomers wait");
        let (_, mut honest) = places.take(peer(2), now).expect("a place of the first");
        assert!(has_ended(&mut of_many[0]) && !has_ended(&mut of_many[1]));
        // With two and one, neither takes the place of the other any more.
        assert!(places.take(peer(1), now).is_err() && places.take(peer(2), now).is_err());
        // Even when all are late, the one with more loses its place.
        let _ = places.take(peer(1), now + PATIENCE).expect("the place of its second");
        assert!(has_ended(&mut of_many[1]) && !has_ended(&mut honest));
        let held: usize = places.held.values().sum();
        assert_eq!((held, places.taken.len()), (3, 3));
    }

    #[actix::test]
    async fn newcomers_wait_in_turn_until_a_handshake_is_over() {
        let handshakes = Handshakes::new(1);
        let turn = handshakes.turn(peer(1)).await;
        let waits = || {
            let handshakes = handshakes.clone();
            actix::spawn(async move { drop(handshakes.turn(peer(1)).await) })
        };
        let (one, another) = (waits(), waits());
        tokio::task::yield_now().await;
        assert!(!one.is_finished() && !another.is_finished());
        drop(turn);
        tokio::time::timeout(PATIENCE / 2, async { (one.await, another.await) })
            .await
            .expect("each is woken, and not by its timer")
            .0
            .expect("no panic");
    }
}
