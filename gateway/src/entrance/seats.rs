//! How many connections a gateway has, in total and per worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the connections of each worker, so that the next one goes to the worker with the fewest.
#[derive(Debug, Clone)]
pub struct Seats(Arc<[AtomicUsize]>);

impl Seats {
    /// Starts without connections.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicUsize::new(0)).collect())
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
        let count = |worker: &usize| self.0[*worker].load(Ordering::Relaxed);
        let worker = (0..self.0.len()).min_by_key(count).expect("a gateway has workers");
        self.0[worker].fetch_add(1, Ordering::Relaxed);
        Some((worker, Seat { seats: self.clone(), worker }))
    }

    /// How many connections there are in total.
    pub fn taken(&self) -> usize {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// Counts for one connection until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    worker: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.0[self.worker].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
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
}
