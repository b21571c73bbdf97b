//! When events were on disk: one time per batch of the last ones. Pure: times are those of the broker's
//! clock.

use std::collections::VecDeque;
use std::time::Duration;

/// How many batches are remembered, of 24 bytes each.
pub const MAX_BATCHES: usize = 1 << 16;

/// The batches that were stored lately.
#[derive(Debug, Default)]
pub struct StoredTimes {
    /// The last sequence of each batch, in order, and when the broker knew that it was on disk.
    batches: VecDeque<(u64, Duration)>,
    /// The last sequence whose batch is not remembered any more.
    forgotten: u64,
}

impl StoredTimes {
    /// Notes that every event up to this sequence is on disk.
    pub fn note(&mut self, up_to: u64, now: Duration) {
        if self.batches.back().is_some_and(|(last, _)| *last >= up_to) {
            return;
        }
        if self.batches.len() == MAX_BATCHES
            && let Some((last, _)) = self.batches.pop_front()
        {
            self.forgotten = last;
        }
        self.batches.push_back((up_to, now));
    }

    /// When the broker knew that an event was on disk; `None` if it is not, or that is forgotten. What an
    /// earlier broker has stored counts as stored with the first batch.
    pub fn of(&self, sequence: u64) -> Option<Duration> {
        if sequence <= self.forgotten {
            return None;
        }
        let place = self.batches.partition_point(|(last, _)| *last < sequence);
        self.batches.get(place).map(|(_, at)| *at)
    }

    /// Starts without batches, because another epoch begins. Events up to `head` belong to the last one.
    pub fn begin_epoch(&mut self, head: u64) {
        *self = Self { batches: VecDeque::new(), forgotten: head };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn an_event_was_stored_with_its_batch() {
        let mut times = StoredTimes::default();
        times.begin_epoch(2);
        times.note(5, at(1));
        times.note(5, at(2));
        times.note(6, at(3));
        assert_eq!(
            [2, 3, 5, 6, 7].map(|sequence| times.of(sequence)),
            [None, Some(at(1)), Some(at(1)), Some(at(3)), None]
        );
    }

    #[test]
    fn the_times_of_the_oldest_batches_are_forgotten() {
        let mut times = StoredTimes::default();
        (1..=MAX_BATCHES as u64 + 10).for_each(|batch| times.note(batch * 2, at(batch)));
        assert_eq!(times.batches.len(), MAX_BATCHES);
        assert_eq!((times.of(20), times.of(21)), (None, Some(at(11))));
    }
}
