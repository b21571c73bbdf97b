//! How many connections a gateway has: in total, per worker, per address and per user.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use campanile_edge::{AddressLimits, Crowd, Crowded, Peer, Tally};

/// Counts the connections of each worker, so that the next one goes to the worker with the fewest; and
/// those of each address and each user. Clones are the same count.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    workers: Box<[AtomicUsize]>,
    /// Locked when a connection comes or ends, and only if its address is limited.
    crowd: Mutex<Crowd>,
    /// Locked when a connection of a user comes or ends.
    users: Mutex<Tally<String>>,
}

impl Seats {
    /// Starts without connections.
    pub fn new(workers: usize) -> Self {
        Self(Arc::new(Counts {
            workers: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            crowd: Mutex::default(),
            users: Mutex::default(),
        }))
    }

    /// Counts one more connection at the worker with the fewest, and returns the index of that worker;
    /// `None` if there are `max` connections in total.
    ///
    /// # Panics
    /// If there are no workers.
    pub fn take(&self, max: usize) -> Option<(usize, Seat)> {
        if self.taken() >= max {
            return None;
        }
        let workers = &self.0.workers;
        let count = |worker: &usize| workers[*worker].load(Ordering::Relaxed);
        let worker = (0..workers.len()).min_by_key(count).expect("a gateway has workers");
        workers[worker].fetch_add(1, Ordering::Relaxed);
        let number = u32::try_from(worker).expect("a gateway has a thread per worker");
        Some((worker, Seat::new(self.clone(), number)))
    }

    /// How many connections there are in total.
    pub fn taken(&self) -> usize {
        self.0.workers.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Notes that an address that is not trusted has forwarded a request. Returns whether that is news; see
    /// [`Crowd::note_forwarding`].
    pub fn note_forwarding(&self, address: IpAddr, limits: &AddressLimits) -> bool {
        lock(&self.0.crowd).note_forwarding(address, limits)
    }
}

/// A user who has as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrowdedUser {
    /// The limit.
    pub max: u32,
}

/// Counts for one connection until it is dropped. An idle connection keeps it, so it is small.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    worker: u32,
    counts_for_peer: Cell<bool>,
    counts_for_user: Cell<bool>,
    /// The client's address, as far as it is known.
    peer: Cell<Peer>,
    /// The user, if it is known. Boxed twice, because most connections have none.
    user: OnceCell<Box<Box<str>>>,
}

impl Seat {
    fn new(seats: Seats, worker: u32) -> Self {
        Self {
            seats,
            worker,
            counts_for_peer: Cell::new(false),
            counts_for_user: Cell::new(false),
            peer: Cell::new(Peer::of(None)),
            user: OnceCell::new(),
        }
    }

    /// Counts the connection for its address, if that is limited. It counts for one address at most: the
    /// first that is limited.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub fn count_address(&self, address: IpAddr, limits: &AddressLimits) -> Result<(), Crowded> {
        if self.counts_for_peer.get() {
            return Ok(());
        }
        let arrived = lock(&self.seats.0.crowd).arrive(address, limits, Instant::now())?;
        self.peer.set(Peer::from(address));
        self.counts_for_peer.set(arrived.is_some());
        Ok(())
    }

    /// The address that the connection came from; of IPv6 the first half.
    pub fn address(&self) -> Option<IpAddr> {
        self.peer.get().address()
    }

    /// Counts the connection for its user; it must be called with the same user only. 0 means no limit.
    ///
    /// # Errors
    /// The user has `max` connections already.
    pub fn count_user(&self, user: &str, max: u32) -> Result<(), CrowdedUser> {
        if self.counts_for_user.get() || max == 0 {
            return Ok(());
        }
        if !lock(&self.seats.0.users).take(user, max as usize) {
            return Err(CrowdedUser { max });
        }
        self.note_user(user);
        self.counts_for_user.set(true);
        Ok(())
    }

    /// Notes whose connection it is, for the log.
    pub fn note_user(&self, user: &str) {
        self.user.get_or_init(|| Box::new(user.into()));
    }

    /// Whose connection it is, if that is known.
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(|user| &***user)
    }

    /// All seats of the gateway.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let counts = &self.seats.0;
        counts.workers[self.worker as usize].fetch_sub(1, Ordering::Relaxed);
        if self.counts_for_peer.get() {
            lock(&counts.crowd).leave(self.peer.get());
        }
        if let Some(user) = self.user().filter(|_| self.counts_for_user.get()) {
            lock(&counts.users).give_back::<str>(user);
        }
    }
}

fn lock<T>(counts: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete before anything can panic.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use campanile_edge::PerAddress;

    use super::*;

    #[test]
    fn the_worker_with_the_fewest_connections_gets_the_next() {
        let seats = Seats::new(2);
        let (first, seat) = seats.take(3).expect("a seat");
        let (second, _held) = seats.take(3).expect("a seat");
        assert_eq!((first, second), (0, 1));
        drop(seat);
        let (third, _also_held) = seats.take(3).expect("a seat");
        assert_eq!((third, seats.taken()), (0, 2));
        assert!(seats.take(2).is_none());
    }

    #[test]
    fn a_seat_counts_once_for_its_address_and_user_until_it_is_dropped() {
        let seats = Seats::new(1);
        let seat = || seats.take(9).expect("a seat").1;
        let limits = AddressLimits { max_connections: PerAddress::set(1), ..Default::default() };
        let address = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..2 {
            let (first, second) = (seat(), seat());
            for _ in 0..2 {
                assert_eq!(first.count_address(address, &limits), Ok(()));
                assert_eq!(first.count_user("42", 1), Ok(()));
            }
            let crowded = Err(Crowded::Connections { max: 1 });
            assert_eq!(second.count_address(address, &limits), crowded);
            assert_eq!(second.count_user("42", 1), Err(CrowdedUser { max: 1 }));
            assert_eq!(second.count_user("43", 1), Ok(()));
        }
        assert!(lock(&seats.0.users).is_empty());
        assert_eq!((lock(&seats.0.crowd).connections_of(address), seats.taken()), (0, 0));
    }

    #[test]
    fn a_seat_is_small() {
        assert!(size_of::<Seat>() <= 32, "{}", size_of::<Seat>());
    }
}
