//! The numbers of one worker, which its registry writes for each event. Pure.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of a histogram's buckets, in microseconds.
pub const BOUNDS_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The longest duration that is believed.
const MAX_DURATION: Duration = Duration::from_secs(3_600);

/// A number that one thread writes and others read: to add to it costs no more than to add to any other
/// number.
#[derive(Debug, Default)]
pub struct Plain(AtomicU64);

impl Plain {
    /// Adds to the number. Only one thread may call this or [`set`](Self::set); of two that add at the same
    /// time, one would be lost.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many durations there were, by [`BOUNDS_MICROS`]. One thread writes it.
#[derive(Debug, Default)]
pub struct Durations {
    /// The last one has those above every bound.
    pub buckets: [Plain; BOUNDS_MICROS.len() + 1],
    pub sum_nanos: Plain,
}

impl Durations {
    /// Adds one. One of more than [`MAX_DURATION`] says that a clock is wrong, and is left out.
    pub fn observe(&self, duration: Duration) {
        if duration > MAX_DURATION {
            return;
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_MICROS.partition_point(|bound| bound * 1_000 < nanos)].add(1);
        self.sum_nanos.add(nanos);
    }
}

/// Events that were written to outboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// How many, each counted once per connection.
    pub events: u64,
    /// The bytes of their frames.
    pub bytes: u64,
}

impl Written {
    /// Adds an event with a frame of this length.
    #[inline]
    pub fn add(&mut self, frame_bytes: usize) {
        self.events += 1;
        self.bytes += frame_bytes as u64;
    }
}

/// The numbers of one worker. They are on cache lines of their own, as each worker writes its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMeters {
    pub deliveries: Plain,
    pub delivered_bytes: Plain,
    /// As of the last look at each client, once a second.
    pub outbox_bytes: Plain,
    /// From the receipt of a batch to its write.
    pub delivery_duration: Durations,
}

impl WorkerMeters {
    /// Adds what was written to outboxes: once for an event and all its listeners.
    pub fn wrote(&self, Written { events, bytes }: Written) {
        self.deliveries.add(events);
        self.delivered_bytes.add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_only_a_wrong_clock_explains_is_left_out() {
        let durations = Durations::default();
        for _ in 0..20 {
            // From a broker whose clock shows 1970.
            durations.observe(Duration::from_secs(1_800_000_000));
        }
        durations.observe(MAX_DURATION);
        assert_eq!(durations.buckets.iter().map(Plain::get).sum::<u64>(), 1);
        assert_eq!(durations.sum_nanos.get(), 3_600_000_000_000);
    }

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let durations = Durations::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        let counts: Vec<_> = durations.buckets.iter().map(Plain::get).collect();
        assert_eq!((counts[0], counts[1], counts[15], counts[16]), (2, 1, 1, 1));
        assert_eq!(counts.iter().sum::<u64>(), 5);
        assert_eq!(durations.sum_nanos.get(), 20_000_202_000);
    }
}
