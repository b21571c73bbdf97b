//! The answers to many pushes of one caller: the courier puts them in, many under one lock and with
//! one wake-up; the caller takes them out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::ApiError;
use crate::budget::Reserved;
use crate::stream::Presence;
use crate::wording::Answered;

/// An answer, under the number that the caller gave to its push.
pub type Placed = (u64, Answered);

/// The caller's end. When it is dropped, what was not handed over yet is not sent any more.
#[derive(Debug)]
pub struct Places(Arc<Shared>);

/// The courier's end of one push. Answers it also where it is dropped.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    number: u64,
    told: bool,
}

#[derive(Debug)]
struct Shared {
    /// Bounded by the pushes that the caller has handed in.
    arrived: Mutex<Vec<Placed>>,
    caller: AtomicWaker,
    is_gone: AtomicBool,
    presence: Presence,
    /// Lives as long as any of the pushes.
    reserved: Mutex<Reserved>,
}

impl Places {
    /// No push is on its way. `reserved` has room for nothing yet; see [`grow`](Self::grow).
    pub fn new(presence: Presence, reserved: Reserved) -> Self {
        Self(Arc::new(Shared {
            arrived: Mutex::default(),
            caller: AtomicWaker::new(),
            is_gone: AtomicBool::new(false),
            presence,
            reserved: Mutex::new(reserved),
        }))
    }

    /// A push's place, under the caller's number.
    pub fn place(&self, number: u64) -> Place {
        Place { shared: self.0.clone(), number, told: false }
    }

    /// Takes more of the budget.
    ///
    /// # Errors
    /// [`ApiError::TooMuchPending`], and no more is taken.
    pub fn grow(&self, bytes: usize) -> Result<(), ApiError> {
        lock(&self.0.reserved).grow(bytes)
    }

    /// Gives back a part of what was taken.
    pub fn shrink(&self, bytes: usize) {
        lock(&self.0.reserved).shrink(bytes);
    }

    /// What has arrived, at least one answer, in the order in which it did.
    pub fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<Vec<Placed>> {
        self.0.caller.register(cx.waker());
        match std::mem::take(&mut *lock(&self.0.arrived)) {
            none if none.is_empty() => Poll::Pending,
            arrived => Poll::Ready(arrived),
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        // The flag guards no other memory.
        self.0.is_gone.store(true, Ordering::Relaxed);
    }
}

impl Place {
    /// Nobody waits for the answer.
    pub fn is_gone(&self) -> bool {
        self.shared.is_gone.load(Ordering::Relaxed)
    }

    /// The caller has closed its side of the connection.
    pub fn may_be_gone(&self) -> bool {
        self.is_gone() || self.shared.presence.is_over()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.told {
            self.shared.deliver(&mut vec![(self.number, Err(ApiError::PublisherEnded))]);
        }
    }
}

impl Shared {
    fn deliver(&self, answers: &mut Vec<Placed>) {
        {
            let mut arrived = lock(&self.arrived);
            if arrived.is_empty() {
                std::mem::swap(&mut *arrived, answers);
            } else {
                arrived.append(answers);
            }
        }
        self.caller.wake();
    }
}

/// Gathers answers for one caller after the other; delivers them at the next caller and when dropped.
#[derive(Debug, Default)]
pub struct Round {
    to: Option<Arc<Shared>>,
    answers: Vec<Placed>,
}

impl Round {
    /// The answer for a place.
    pub fn tell(&mut self, mut place: Place, answered: Answered) {
        place.told = true;
        if self.to.as_ref().is_none_or(|to| !Arc::ptr_eq(to, &place.shared)) {
            self.deliver();
            self.to = Some(place.shared.clone());
        }
        self.answers.push((place.number, answered));
    }

    fn deliver(&mut self) {
        if let Some(to) = self.to.take() {
            to.deliver(&mut self.answers);
            self.answers.clear();
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.deliver();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::budget::Budget;
    use crate::receipt::Receipt;

    fn places() -> Places {
        Places::new(Presence::default(), Budget::new(100).reserve())
    }

    fn arrived(places: &Places) -> Vec<Placed> {
        match places.poll_arrived(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(arrived) => arrived,
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn a_round_tells_each_caller_its_own() {
        let (first, second) = (places(), places());
        let mut round = Round::default();
        round.tell(first.place(1), Ok(Receipt::Written));
        round.tell(first.place(2), Err(ApiError::LinkLost));
        assert_eq!(arrived(&first), []);
        round.tell(second.place(1), Ok(Receipt::Written));
        assert_eq!(arrived(&first), [(1, Ok(Receipt::Written)), (2, Err(ApiError::LinkLost))]);
        assert_eq!(arrived(&second), []);
        round.tell(first.place(3), Ok(Receipt::Written));
        drop(round);
        assert_eq!(arrived(&second), [(1, Ok(Receipt::Written))]);
        assert_eq!(arrived(&first), [(3, Ok(Receipt::Written))]);
    }

    #[test]
    fn a_place_that_is_dropped_has_its_answer() {
        let places = places();
        drop(places.place(7));
        assert_eq!(arrived(&places), [(7, Err(ApiError::PublisherEnded))]);
    }

    #[test]
    fn the_budget_is_taken_as_long_as_a_push_is_on_its_way() {
        let budget = Budget::new(100);
        let places = Places::new(Presence::default(), budget.reserve());
        assert_eq!(places.grow(60), Ok(()));
        assert_eq!(places.grow(60), Err(ApiError::TooMuchPending));
        places.shrink(20);
        let place = places.place(1);
        assert!(!place.is_gone());
        drop(places);
        assert!(place.is_gone());
        assert_eq!(budget.used_bytes(), 40);
        drop(place);
        assert_eq!(budget.used_bytes(), 0);
    }
}
