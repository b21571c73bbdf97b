//! The TLS handshakes that are under way at one listener of a thread. Each of them costs the worker some CPU and memory
//! before anything is known of its client, so only so many are served at a time. The others wait.
//!
//! A client that stalls does not keep others out for long: where somebody waits, the handshake that began
//! first is ended once it has taken [`PATIENCE`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

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
}

#[derive(Debug)]
struct Place {
    number: u64,
    since: Instant,
    /// Dropped to end the handshake.
    _ends: oneshot::Sender<()>,
}

impl Places {
    /// Takes a place, if necessary that of the handshake that began first, if it has had its time.
    ///
    /// # Errors
    /// When to try again, if nobody gives up a place before.
    fn take(&mut self, now: Instant) -> Result<(u64, oneshot::Receiver<()>), Instant> {
        if self.taken.len() >= self.max.max(1) {
            let first = self.taken.front().map_or(now, |place| place.since + PATIENCE);
            if first > now {
                return Err(first);
            }
            self.taken.pop_front();
        }
        self.last += 1;
        let (ends, ended) = oneshot::channel();
        self.taken.push_back(Place { number: self.last, since: now, _ends: ends });
        Ok((self.last, ended))
    }

    fn give_up(&mut self, number: u64) {
        self.taken.retain(|place| place.number != number);
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
        let places = Places { max, last: 0, taken: VecDeque::new() };
        Rc::new(Self { places: RefCell::new(places), freed: Notify::new() })
    }

    /// Waits for a place.
    pub async fn turn(self: &Rc<Self>) -> Turn {
        loop {
            let taken = self.places.borrow_mut().take(Instant::now());
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

    #[test]
    fn a_stalled_handshake_loses_its_place_only_to_another() {
        let mut places = Places { max: 2, last: 0, taken: VecDeque::new() };
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let (first, mut first_ended) = places.take(begin).expect("a place");
        let (_, mut other_ended) = places.take(begin + second).expect("a place");
        assert_eq!(places.take(begin + second).err(), Some(begin + PATIENCE));
        assert!(first_ended.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let (third, _) = places.take(begin + PATIENCE).expect("the place of the first");
        assert!(first_ended.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        assert!(other_ended.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(places.take(begin + PATIENCE).err(), Some(begin + second + PATIENCE));
        // It has lost it already, so nobody else loses a place.
        places.give_up(first);
        assert!(places.take(begin + PATIENCE).is_err());
        places.give_up(third);
        assert!(places.take(begin + PATIENCE).is_ok());
    }

    #[actix::test]
    async fn newcomers_wait_in_turn_until_a_handshake_is_over() {
        let handshakes = Handshakes::new(1);
        let turn = handshakes.turn().await;
        let waits = || {
            let handshakes = handshakes.clone();
            actix::spawn(async move { drop(handshakes.turn().await) })
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
