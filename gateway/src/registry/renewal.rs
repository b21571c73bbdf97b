//! When a client's token must be renewed, and what a new one changes. Pure: a part of the registry's core.

use std::time::{Duration, Instant};

use campanile_edge::rights::TokenRights;
use campanile_edge::{Bucket, Principal, Rate};

use crate::access::Rejection;
use crate::dialects::RequestError;

/// The times of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// When the client is asked for a new one; `None` once it was asked, or if it cannot be.
    ask_at: Option<Instant>,
    expires_at: Instant,
    /// When the connection ends.
    ends_at: Instant,
    /// What the client has used of [`RENEWALS`].
    used: Bucket,
}

/// How often a client may send a new token.
const RENEWALS: (u32, u32) = (1, 10);

/// What to do about a client's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Ask for a new one.
    Ask {
        /// How long the token is still valid, in seconds.
        expires_in: u64,
    },
    /// End the connection.
    End,
}

/// Where in a range something happens, from 0 to 1: at random, so that what many clients do for the same
/// reason is spread over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chance(pub f64);

impl Renewal {
    /// The times of a token that expires at `expires`, where `unix_now` is the same moment as `now`; both are
    /// in seconds since 1970-01-01 UTC. A client that `can_renew` is asked at a moment in the last tenth of
    /// the time that is left, and may stay for the whole `grace`. Any other is ended at a moment within it.
    pub fn new(
        expires: u64,
        unix_now: u64,
        now: Instant,
        grace: Duration,
        can_renew: bool,
        Chance(chance): Chance,
    ) -> Self {
        let left = Duration::from_secs(expires.saturating_sub(unix_now));
        let since = Duration::from_secs(unix_now.saturating_sub(expires));
        // A token may be valid for longer than any clock can say.
        let at = |after: Duration| now.checked_add(after).unwrap_or(now + FOR_EVER);
        let end = if can_renew { grace } else { grace.mul_f64(chance) };
        Self {
            ask_at: can_renew.then(|| at(left - (left / 10).mul_f64(chance))),
            expires_at: at(left),
            // The grace follows the end of the token, even if that was before.
            ends_at: at((left + end).saturating_sub(since)),
            used: Bucket::default(),
        }
    }

    /// How long the token is still valid, in seconds.
    pub fn expires_in(&self, now: Instant) -> u64 {
        self.expires_at.saturating_duration_since(now).as_secs()
    }

    /// Takes the times of a new token.
    pub fn replace(&mut self, new: Self) {
        *self = Self { used: self.used, ..new };
    }

    /// Counts a new token, whether or not it is accepted.
    ///
    /// # Errors
    /// [`RequestError::RateLimited`], if there were too many lately.
    pub fn count(&mut self, now: Instant) -> Result<(), RequestError> {
        let (per_second, burst) = RENEWALS;
        self.used.take(Rate::new(per_second, burst), now).map_err(|_| RequestError::RateLimited {
            group: None,
            what: "new tokens",
            per_second,
        })
    }

    /// What to do now. A client is asked once, as soon as it can be.
    pub fn due(&mut self, now: Instant, can_be_asked: bool) -> Due {
        if now >= self.ends_at {
            return Due::End;
        }
        match self.ask_at.take_if(|at| can_be_asked && now >= *at) {
            Some(_) => Due::Ask { expires_in: self.expires_in(now) },
            None => Due::Nothing,
        }
    }
}

/// Longer than any process runs: a century.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Decides whether a client may replace its token with a new one.
///
/// # Errors
/// Why it may not. Nothing changes then: the client stays until its old token expires.
pub fn check(
    current: &Principal,
    new: Result<TokenRights, Rejection>,
) -> Result<TokenRights, RequestError> {
    let Principal::Token(old) = current else { return Err(RequestError::NoTokenToRenew) };
    match new {
        Err(rejection) => Err(RequestError::Token(rejection.word())),
        Ok(new) if new.user != old.user => Err(RequestError::OtherUser),
        Ok(new) => Ok(new),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use campanile_edge::tokens::Cause;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GRACE: Duration = Duration::from_secs(25);

    fn renewal(expires: u64, now: Instant, can_renew: bool, chance: f64) -> Renewal {
        Renewal::new(expires, 1_000, now, GRACE, can_renew, Chance(chance))
    }

    #[test]
    fn a_client_is_asked_once_in_the_last_tenth_and_ended_after_the_grace() {
        let start = Instant::now();
        for (chance, asked) in [(0.0, 100), (0.5, 95), (1.0, 90)] {
            let mut renewal = renewal(1_100, start, true, chance);
            let mut due = |after: u64| renewal.due(start + Duration::from_secs(after), true);
            assert_eq!(due(asked - 1), Due::Nothing);
            assert_eq!(due(asked), Due::Ask { expires_in: 100 - asked });
            assert_eq!(due(asked + 1), Due::Nothing);
            assert_eq!(due(124), Due::Nothing);
            assert_eq!(due(125), Due::End);
        }
    }

    #[test]
    fn a_client_that_cannot_renew_is_ended_at_a_moment_within_the_grace() {
        let start = Instant::now();
        for (chance, end) in [(0.0, 100), (0.4, 110), (1.0, 125)] {
            let mut renewal = renewal(1_100, start, false, chance);
            assert_eq!(renewal.due(start + end * SECOND - SECOND / 2, true), Due::Nothing);
            assert_eq!(renewal.due(start + end * SECOND, true), Due::End);
        }
    }

    /// The leeway accepts a token after its end, but does not make the grace longer.
    #[test]
    fn the_grace_follows_the_end_of_the_token_and_not_the_leeway() {
        let start = Instant::now();
        let mut late = renewal(980, start, true, 0.5);
        assert_eq!(late.expires_in(start), 0);
        assert_eq!(late.due(start, true), Due::Ask { expires_in: 0 });
        assert_eq!(late.due(start + 4 * SECOND, true), Due::Nothing);
        assert_eq!(late.due(start + 5 * SECOND, true), Due::End);
        assert_eq!(renewal(971, start, true, 0.5).due(start, true), Due::End);
        let mut far = renewal(u64::MAX, start, true, 1.0);
        assert_eq!(far.due(start + 1_000_000 * SECOND, true), Due::Nothing);
    }

    /// What is sent before the greeting is dropped.
    #[test]
    fn a_client_that_waits_for_its_greeting_is_asked_after_it() {
        let start = Instant::now();
        let mut waiting = renewal(1_100, start, true, 1.0);
        assert_eq!(waiting.due(start + 95 * SECOND, false), Due::Nothing);
        assert_eq!(waiting.due(start + 97 * SECOND, true), Due::Ask { expires_in: 3 });
        assert_eq!(waiting.due(start + 98 * SECOND, true), Due::Nothing);
        assert_eq!(renewal(1_100, start, true, 1.0).due(start + 125 * SECOND, false), Due::End);
    }

    #[test]
    fn ten_new_tokens_are_counted_at_once_and_then_one_a_second() {
        let start = Instant::now();
        let mut renewal = renewal(1_100, start, true, 1.0);
        assert!((0..10).all(|_| renewal.count(start).is_ok()));
        assert!(renewal.count(start).is_err());
        renewal.replace(Renewal::new(9_000, 1_000, start, GRACE, true, Chance(0.5)));
        assert!(renewal.count(start).is_err(), "a new token is no new rate");
        assert!(renewal.count(start + SECOND).is_ok());
        assert!(renewal.count(start + SECOND).is_err());
    }

    #[test]
    fn a_crowd_is_asked_at_many_moments() {
        let start = Instant::now();
        let moments: Vec<Option<Instant>> =
            (0..10).map(|n| renewal(1_060, start, true, f64::from(n) / 10.0).ask_at).collect();
        assert!(moments.windows(2).all(|pair| pair[0] > pair[1]), "{moments:?}");
    }

    #[test]
    fn only_the_same_user_may_renew() {
        let of = |user: Option<&str>| TokenRights {
            user: user.map(str::to_owned),
            ..TokenRights::default()
        };
        let token = |user| Principal::Token(Arc::new(of(user)));
        assert_eq!(check(&token(Some("a")), Ok(of(Some("a")))), Ok(of(Some("a"))));
        assert_eq!(check(&token(None), Ok(of(None))), Ok(of(None)));
        for (old, new) in [(Some("a"), Some("b")), (Some("a"), None), (None, Some("a"))] {
            assert_eq!(check(&token(old), Ok(of(new))), Err(RequestError::OtherUser));
        }
        let expired = Err(Cause::Expired { since_seconds: 60 }.into());
        assert_eq!(check(&token(None), expired), Err(RequestError::Token("expired")));
        let denied = Err(Rejection::UserDenied);
        assert_eq!(check(&token(None), denied), Err(RequestError::Token("not_allowed")));
        assert_eq!(check(&Principal::Anyone, Ok(of(None))), Err(RequestError::NoTokenToRenew));
    }
}
