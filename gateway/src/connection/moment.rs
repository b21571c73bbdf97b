//! A moment of a connection, in few bytes. Pure.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A moment after a connection was opened. An `Instant` would take 16 bytes, and so would each optional one;
/// this takes 8, and is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// The moment `at` of a connection that was `opened` before; an earlier one counts as that.
    pub fn new(at: Instant, opened: Instant) -> Self {
        let nanos = at.saturating_duration_since(opened).as_nanos() as u64;
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// The moment as a time of the clock.
    pub fn instant(self, opened: Instant) -> Instant {
        opened + Duration::from_nanos(self.0.get() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_comes_out_as_it_went_in() {
        let opened = Instant::now();
        for nanos in [0, 1, 999_999_999, 40_000_000_000_000_000] {
            let at = opened + Duration::from_nanos(nanos);
            assert_eq!(Moment::new(at, opened).instant(opened), at);
        }
        assert_eq!(Moment::new(opened, opened + Duration::from_secs(1)).0, NonZeroU64::MIN);
    }

    #[test]
    fn an_optional_moment_takes_8_bytes() {
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
