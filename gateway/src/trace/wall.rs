//! Turns times of the monotonic clock into times for people. Pure.

use std::time::Instant;

/// The two clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    /// The monotonic one.
    pub now: Instant,
    /// The wall clock, in microseconds since 1970.
    pub unix_micros: u64,
}

impl WallClock {
    /// What the wall clock would have shown at an earlier moment, had nobody set it since.
    pub fn at(self, moment: Instant) -> u64 {
        let ago = self.now.saturating_duration_since(moment);
        self.unix_micros.saturating_sub(ago.as_micros() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_counted_back_from_now() {
        let (earlier, ago) = (Instant::now(), Duration::from_millis(1_500));
        let clock = WallClock { now: earlier + ago, unix_micros: 10_000_000 };
        assert_eq!(clock.at(earlier), 8_500_000);
    }
}
