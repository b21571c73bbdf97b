//! The answers to many pushes of one caller: the courier puts them in, many under one lock and with
//! one wake-up; the caller takes them out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::budget::{Reserved, UsedUp};
use crate::courier::Presence;
use crate::courier::Unavailable;
use crate::error::Answered;

/// An answer, under the number that the caller gave to its push.
pub type Placed = (u64, Answered);

/// The caller's end. When it is dropped, what was not handed over yet is not sent any more.
#[derive(Debug)]
pub struct Answers(Arc<Shared>);

/// The courier's end of one push. Answers it also where it is dropped.
#[derive(Debug)]
pub struct AnswerSlot {
    shared: Arc<Shared>,
    number: u64,
    told: bool,
}

#[derive(Debug)]
struct Shared {
    arrived: Mutex<Arrived>,
    is_gone: AtomicBool,
    presence: Presence,
    /// Lives as long as any of the pushes.
    reserved: Mutex<Reserved>,
}

#[derive(Debug, Default)]
struct Arrived {
    /// Bounded by the pushes that the caller has handed in.
    answers: Vec<Placed>,
    /// Of the caller, if it found nothing when it last looked. Under the same lock, so that nothing
    /// can arrive between the look and the wait.
    waiting: Option<Waker>,
}

impl Answers {
    /// No push is on its way. `reserved` has room for nothing yet; see [`grow`](Self::grow).
    pub fn new(presence: Presence, reserved: Reserved) -> Self {
        Self(Arc::new(Shared {
            arrived: Mutex::default(),
            is_gone: AtomicBool::new(false),
            presence,
            reserved: Mutex::new(reserved),
        }))
    }

    /// A push's place, under the caller's number.
    pub fn slot(&self, number: u64) -> AnswerSlot {
        AnswerSlot { shared: self.0.clone(), number, told: false }
    }

    /// Takes more of the budget for whole pushes.
    ///
    /// # Errors
    /// Which bound leaves no room; no more is taken.
    pub fn grow(&self, bytes: usize) -> Result<(), UsedUp> {
        lock(&self.0.reserved).grow(bytes)
    }

    /// What has not arrived whole has `bytes` now.
    ///
    /// # Errors
    /// Which bound leaves no room; what was taken before stays.
    pub fn hold(&self, bytes: usize) -> Result<(), UsedUp> {
        lock(&self.0.reserved).hold(bytes)
    }

    /// Gives back a part of what was taken.
    pub fn shrink(&self, bytes: usize) {
        lock(&self.0.reserved).shrink(bytes);
    }

    /// Takes out all that is reserved, for what comes after the pushes: it lives on without them.
    pub fn take_reserved(&self) -> Reserved {
        lock(&self.0.reserved).take()
    }

    /// What has arrived, at least one answer, in the order in which it did. Where nothing has, the
    /// task of the latest call is woken when something does.
    pub fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<Vec<Placed>> {
        let mut arrived = lock(&self.0.arrived);
        if arrived.answers.is_empty() {
            match &mut arrived.waiting {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut arrived.answers))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // The flag guards no other memory.
        self.0.is_gone.store(true, Ordering::Relaxed);
    }
}

impl AnswerSlot {
    /// Nobody waits for the answer.
    pub fn is_gone(&self) -> bool {
        self.shared.is_gone.load(Ordering::Relaxed)
    }

    /// The caller has closed its side of the connection.
    pub fn may_be_gone(&self) -> bool {
        self.is_gone() || self.shared.presence.is_over()
    }
}

impl Drop for AnswerSlot {
    fn drop(&mut self) {
        if !self.told {
            self.shared.deliver(&mut vec![(self.number, Err(Unavailable::PublisherEnded.into()))]);
        }
    }
}

impl Shared {
    fn deliver(&self, answers: &mut Vec<Placed>) {
        let waiting = {
            let mut arrived = lock(&self.arrived);
            if arrived.answers.is_empty() {
                std::mem::swap(&mut arrived.answers, answers);
            } else {
                arrived.answers.append(answers);
            }
            arrived.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
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
    pub fn tell(&mut self, mut place: AnswerSlot, answered: Answered) {
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
    use campanile_edge::Peer;

    use super::*;
    use crate::budget::{Budget, Shares};
    use crate::orders::{Wakes, in_every_order};
    use campanile_channel::publishing::Receipt;

    fn budget() -> Budget {
        Budget::new(Shares::of(100, 100, 100))
    }

    fn places() -> Answers {
        Answers::new(Presence::default(), budget().reserve(Peer::of(None)))
    }

    fn arrived(places: &Answers) -> Vec<Placed> {
        match places.poll_arrived(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(arrived) => arrived,
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn a_round_tells_each_caller_its_own() {
        let (first, second) = (places(), places());
        let mut round = Round::default();
        round.tell(first.slot(1), Ok(Receipt::Written));
        round.tell(first.slot(2), Err(Unavailable::LinkLost.into()));
        assert_eq!(arrived(&first), []);
        round.tell(second.slot(1), Ok(Receipt::Written));
        assert_eq!(
            arrived(&first),
            [(1, Ok(Receipt::Written)), (2, Err(Unavailable::LinkLost.into()))]
        );
        assert_eq!(arrived(&second), []);
        round.tell(first.slot(3), Ok(Receipt::Written));
        drop(round);
        assert_eq!(arrived(&second), [(1, Ok(Receipt::Written))]);
        assert_eq!(arrived(&first), [(3, Ok(Receipt::Written))]);
    }

    #[test]
    fn a_place_that_is_dropped_has_its_answer() {
        let places = places();
        drop(places.slot(7));
        assert_eq!(arrived(&places), [(7, Err(Unavailable::PublisherEnded.into()))]);
    }

    #[test]
    fn the_budget_is_taken_as_long_as_a_push_is_on_its_way() {
        let budget = budget();
        let places = Answers::new(Presence::default(), budget.reserve(Peer::of(None)));
        assert_eq!(places.grow(60), Ok(()));
        assert_eq!(places.grow(60), Err(UsedUp::OfPeer { max_bytes: 100 }));
        places.shrink(20);
        let place = places.slot(1);
        assert!(!place.is_gone());
        drop(places);
        assert!(place.is_gone());
        assert_eq!(budget.used_bytes(), 40);
        drop(place);
        assert_eq!(budget.used_bytes(), 0);
    }

    /// What happens to two callers, the first of which polls from two tasks.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Step {
        /// With the first or the second waker.
        Poll(usize),
        PollOther,
        /// The courier answers the next push of the first caller, or of the other.
        Tell,
        TellOther,
        /// The courier has no more answers for now.
        EndRound,
        /// The courier drops a push of the first caller.
        DropPlace,
    }

    struct Waiter {
        places: Answers,
        wakes: [Arc<Wakes>; 2],
        /// Who found nothing at the last poll, and how often it had been woken.
        waiting: Option<(usize, usize)>,
        /// How many have a number, were told and are in no round any more, and came.
        opened: u64,
        delivered: u64,
        came: Vec<u64>,
    }

    impl Waiter {
        fn new() -> Self {
            let wakes = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
            let (opened, delivered, came) = (0, 0, Vec::new());
            Self { places: places(), wakes, waiting: None, opened, delivered, came }
        }

        fn open(&mut self) -> AnswerSlot {
            self.opened += 1;
            self.places.slot(self.opened)
        }

        fn poll(&mut self, who: usize) {
            let waker = self.wakes[who].waker();
            self.waiting = match self.places.poll_arrived(&mut Context::from_waker(&waker)) {
                Poll::Ready(arrived) => {
                    self.came.extend(arrived.into_iter().map(|(number, _)| number));
                    None
                }
                Poll::Pending => Some((who, self.wakes[who].count())),
            };
        }

        fn check(&self, steps: &[Step]) {
            let available = self.delivered - self.came.len() as u64;
            if let Some((who, before)) = self.waiting
                && available > 0
            {
                assert!(self.wakes[who].count() > before, "{who} sleeps for ever: {steps:?}");
            }
        }

        fn check_all_came(mut self, steps: &[Step]) {
            self.poll(0);
            self.came.sort_unstable();
            assert_eq!(self.came, (1..=self.opened).collect::<Vec<_>>(), "{steps:?}");
        }
    }

    /// Whether the last step was possible, and not one that changes nothing. Three pushes are enough:
    /// more would do what these do.
    fn play(steps: &[Step]) -> bool {
        let (mut first, mut other) = (Waiter::new(), Waiter::new());
        let mut round = Some(Round::default());
        // Of the caller that the round has answers for, how many.
        let mut gathered = (false, 0);
        let mut before = None;
        let mut was_possible = true;
        for &step in steps {
            let repeats = before == Some(step) && matches!(step, Step::Poll(_) | Step::PollOther);
            was_possible = !repeats && (step != Step::EndRound || gathered.1 > 0);
            before = Some(step);
            match step {
                Step::Poll(who) => first.poll(who),
                Step::PollOther => other.poll(0),
                Step::Tell | Step::TellOther => {
                    let is_other = step == Step::TellOther;
                    if gathered.0 != is_other {
                        let was = if is_other { &mut first } else { &mut other };
                        was.delivered += gathered.1;
                        gathered = (is_other, 0);
                    }
                    gathered.1 += 1;
                    let place = if is_other { other.open() } else { first.open() };
                    let round = round.as_mut().expect("there is always one");
                    round.tell(place, Ok(Receipt::Written));
                }
                Step::EndRound => {
                    round = None;
                    let told = if gathered.0 { &mut other } else { &mut first };
                    told.delivered += gathered.1;
                    gathered.1 = 0;
                }
                Step::DropPlace => {
                    drop(first.open());
                    first.delivered += 1;
                }
            }
            round.get_or_insert_default();
            first.check(steps);
            other.check(steps);
        }
        drop(round);
        was_possible &= first.opened + other.opened <= 3;
        first.check_all_came(steps);
        other.check_all_came(steps);
        was_possible
    }

    #[test]
    fn no_answer_is_lost_or_slept_through_in_any_order() {
        let steps = [
            Step::Poll(0),
            Step::Poll(1),
            Step::PollOther,
            Step::Tell,
            Step::TellOther,
            Step::EndRound,
            Step::DropPlace,
        ];
        assert!(in_every_order(&steps, 8, play) > 100_000);
    }
}
