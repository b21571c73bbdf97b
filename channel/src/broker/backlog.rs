//! How long the oldest bytes in a link's queue have waited. Pure: the queue is looked at once a second, and
//! nothing is done for each event.

use std::collections::VecDeque;
use std::time::Duration;

/// How many looks are remembered. When there are more, every second one is forgotten.
const MAX_LOOKS: usize = 1_024;

/// Where the queue of one link ended at earlier looks, as far as that is not written yet.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The end of the queue, counted from the beginning of the stream, and when that was.
    ends: VecDeque<(u64, Duration)>,
}

impl Backlog {
    /// Looks at the queue: how much was written since the link began, and where what waits ends. Returns
    /// how long the oldest of it has waited, counted from the first look that saw it, so at least that long.
    pub fn look(&mut self, written: u64, end: u64, now: Duration) -> Duration {
        while self.ends.pop_front_if(|(end, _)| *end <= written).is_some() {}
        if end > self.ends.back().map_or(written, |(end, _)| *end) {
            if self.ends.len() >= MAX_LOOKS {
                let mut number = 0;
                self.ends.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
            }
            self.ends.push_back((end, now));
        }
        self.ends.front().map_or(Duration::ZERO, |(_, since)| now.saturating_sub(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_link_that_is_stuck_gets_older_with_every_look() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.look(0, 0, s(1)), s(0));
        assert_eq!(backlog.look(5, 9, s(2)), s(0));
        assert_eq!(backlog.look(5, 9, s(3)), s(1));
        assert_eq!(backlog.look(5, 20, s(9)), s(7));
        // A part of it is written, and then all that waited at first.
        assert_eq!(backlog.look(8, 20, s(10)), s(8));
        assert_eq!(backlog.look(9, 20, s(11)), s(2));
        assert_eq!(backlog.look(20, 20, s(12)), s(0));
        assert_eq!(backlog.ends.len(), 0);
    }

    #[test]
    fn a_busy_link_that_is_written_is_not_behind() {
        let mut backlog = Backlog::default();
        for second in 0..100 {
            assert_eq!(backlog.look(second * 10, second * 10 + 5, s(second)), s(0));
        }
    }

    #[test]
    fn looks_are_bounded_and_the_first_is_kept() {
        let mut backlog = Backlog::default();
        for second in 0..20_000 {
            assert_eq!(backlog.look(0, second + 1, s(second)), s(second));
            assert!(backlog.ends.len() <= MAX_LOOKS);
        }
        // Never more than it is.
        assert!(backlog.look(19_000, 20_000, s(20_000)) <= s(1_000));
    }
}
