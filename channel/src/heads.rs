//! Callers that ask where the log ends. One question to the broker answers many of them. Pure: a part of
//! the core of an actor that owns a link.
//!
//! A caller must get a head that the broker reported after the caller had asked. So a question serves
//! the callers that came before it was sent, and all that come in the meantime share the next one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most callers that may wait, including those that are gone and whose time is not over yet.
const MAX_ASKERS: usize = 1 << 16;

/// The callers that wait. `W` is what is needed to answer one of them.
#[derive(Debug)]
pub struct Heads<W> {
    /// In the order in which they came.
    askers: VecDeque<Asker<W>>,
    /// The number of the last question.
    number: u64,
    /// How many of the first askers are served by the question under way; `None` if there is none.
    served: Option<usize>,
    limit: Duration,
}

#[derive(Debug)]
struct Asker<W> {
    waiter: W,
    until: Instant,
}

impl<W> Heads<W> {
    /// Nobody waits yet. Each caller waits for at most `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { askers: VecDeque::new(), number: 0, served: None, limit }
    }

    /// How long each caller waits at most.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.askers.is_empty()
    }

    /// Adds a caller.
    ///
    /// # Errors
    /// Returns the caller if 65,536 wait already.
    pub fn ask(&mut self, waiter: W, now: Instant) -> Result<(), W> {
        if self.askers.len() >= MAX_ASKERS {
            return Err(waiter);
        }
        self.askers.push_back(Asker { waiter, until: now + self.limit });
        Ok(())
    }

    /// The number of a question that has to be sent now: somebody waits, and no question is under way. If
    /// it cannot be sent, call [`not_sent`](Self::not_sent).
    pub fn question(&mut self) -> Option<u64> {
        if self.served.is_some() || self.askers.is_empty() {
            return None;
        }
        self.number += 1;
        self.served = Some(self.askers.len());
        Some(self.number)
    }

    /// The last question could not be sent, or will not be answered because its link was lost. Its
    /// callers wait for the next one.
    pub fn not_sent(&mut self) {
        self.served = None;
    }

    /// Handles the answer to a question, and returns the callers that it serves. An answer to a question
    /// that was given up serves nobody.
    pub fn answered(&mut self, number: u64) -> impl Iterator<Item = W> {
        let served = match self.served {
            Some(served) if number == self.number => {
                self.served = None;
                served
            }
            _ => 0,
        };
        self.askers.drain(..served).map(|asker| asker.waiter)
    }

    /// Removes and returns the callers whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<W> {
        let late = self.askers.partition_point(|asker| asker.until <= now);
        self.served = self.served.map(|served| served.saturating_sub(late));
        self.askers.drain(..late).map(|asker| asker.waiter).collect()
    }

    /// Removes and returns all callers.
    pub fn give_up(&mut self) -> impl Iterator<Item = W> {
        self.served = None;
        self.askers.drain(..).map(|asker| asker.waiter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn answered(heads: &mut Heads<u32>, number: u64) -> Vec<u32> {
        heads.answered(number).collect()
    }

    #[test]
    fn a_question_serves_the_callers_before_it() {
        let (mut heads, now) = (Heads::new(LIMIT), Instant::now());
        assert_eq!(heads.question(), None);
        heads.ask(1, now).unwrap();
        heads.ask(2, now).unwrap();
        assert_eq!(heads.question(), Some(1));
        heads.ask(3, now).unwrap();
        assert_eq!(heads.question(), None, "one at a time");
        heads.ask(4, now).unwrap();
        assert_eq!(answered(&mut heads, 1), [1, 2]);
        assert_eq!(heads.question(), Some(2));
        assert_eq!(answered(&mut heads, 1), [0; 0], "an answer counts once");
        assert_eq!(answered(&mut heads, 2), [3, 4]);
        assert!(heads.is_empty());
        assert_eq!(heads.question(), None);
    }

    #[test]
    fn a_question_whose_link_was_lost_is_asked_again_for_all() {
        let (mut heads, now) = (Heads::new(LIMIT), Instant::now());
        heads.ask(1, now).unwrap();
        assert_eq!(heads.question(), Some(1));
        heads.ask(2, now).unwrap();
        heads.not_sent();
        assert_eq!(heads.question(), Some(2));
        assert_eq!(answered(&mut heads, 1), [0; 0], "the answer of the lost link is too old");
        assert_eq!(answered(&mut heads, 2), [1, 2]);
    }

    #[test]
    fn every_wait_has_a_limit() {
        let (mut heads, now) = (Heads::new(LIMIT), Instant::now());
        heads.ask(1, now).unwrap();
        assert_eq!(heads.question(), Some(1));
        heads.ask(2, now + LIMIT / 2).unwrap();
        assert_eq!(heads.expire(now + LIMIT - Duration::from_nanos(1)), [0; 0]);
        assert_eq!(heads.expire(now + LIMIT), [1]);
        assert_eq!(heads.question(), None, "the question is still under way");
        assert_eq!(answered(&mut heads, 1), [0; 0], "the second came after it");
        assert_eq!(heads.question(), Some(2));
        assert_eq!(heads.expire(now + 2 * LIMIT), [2]);
        assert_eq!(answered(&mut heads, 2), [0; 0]);
    }

    #[test]
    fn callers_above_the_bound_are_returned() {
        let (mut heads, now) = (Heads::new(LIMIT), Instant::now());
        for asker in 0..MAX_ASKERS {
            heads.ask(asker, now).unwrap();
        }
        assert_eq!(heads.ask(7, now), Err(7));
        assert_eq!(heads.give_up().count(), MAX_ASKERS);
        assert_eq!(heads.ask(7, now), Ok(()));
    }

    proptest! {
        /// Each caller is answered at most once, in order, and never by a question that was sent before
        /// it came.
        #[test]
        fn nobody_is_served_by_an_earlier_question(steps: Vec<u8>) {
            let (mut heads, mut now) = (Heads::new(LIMIT), Instant::now());
            let (mut asked, mut last, mut told) = (0u32, 0u64, Vec::new());
            let mut came_before = std::collections::HashMap::new();
            for step in steps {
                match step % 6 {
                    0 | 1 => { asked += 1; heads.ask(asked, now).unwrap(); }
                    2 => if let Some(number) = heads.question() {
                        prop_assert!(number > last);
                        last = number;
                        came_before.insert(number, asked);
                    }
                    3 => {
                        let number = last.saturating_sub(u64::from(step % 2));
                        let before = came_before.get(&number).copied().unwrap_or(0);
                        for served in heads.answered(number) {
                            prop_assert!(served <= before);
                            told.push(served);
                        }
                    }
                    4 => heads.not_sent(),
                    _ => { now += LIMIT / 3; told.extend(heads.expire(now)); }
                }
            }
            told.extend(heads.give_up());
            prop_assert_eq!(told, (1..=asked).collect::<Vec<_>>());
        }
    }
}
