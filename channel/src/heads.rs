//! Callers that ask where the log ends, and the one question to the broker that answers many of
//! them. Pure: a part of the core of whoever owns a link.
//!
//! A caller must get a head that the broker told after the caller had asked. So a question that is
//! under way serves those who asked before it was sent; all who come meanwhile share the next one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most callers that wait, those included that are gone and whose time is not over yet.
pub const MAX_ASKERS: usize = 1 << 16;

/// The callers that wait. `W` is how one of them is answered.
#[derive(Debug)]
pub struct Heads<W> {
    /// In the order in which they came.
    askers: VecDeque<Asker<W>>,
    /// The number of the last question.
    number: u64,
    /// How many askers, from the first, the question under way serves; `None` if there is none.
    served: Option<usize>,
    limit: Duration,
}

#[derive(Debug)]
struct Asker<W> {
    waiter: W,
    until: Instant,
}

impl<W> Heads<W> {
    /// Nobody waits. Each will wait up to `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { askers: VecDeque::new(), number: 0, served: None, limit }
    }

    /// How long each waits at most.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.askers.is_empty()
    }

    /// A caller waits from now on.
    ///
    /// # Errors
    /// [`MAX_ASKERS`] wait already: gives the waiter back.
    pub fn ask(&mut self, waiter: W, now: Instant) -> Result<(), W> {
        if self.askers.len() >= MAX_ASKERS {
            return Err(waiter);
        }
        self.askers.push_back(Asker { waiter, until: now + self.limit });
        Ok(())
    }

    /// The number of the question that is to be sent now, if there is one: somebody waits, and no
    /// question is under way. If it cannot be sent, say [`not_sent`](Self::not_sent).
    pub fn question(&mut self) -> Option<u64> {
        if self.served.is_some() || self.askers.is_empty() {
            return None;
        }
        self.number += 1;
        self.served = Some(self.askers.len());
        Some(self.number)
    }

    /// The question that was to be sent was not, or will have no answer, as its link was lost. Those
    /// it would have served wait for the next.
    pub fn not_sent(&mut self) {
        self.served = None;
    }

    /// Whom the answer to a question serves: nobody, if it is not under way any more.
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

    /// Whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<W> {
        let late = self.askers.partition_point(|asker| asker.until <= now);
        self.served = self.served.map(|served| served.saturating_sub(late));
        self.askers.drain(..late).map(|asker| asker.waiter).collect()
    }

    /// All who wait, who are not to wait any longer.
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
    fn a_question_serves_those_who_came_before_it() {
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
    fn a_wait_has_a_limit_whether_it_was_asked_or_not() {
        let (mut heads, now) = (Heads::new(LIMIT), Instant::now());
        heads.ask(1, now).unwrap();
        assert_eq!(heads.question(), Some(1));
        heads.ask(2, now + LIMIT / 2).unwrap();
        assert_eq!(heads.expire(now + LIMIT - Duration::from_nanos(1)), [0; 0]);
        assert_eq!(heads.expire(now + LIMIT), [1]);
        assert_eq!(heads.question(), None, "the question is under way all the same");
        assert_eq!(answered(&mut heads, 1), [0; 0], "the second came after it");
        assert_eq!(heads.question(), Some(2));
        assert_eq!(heads.expire(now + 2 * LIMIT), [2]);
        assert_eq!(answered(&mut heads, 2), [0; 0]);
    }

    #[test]
    fn more_than_may_wait_are_turned_away() {
        let (mut heads, now) = (Heads::new(LIMIT), Instant::now());
        for asker in 0..MAX_ASKERS {
            heads.ask(asker, now).unwrap();
        }
        assert_eq!(heads.ask(7, now), Err(7));
        assert_eq!(heads.give_up().count(), MAX_ASKERS);
        assert_eq!(heads.ask(7, now), Ok(()));
    }

    proptest! {
        /// Whatever happens, each asker is answered at most once, in order, and never by a question
        /// that was sent before it came.
        #[test]
        fn nobody_is_served_by_a_question_older_than_its_own(steps: Vec<u8>) {
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
