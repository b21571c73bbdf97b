//! How often something may happen. Pure: the caller passes the time in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A rate with a burst: so many a second on average, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
    /// How many seconds a second is long, for rates of less than one a second.
    stretched: u32,
}

impl Rate {
    /// A rate; both numbers are at least 1.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: per_second.max(1), burst: burst.max(1), stretched: 1 }
    }

    /// A rate of one in so many seconds; both numbers are at least 1.
    pub(crate) fn one_in(seconds: u32, burst: u32) -> Self {
        Self { stretched: seconds.max(1), ..Self::new(1, burst) }
    }

    /// How many are allowed in a second, on average.
    pub fn per_second(self) -> u32 {
        self.per_second
    }

    /// How many are allowed at once, after a pause.
    pub fn burst(self) -> u32 {
        self.burst
    }

    /// How long `count` of them take at this rate.
    fn time_of(self, count: u32) -> Duration {
        Duration::from_secs(self.stretched.into()) * count / self.per_second
    }
}

/// What one peer has used of a [`Rate`] (the generic cell rate algorithm, ITU-T I.371). A new one is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When the bucket is full again; never, or long ago, if nothing was used lately.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one, if the rate allows it.
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let full_at = self.settle(rate, now) + rate.time_of(1);
        let wait = full_at.saturating_duration_since(now + rate.time_of(rate.burst));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.full_at = Some(full_at);
        Ok(())
    }

    /// When it is full at this rate. What was used at a lower one counts from now on, for no longer than a
    /// whole burst takes.
    fn settle(&mut self, rate: Rate, now: Instant) -> Instant {
        let full_at = self.full_at.map_or(now, |at| at.clamp(now, now + rate.time_of(rate.burst)));
        *self.full_at.insert(full_at)
    }

    /// How many can be taken now.
    pub fn left(&mut self, rate: Rate, now: Instant) -> u32 {
        let used = self.settle(rate, now).saturating_duration_since(now);
        let left = rate.time_of(rate.burst).saturating_sub(used).as_nanos();
        // Above a rate of 10^9, one takes less than a nanosecond.
        let each = rate.time_of(1).as_nanos().max(1);
        u32::try_from(left / each).unwrap_or(u32::MAX).min(rate.burst)
    }

    /// The bucket for another rate, from which as many were taken as from this one.
    fn changed(mut self, from: Rate, to: Rate, now: Instant) -> Self {
        let used = from.burst - self.left(from, now);
        Self { full_at: Some(now + to.time_of(used.min(to.burst))) }
    }

    /// When the bucket is full, from now on. A full bucket need not be kept.
    pub fn full_in(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

/// A [`Bucket`] with its [`Rate`], which several threads share.
#[derive(Debug)]
pub struct Meter {
    rate: Rate,
    bucket: Mutex<Bucket>,
}

impl Meter {
    /// A meter whose bucket is full.
    pub fn new(rate: Rate) -> Self {
        Self { rate, bucket: Mutex::default() }
    }

    /// The rate that it keeps.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one, if the rate allows it.
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        self.bucket().take(self.rate, now)
    }

    /// A meter of another rate, from which as many were taken as from this one.
    pub fn changed(&self, rate: Rate, now: Instant) -> Self {
        let bucket = self.bucket().changed(self.rate, rate, now);
        Self { rate, bucket: Mutex::new(bucket) }
    }

    /// How many can be taken now, and when it is full, from now on.
    pub fn left(&self, now: Instant) -> (u32, Duration) {
        let mut bucket = self.bucket();
        (bucket.left(self.rate, now), bucket.full_in(now))
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        // Every change is complete before anything can panic.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_share_a_meter_take_no_more_than_its_burst() {
        let (meter, now) = (Meter::new(Rate::new(10, 100)), Instant::now());
        let take = || (0..100).filter(|_| meter.take(now).is_ok()).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 100);
        assert_eq!(meter.left(now), (0, Duration::from_secs(10)));
        assert_eq!(meter.take(now), Err(Duration::from_millis(100)));
        assert_eq!(meter.left(now + Duration::from_millis(100)).0, 1);
    }

    #[test]
    fn a_higher_rate_counts_at_once() {
        let (low, high, now) = (Rate::new(1, 300), Rate::new(100, 1_000), Instant::now());
        let mut bucket = Bucket::default();
        while bucket.take(low, now).is_ok() {}
        assert_eq!(bucket.take(high, now), Err(Duration::from_millis(10)));
        assert_eq!(bucket.take(high, now + Duration::from_millis(10)), Ok(()));
    }

    #[test]
    fn what_is_left_at_a_higher_rate_is_what_can_be_taken() {
        let (low, high, now) = (Rate::new(1, 300), Rate::new(100, 1_000), Instant::now());
        let mut bucket = Bucket::default();
        while bucket.take(low, now).is_ok() {}
        assert_eq!(bucket.left(high, now), 0);
        assert_eq!(bucket.full_in(now), Duration::from_secs(10));
        assert_eq!(bucket.left(high, now + Duration::from_millis(20)), 2);
    }

    #[test]
    fn a_meter_of_another_rate_has_given_as_many() {
        let (meter, now) = (Meter::new(Rate::new(10, 100)), Instant::now());
        assert_eq!(meter.changed(Rate::new(1, 5), now).left(now), (5, Duration::ZERO));
        for _ in 0..60 {
            assert_eq!(meter.take(now), Ok(()));
        }
        for (rate, left, full_in) in [
            (Rate::new(20, 200), 140, Duration::from_secs(3)),
            (Rate::new(5, 50), 0, Duration::from_secs(10)),
            (Rate::new(10, 100), 40, Duration::from_secs(6)),
        ] {
            assert_eq!(meter.changed(rate, now).left(now), (left, full_in), "{rate:?}");
        }
    }

    #[test]
    fn a_rate_beyond_one_in_a_nanosecond_can_be_asked_for() {
        let rate = Rate::new(u32::MAX, u32::MAX);
        assert!(Bucket::default().left(rate, Instant::now()) > 0);
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let (rate, start) = (Rate::new(10, 3), Instant::now());
        let mut bucket = Bucket::default();
        for left in [3, 2, 1] {
            assert_eq!(bucket.left(rate, start), left);
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        assert_eq!(bucket.left(rate, start), 0);
        assert_eq!(bucket.take(rate, start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.full_in(start), Duration::from_millis(300));
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.take(rate, later), Ok(()));
        assert_eq!(bucket.take(rate, later), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_pause_gives_back_no_more_than_the_burst() {
        let (rate, start) = (Rate::new(1_000, 2), Instant::now());
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(rate, start), Ok(()));
        let later = start + Duration::from_secs(3_600);
        assert_eq!((bucket.left(rate, later), bucket.full_in(later)), (2, Duration::ZERO));
        let taken = (0..10).filter(|_| bucket.take(rate, later).is_ok()).count();
        assert_eq!(taken, 2);
    }

    #[test]
    fn any_rate_is_kept_on_average() {
        for rate in [Rate::new(1, 1), Rate::new(7, 30), Rate::new(u32::MAX, 1), Rate::new(0, 0)] {
            let (mut bucket, mut now, mut taken) = (Bucket::default(), Instant::now(), 0u64);
            for _ in 0..1_000 {
                now += Duration::from_millis(7);
                taken += u64::from(bucket.take(rate, now).is_ok());
            }
            let allowed = 7 * u64::from(rate.per_second()) + u64::from(rate.burst());
            assert!(taken <= allowed.min(1_000) && taken >= allowed.min(1_000) * 9 / 10 - 1);
        }
    }
}
