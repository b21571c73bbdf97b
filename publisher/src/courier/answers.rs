//! The answers to many pushes of one caller. The courier adds them, many with one lock and one wake-up,
//! and the caller takes them out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::budget::{Reserved, UsedUp};
use crate::courier::Presence;
use crate::courier::Unavailable;
use crate::error::Answered;

/// An answer, with the number that the caller gave to its push.
pub type Numbered = (u64, Answered);

/// The caller's end. When it is dropped, pushes that were not handed over yet are not sent.
#[derive(Debug)]
pub struct Answers(Arc<Shared>);

/// The courier's end for one push. If it is dropped without an answer, the caller still gets one.
#[derive(Debug)]
pub struct AnswerSlot {
    shared: Arc<Shared>,
    number: u64,
    is_answered: bool,
}

#[derive(Debug)]
struct Shared {
    arrived: Mutex<Arrived>,
    is_gone: AtomicBool,
    presence: Presence,
    /// Given back when neither the caller nor any of its pushes is left.
    reserved: Mutex<Reserved>,
}

#[derive(Debug, Default)]
struct Arrived {
    /// Bounded by how many pushes the caller has under way.
    answers: Vec<Numbered>,
    /// The caller's waker, if it found no answer when it last looked. It is under the same lock, so that
    /// no answer can arrive between the look and the wait.
    waiting: Option<Waker>,
}

impl Answers {
    /// Starts without pushes. `reserved` is for all of them; see [`grow`](Self::grow).
    pub fn new(presence: Presence, reserved: Reserved) -> Self {
        Self(Arc::new(Shared {
            arrived: Mutex::default(),
            is_gone: AtomicBool::new(false),
            presence,
            reserved: Mutex::new(reserved),
        }))
    }

    /// Returns the slot for a push, which has this number for the caller.
    pub fn slot(&self, number: u64) -> AnswerSlot {
        AnswerSlot { shared: self.0.clone(), number, is_answered: false }
    }

    /// Reserves more bytes for whole pushes.
    ///
    /// # Errors
    /// The bound that leaves no room. Then nothing is added.
    pub fn grow(&self, bytes: usize) -> Result<(), UsedUp> {
        lock(&self.0.reserved).grow(bytes)
    }

    /// Reserves `bytes`, in all, for what is still being read.
    ///
    /// # Errors
    /// The bound that leaves no room. What was reserved before stays reserved.
    pub fn hold(&self, bytes: usize) -> Result<(), UsedUp> {
        lock(&self.0.reserved).hold(bytes)
    }

    /// Gives back bytes of whole pushes.
    pub fn shrink(&self, bytes: usize) {
        lock(&self.0.reserved).shrink(bytes);
    }

    /// Takes out all that is reserved, for an answer that is written when the pushes are gone.
    pub fn take_reserved(&self) -> Reserved {
        lock(&self.0.reserved).take()
    }

    /// Returns the answers that have arrived, at least one, in the order of their arrival. If none has,
    /// the task of the latest call is woken when one arrives.
    pub fn poll_arrived(&self, cx: &mut Context<'_>) -> Poll<Vec<Numbered>> {
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
    /// Whether nobody waits for the answer.
    pub fn is_gone(&self) -> bool {
        self.shared.is_gone.load(Ordering::Relaxed)
    }

    /// Whether the caller is gone, or has closed its side of the connection.
    pub fn may_be_gone(&self) -> bool {
        self.is_gone() || self.shared.presence.is_over()
    }
}

impl Drop for AnswerSlot {
    fn drop(&mut self) {
        if !self.is_answered {
            self.shared.deliver(&mut vec![(self.number, Err(Unavailable::PublisherEnded.into()))]);
        }
    }
}

impl Shared {
    fn deliver(&self, answers: &mut Vec<Numbered>) {
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

/// Collects answers for one caller, and delivers them when the next caller comes or when it is dropped.
#[derive(Debug, Default)]
pub struct Round {
    to: Option<Arc<Shared>>,
    answers: Vec<Numbered>,
}

impl Round {
    /// Adds the answer for a slot.
    pub fn add(&mut self, mut slot: AnswerSlot, answered: Answered) {
        slot.is_answered = true;
        if self.to.as_ref().is_none_or(|to| !Arc::ptr_eq(to, &slot.shared)) {
            self.deliver();
            self.to = Some(slot.shared.clone());
        }
        self.answers.push((slot.number, answered));
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

    fn unused() -> Answers {
        Answers::new(Presence::default(), budget().reserve(Peer::of(None)))
    }

    fn arrived(answers: &Answers) -> Vec<Numbered> {
        match answers.poll_arrived(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(arrived) => arrived,
            Poll::Pending => Vec::new(),
        }
    }

    #[test]
    fn a_round_tells_each_caller_its_own() {
        let (first, second) = (unused(), unused());
        let mut round = Round::default();
        round.add(first.slot(1), Ok(Receipt::Written));
        round.add(first.slot(2), Err(Unavailable::LinkLost.into()));
        assert_eq!(arrived(&first), []);
        round.add(second.slot(1), Ok(Receipt::Written));
        assert_eq!(
            arrived(&first),
            [(1, Ok(Receipt::Written)), (2, Err(Unavailable::LinkLost.into()))]
        );
        assert_eq!(arrived(&second), []);
        round.add(first.slot(3), Ok(Receipt::Written));
        drop(round);
        assert_eq!(arrived(&second), [(1, Ok(Receipt::Written))]);
        assert_eq!(arrived(&first), [(3, Ok(Receipt::Written))]);
    }

    #[test]
    fn a_slot_that_is_dropped_has_its_answer() {
        let answers = unused();
        drop(answers.slot(7));
        assert_eq!(arrived(&answers), [(7, Err(Unavailable::PublisherEnded.into()))]);
    }

    #[test]
    fn the_budget_is_taken_as_long_as_a_push_is_on_its_way() {
        let budget = budget();
        let answers = Answers::new(Presence::default(), budget.reserve(Peer::of(None)));
        assert_eq!(answers.grow(60), Ok(()));
        assert_eq!(answers.grow(60), Err(UsedUp::OfPeer { max_bytes: 100 }));
        answers.shrink(20);
        let slot = answers.slot(1);
        assert!(!slot.is_gone());
        drop(answers);
        assert!(slot.is_gone());
        assert_eq!(budget.used_bytes(), 40);
        drop(slot);
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
        answers: Answers,
        wakes: [Arc<Wakes>; 2],
        /// Who found nothing at the last poll, and how often it had been woken.
        waiting: Option<(usize, usize)>,
        /// How many have a number, were is_answered and are in no round any more, and came.
        opened: u64,
        delivered: u64,
        came: Vec<u64>,
    }

    impl Waiter {
        fn new() -> Self {
            let wakes = [Arc::new(Wakes::default()), Arc::new(Wakes::default())];
            let (opened, delivered, came) = (0, 0, Vec::new());
            Self { answers: unused(), wakes, waiting: None, opened, delivered, came }
        }

        fn open(&mut self) -> AnswerSlot {
            self.opened += 1;
            self.answers.slot(self.opened)
        }

        fn poll(&mut self, who: usize) {
            let waker = self.wakes[who].waker();
            self.waiting = match self.answers.poll_arrived(&mut Context::from_waker(&waker)) {
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
                    let slot = if is_other { other.open() } else { first.open() };
                    let round = round.as_mut().expect("there is always one");
                    round.add(slot, Ok(Receipt::Written));
                }
                Step::EndRound => {
                    round = None;
                    let is_answered = if gathered.0 { &mut other } else { &mut first };
                    is_answered.delivered += gathered.1;
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
