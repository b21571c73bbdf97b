//! How often each one may do something. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::{Bucket, Rate};

/// The shortest time between two searches for full buckets while the table is full.
const SWEEP_AGAIN: Duration = Duration::from_millis(100);

/// How large the table is when full buckets are searched for the first time.
const FIRST_SWEEP: usize = 1_024;

/// A [`Bucket`] per key. Full buckets need not be kept, so the table has only those keys that did
/// something lately, and never more than its bound.
///
/// Beyond the bound, a new key is not limited. At 50 a second with a burst of 500, a table of 65,536 fills
/// only if that many keys do something within the same few milliseconds, which no process lasts through;
/// it protects against a single key, and a limit for all keys together against all of them.
#[derive(Debug)]
pub struct Buckets<K> {
    buckets: HashMap<K, Bucket>,
    max_keys: usize,
    /// With how many buckets the next search for full ones begins.
    sweep_at: usize,
    swept: Option<Instant>,
}

impl<K: Hash + Eq> Buckets<K> {
    /// An empty table that never has more than `max_keys` keys.
    pub fn new(max_keys: usize) -> Self {
        let sweep_at = FIRST_SWEEP.min(max_keys);
        Self { buckets: HashMap::new(), max_keys, sweep_at, swept: None }
    }

    /// Takes one from the bucket of `key`.
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub fn take(&mut self, key: K, rate: Rate, now: Instant) -> Result<(), Duration> {
        if let Some(bucket) = self.buckets.get_mut(&key) {
            return bucket.take(rate, now);
        }
        if self.buckets.len() >= self.sweep_at {
            self.sweep(now);
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(rate, now);
        if self.buckets.len() < self.max_keys {
            self.buckets.insert(key, bucket);
        }
        taken
    }

    /// How many keys have a bucket.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether no key has a bucket.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Drops the full buckets. The next time is when there are twice as many as were left, so that each key
    /// pays for a constant part of a search; with a full table, it is after a while.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_AGAIN) && self.is_full() {
            return;
        }
        self.swept = Some(now);
        self.buckets.retain(|_, bucket| bucket.full_in(now) > Duration::ZERO);
        self.buckets.shrink_to(2 * self.buckets.len());
        self.sweep_at =
            (2 * self.buckets.len()).clamp(FIRST_SWEEP.min(self.max_keys), self.max_keys);
    }

    fn is_full(&self) -> bool {
        self.buckets.len() >= self.max_keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_key_has_a_bucket_of_its_own() {
        let (mut buckets, rate, now) = (Buckets::new(10), Rate::new(1, 2), Instant::now());
        for key in ["a", "b"] {
            assert_eq!(buckets.take(key, rate, now), Ok(()));
            assert_eq!(buckets.take(key, rate, now), Ok(()));
            assert_eq!(buckets.take(key, rate, now), Err(SECOND));
        }
        assert_eq!(buckets.take("a", rate, now + SECOND), Ok(()));
        assert_eq!(buckets.len(), 2);
    }

    #[test]
    fn keys_that_did_nothing_for_a_while_are_forgotten() {
        let (mut buckets, rate, start) = (Buckets::new(100_000), Rate::new(1, 1), Instant::now());
        for key in 0..100_000 {
            // Each bucket is full again after a second, in which 1,000 others come.
            let now = start + SECOND * key / 1_000;
            assert_eq!(buckets.take(key, rate, now), Ok(()));
            assert!(buckets.len() <= 4_096, "{}", buckets.len());
        }
    }

    #[test]
    fn beyond_the_bound_new_keys_pass_and_old_ones_stay_limited() {
        let (mut buckets, rate, now) = (Buckets::new(3_000), Rate::new(1, 1), Instant::now());
        for key in 0..10_000 {
            assert_eq!(buckets.take(key, rate, now), Ok(()));
        }
        assert_eq!(buckets.len(), 3_000);
        assert_eq!(buckets.take(0, rate, now), Err(SECOND));
        assert_eq!(buckets.take(9_999, rate, now), Ok(()));
        // As soon as there is room, they are limited again.
        assert_eq!(buckets.take(9_999, rate, now + SECOND), Ok(()));
        assert_eq!(buckets.take(9_999, rate, now + SECOND), Err(SECOND));
        assert_eq!(buckets.len(), 1);
    }
}
