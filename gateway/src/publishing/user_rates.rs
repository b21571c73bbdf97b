//! How often each user has published lately, on whichever connections. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use campanile_edge::{Bucket, Rate};
use campanile_messages::UserName;

/// The most users that are remembered, which takes about 10 MB. A user is forgotten who could publish a
/// whole burst again.
const MAX_USERS: usize = 1 << 16;

/// How often those are looked for, if there is no room for one more.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The users that have published lately.
#[derive(Debug)]
pub struct UserRates {
    buckets: HashMap<UserName, Bucket>,
    max_users: usize,
    looked: Option<Instant>,
}

/// Why a user may not publish now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too often.
    TooOften,
    /// More users publish than can be remembered.
    TooManyUsers,
}

impl UserRates {
    /// Starts empty.
    pub fn new() -> Self {
        Self { buckets: HashMap::new(), max_users: MAX_USERS, looked: None }
    }

    /// Counts a publish of a user, who may publish at this rate.
    ///
    /// # Errors
    /// The user may not publish now; nothing is counted then.
    pub fn take(&mut self, user: &UserName, rate: Rate, now: Instant) -> Result<(), Refused> {
        if let Some(bucket) = self.buckets.get_mut(user) {
            return bucket.take(rate, now).map_err(|_| Refused::TooOften);
        }
        if self.buckets.len() >= self.max_users {
            self.forget(now);
        }
        if self.buckets.len() >= self.max_users {
            return Err(Refused::TooManyUsers);
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(rate, now).map_err(|_| Refused::TooOften);
        // The name may share the memory of something larger.
        let user = UserName::new(user.to_string()).unwrap_or_else(|_| user.clone());
        self.buckets.insert(user, bucket);
        taken
    }

    fn forget(&mut self, now: Instant) {
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_AGAIN) {
            self.looked = Some(now);
            self.buckets.retain(|_, bucket| bucket.full_in(now) > Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::new(name.to_owned()).expect("a name")
    }

    #[test]
    fn each_user_has_a_rate_of_its_own() {
        let (mut rates, rate, now) = (UserRates::new(), Rate::new(10, 2), Instant::now());
        for name in ["42", "43"] {
            assert_eq!(rates.take(&user(name), rate, now), Ok(()));
            assert_eq!(rates.take(&user(name), rate, now), Ok(()));
            assert_eq!(rates.take(&user(name), rate, now), Err(Refused::TooOften));
        }
    }

    #[test]
    fn a_full_table_refuses_new_users_until_others_rest() {
        let (mut rates, rate, now) = (UserRates::new(), Rate::new(1, 1), Instant::now());
        rates.max_users = 2;
        for name in ["a", "b"] {
            assert_eq!(rates.take(&user(name), rate, now), Ok(()));
        }
        assert_eq!(rates.take(&user("c"), rate, now), Err(Refused::TooManyUsers));
        let later = now + Duration::from_secs(1);
        assert_eq!(rates.take(&user("c"), rate, later), Ok(()));
        assert_eq!(rates.buckets.len(), 1, "those that rest are forgotten");
    }
}
