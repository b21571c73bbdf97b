//! When gateways are told the time of day, so that they can measure how long events take to reach them.
//! Pure.

use std::cell::Cell;
use std::time::Duration;

/// A link carries at most one stamp in this time.
const INTERVAL: Duration = Duration::from_millis(10);

/// The time of day, as of the last message of the broker. It advances with the broker's clock.
#[derive(Debug, Default)]
pub struct Daytime {
    now: Duration,
    /// What the time of day was when the broker's clock began.
    began: Duration,
}

impl Daytime {
    /// The broker's clock shows `now`.
    pub fn advance(&mut self, now: Duration) {
        self.now = now;
    }

    /// At `now`, it is `unix` after the beginning of 1970.
    pub fn set(&mut self, now: Duration, unix: Duration) {
        self.began = unix.saturating_sub(now);
        self.now = now;
    }
}

/// The stamps of one link.
#[derive(Debug, Default)]
pub struct Stamps {
    next: Cell<Duration>,
}

impl Stamps {
    /// The time of day in microseconds, if the next event shall carry it.
    pub fn due(&self, daytime: &Daytime) -> Option<u64> {
        if daytime.now < self.next.get() {
            return None;
        }
        self.next.set(daytime.now + INTERVAL);
        u64::try_from((daytime.began + daytime.now).as_micros()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_one_stamp_in_ten_milliseconds() {
        let at = Duration::from_millis;
        let (mut daytime, stamps) = (Daytime::default(), Stamps::default());
        daytime.set(at(1_000), at(5_000_000));
        assert_eq!(stamps.due(&daytime), Some(5_000_000_000));
        daytime.advance(at(1_009));
        assert_eq!(stamps.due(&daytime), None);
        assert_eq!(Stamps::default().due(&daytime), Some(5_000_009_000));
        daytime.advance(at(1_010));
        assert_eq!(stamps.due(&daytime), Some(5_000_010_000));
        // Somebody sets the time of the host back.
        daytime.set(at(1_020), at(4_000_000));
        assert_eq!(stamps.due(&daytime), Some(4_000_000_000));
    }
}
