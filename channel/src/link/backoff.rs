//! How long to wait before the next attempt. Pure: the caller brings the randomness.

use std::time::Duration;

/// Waits that double from a first one to a longest one.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait: between half of the current step and all of it, so that peers that lost the same
    /// broker do not all return at the same moment. `random` is uniform in `0.0..1.0`.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Starts again from the first wait, after a success.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(300));
        let waits: Vec<_> = (0..5).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits, [ms(50), ms(100), ms(200), ms(300), ms(300)]);
        backoff.reset();
        assert_eq!(backoff.next(0.0), ms(25));
    }
}
