//! When batches came from the broker: one time per batch of the last ones. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use campanile_messages::Position;

/// How many batches are remembered, of 16 bytes each.
pub const MAX_BATCHES: usize = 1 << 16;

/// The batches that came lately.
#[derive(Debug)]
pub struct Batches {
    started: Instant,
    /// The log of these positions; `None` until the stream has begun.
    epoch: Option<u64>,
    /// The position that the stream had reached with each batch, in order, and microseconds since `started`.
    batches: VecDeque<(u64, u64)>,
    /// Up to this sequence, nothing is remembered.
    forgotten: u64,
}

impl Batches {
    /// Starts without batches.
    pub fn new(now: Instant) -> Self {
        Self { started: now, epoch: None, batches: VecDeque::new(), forgotten: 0 }
    }

    /// Notes that the stream has reached a position. Does nothing if it had reached that before.
    pub fn note(&mut self, reached: Position, now: Instant) {
        let Position { epoch, sequence } = reached;
        if self.epoch != Some(epoch) {
            // What came before this is not in a batch that was seen.
            (self.epoch, self.forgotten) = (Some(epoch), sequence);
            self.batches.clear();
            return;
        }
        let last = self.batches.back().map_or(self.forgotten, |(last, _)| *last);
        if sequence <= last {
            return;
        }
        if self.batches.len() == MAX_BATCHES
            && let Some((last, _)) = self.batches.pop_front()
        {
            self.forgotten = last;
        }
        let micros = now.saturating_duration_since(self.started).as_micros() as u64;
        self.batches.push_back((sequence, micros));
    }

    /// When the batch came with which the stream reached a position; `None` if it has not, or that is
    /// forgotten.
    pub fn received(&self, position: Position) -> Option<Instant> {
        if self.epoch != Some(position.epoch) || position.sequence <= self.forgotten {
            return None;
        }
        let place = self.batches.partition_point(|(last, _)| *last < position.sequence);
        let (_, micros) = self.batches.get(place)?;
        Some(self.started + Duration::from_micros(*micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_came_with_the_batch_that_reached_it() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let position = |epoch, sequence| Position { epoch, sequence };
        let mut batches = Batches::new(start);
        for (sequence, secs) in [(3, 1), (6, 2), (6, 3), (5, 4), (7, 5)] {
            batches.note(position(1, sequence), at(secs));
        }
        let received = |sequence| batches.received(position(1, sequence));
        assert_eq!(
            [3, 4, 6, 7, 8].map(received),
            [None, Some(at(2)), Some(at(2)), Some(at(5)), None]
        );
        batches.note(position(2, 1), at(6));
        assert_eq!(batches.received(position(1, 7)), None);
        batches.note(position(2, 2), at(7));
        assert_eq!(batches.received(position(2, 2)), Some(at(7)));
    }

    #[test]
    fn the_oldest_batches_are_forgotten() {
        let start = Instant::now();
        let mut batches = Batches::new(start);
        let most = MAX_BATCHES as u64;
        (0..=most + 10).for_each(|n| batches.note(Position { epoch: 1, sequence: n + 1 }, start));
        assert_eq!(batches.batches.len(), MAX_BATCHES);
        assert_eq!(batches.received(Position { epoch: 1, sequence: 11 }), None);
        assert_eq!(batches.received(Position { epoch: 1, sequence: 12 }), Some(start));
    }
}
