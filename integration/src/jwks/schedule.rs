//! When the keys of tokens are fetched. Pure: `now` is an argument.

use std::time::{Duration, Instant};

/// How often keys are fetched again.
const PERIOD: Duration = Duration::from_secs(600);

/// How often a token with an unknown key makes it happen sooner. Anybody can send such a token.
pub const UNKNOWN_PERIOD: Duration = Duration::from_secs(30);

/// The first pause after an attempt that failed, if there are no keys yet; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// When to fetch next.
#[derive(Debug)]
pub struct Schedule {
    next: Instant,
    /// The last attempt.
    last: Option<Instant>,
    /// Whether there have been keys.
    has_keys: bool,
    failures: u32,
    unknown_period: Duration,
}

impl Schedule {
    /// The first attempt is due now. `unknown_period` is [`UNKNOWN_PERIOD`], but tests do not wait so long.
    pub fn new(now: Instant, unknown_period: Duration) -> Self {
        Self { next: now, last: None, has_keys: false, failures: 0, unknown_period }
    }

    /// How long until the next attempt.
    pub fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Somebody has a token with a key that is not known.
    pub fn unknown_key(&mut self, now: Instant) {
        let soonest = self.last.map_or(now, |last| last + self.unknown_period);
        if self.has_keys {
            self.next = self.next.min(soonest.max(now));
        }
    }

    /// An attempt is over.
    pub fn attempted(&mut self, succeeded: bool, now: Instant) {
        self.last = Some(now);
        self.has_keys |= succeeded;
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        let pause = match self.failures {
            0 => PERIOD,
            // Without any keys, nobody gets in, so the first ones are worth more attempts.
            failures => FIRST_PAUSE * 2u32.saturating_pow(failures - 1).min(60),
        };
        self.next = now + pause.min(if self.has_keys { PERIOD } else { UNKNOWN_PERIOD });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn keys_are_fetched_at_the_start_and_every_ten_minutes() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, UNKNOWN_PERIOD);
        assert_eq!(schedule.wait(start), Duration::ZERO);
        schedule.attempted(true, start);
        assert_eq!(schedule.wait(start), 600 * SECOND);
        assert_eq!(schedule.wait(start + 601 * SECOND), Duration::ZERO);
    }

    #[test]
    fn unknown_keys_are_looked_for_once_in_thirty_seconds() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, UNKNOWN_PERIOD);
        schedule.attempted(true, start);
        let mut attempts = 0;
        for tenth in 0..900 {
            let now = start + tenth * SECOND / 10;
            schedule.unknown_key(now);
            if schedule.wait(now) == Duration::ZERO {
                attempts += 1;
                schedule.attempted(tenth % 2 == 0, now);
            }
        }
        assert_eq!(attempts, 2, "within 90 seconds");
    }

    #[test]
    fn the_first_keys_are_tried_for_more_often() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(now, UNKNOWN_PERIOD);
        let pauses = [1, 2, 4, 8, 16, 30, 30];
        for pause in pauses {
            schedule.attempted(false, now);
            schedule.unknown_key(now);
            assert_eq!(schedule.wait(now), pause * SECOND);
            now += pause * SECOND;
        }
        for _ in 0..100 {
            schedule.attempted(false, now);
        }
        assert_eq!(schedule.wait(now), 30 * SECOND);
    }
}
