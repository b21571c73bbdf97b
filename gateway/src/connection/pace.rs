//! How many messages a client may send. Pure.

use std::time::Instant;

use campanile_edge::{Bucket, Rate};

/// For how many seconds a client that was quiet may send at once what it may send in that time: after a
/// reconnect, a page joins all its groups.
const BURST_SECONDS: u32 = 10;

/// How many events a client may publish per second.
const DEFAULT_PUBLISHES: u32 = 20;

/// How often a client may be refused: this many times at once, and then once per second. If it is refused
/// more often, it does not heed the errors, and is closed.
const REFUSALS: (u32, u32) = (1, 100);

/// How many messages a client may send per second, of which kind; `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRates {
    /// Messages of any kind, and pings and pongs of the websocket. Default: 100, and 1,000 at once.
    pub messages: Option<Rate>,
    /// Joins of groups, which are messages, too. Default: 50, and 500 at once.
    pub joins: Option<Rate>,
    /// Publishes of one connection, and of all connections of one user together. They are messages, too.
    /// Default: 20, and 200 at once.
    pub publishes: Option<Rate>,
}

impl ClientRates {
    /// Rates per second; 0 means no limit. At once, a client may send what it may send in 10 seconds, and
    /// in any case join and leave all its groups.
    pub fn new(messages: u32, joins: u32, max_groups: usize) -> Self {
        let groups = u32::try_from(max_groups).unwrap_or(u32::MAX);
        let rate = |per_second: u32, at_least: u32| {
            let burst = per_second.saturating_mul(BURST_SECONDS).max(at_least);
            (per_second > 0).then(|| Rate::new(per_second, burst))
        };
        Self {
            messages: rate(messages, groups.saturating_mul(3)),
            joins: rate(joins, groups.saturating_mul(2)),
            publishes: rate(DEFAULT_PUBLISHES, 0),
        }
    }

    /// The same with another rate of publishes per second; 0 means no limit.
    #[must_use]
    pub fn with_publishes(self, per_second: u32) -> Self {
        let burst = per_second.saturating_mul(BURST_SECONDS);
        Self { publishes: (per_second > 0).then(|| Rate::new(per_second, burst)), ..self }
    }
}

impl Default for ClientRates {
    fn default() -> Self {
        Self::new(100, 50, 100)
    }
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paced {
    /// It is handled.
    InTime,
    /// There were too many: it is refused.
    TooSoon,
    /// There were too many, and that has been said often enough: the client is closed.
    GoesOn,
}

/// What a client has sent lately. Takes no memory until it sends something.
#[derive(Debug, Default)]
pub struct Pace(Option<Box<Used>>);

#[derive(Debug, Default)]
struct Used {
    accepted: Bucket,
    refused: Bucket,
}

impl Pace {
    /// Counts a message, and decides about it.
    pub fn count(&mut self, rate: Option<Rate>, now: Instant) -> Paced {
        let Some(rate) = rate else { return Paced::InTime };
        let used = self.0.get_or_insert_default();
        if used.accepted.take(rate, now).is_ok() {
            return Paced::InTime;
        }
        let (per_second, burst) = REFUSALS;
        match used.refused.take(Rate::new(per_second, burst), now) {
            Ok(()) => Paced::TooSoon,
            Err(_) => Paced::GoesOn,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_client_that_does_not_heed_refusals_is_closed() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let rate = Some(Rate::new(10, 20));
        let mut count = |times| (0..times).map(|_| pace.count(rate, now)).collect::<Vec<_>>();
        assert_eq!(count(20), [Paced::InTime; 20]);
        assert_eq!(count(100), [Paced::TooSoon; 100]);
        assert_eq!(count(2), [Paced::GoesOn; 2]);
    }

    #[test]
    fn a_client_that_is_a_little_too_fast_is_refused_and_stays() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let rate = Some(Rate::new(10, 20));
        let mut refused = 0;
        // 10.5 per second, for 20 minutes.
        for at in 0..12_600u32 {
            match pace.count(rate, start + Duration::from_secs(1) * at * 2 / 21) {
                Paced::InTime => {}
                Paced::TooSoon => refused += 1,
                Paced::GoesOn => panic!("closed"),
            }
        }
        assert!((500..=600).contains(&refused), "{refused}");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!((0..10_000).all(|_| pace.count(None, now) == Paced::InTime));
        assert!(pace.0.is_none());
        assert_eq!(size_of::<Pace>(), 8);
    }

    #[test]
    fn a_client_may_always_join_and_leave_its_groups_at_once() {
        let rates = ClientRates::new(1, 1, 10_000);
        assert_eq!(rates.messages, Some(Rate::new(1, 30_000)));
        assert_eq!(rates.joins, Some(Rate::new(1, 20_000)));
        let none = ClientRates::new(0, 0, 100).with_publishes(0);
        assert_eq!(none, ClientRates { messages: None, joins: None, publishes: None });
        assert_eq!(ClientRates::new(u32::MAX, 1, 1).messages, Some(Rate::new(u32::MAX, u32::MAX)));
    }
}
