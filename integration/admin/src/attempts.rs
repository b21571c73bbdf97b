//! How often each address may fail to sign in. Pure: the caller passes the time in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use campanile_edge::Peer;

/// How many attempts of one address may fail within [`WINDOW`].
const MAX_FAILURES: u32 = 10;

/// How long failures count.
const WINDOW: Duration = Duration::from_secs(60);

/// How many addresses are told apart. The others share one count.
const MAX_PEERS: usize = 4_096;

#[derive(Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Failures {
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.since))
    }
}

/// Failed attempts by address.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<Peer, Failures>);

impl Attempts {
    /// Whether an address may try.
    ///
    /// # Errors
    /// How long it has to wait.
    pub fn check(&self, peer: Peer, now: Instant) -> Result<(), Duration> {
        let failures = self.0.get(&self.counted_as(peer));
        match failures.filter(|failures| failures.count >= MAX_FAILURES) {
            Some(failures) if failures.left(now) > Duration::ZERO => Err(failures.left(now)),
            _ => Ok(()),
        }
    }

    /// Counts an attempt that has failed.
    pub fn failed(&mut self, peer: Peer, now: Instant) {
        if self.0.len() >= MAX_PEERS {
            self.0.retain(|_, failures| failures.left(now) > Duration::ZERO);
        }
        let counted_as = self.counted_as(peer);
        let failures = self.0.entry(counted_as).or_insert(Failures { count: 0, since: now });
        if failures.left(now) == Duration::ZERO {
            *failures = Failures { count: 0, since: now };
        }
        failures.count = failures.count.saturating_add(1);
    }

    fn counted_as(&self, peer: Peer) -> Peer {
        let has_room = self.0.len() < MAX_PEERS || self.0.contains_key(&peer);
        if has_room { peer } else { Peer::of(None) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn peer(number: u32) -> Peer {
        Peer::of(Some(Ipv4Addr::from_bits(0x0a00_0000 + number).into()))
    }

    #[test]
    fn ten_attempts_may_fail_in_a_minute() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..MAX_FAILURES {
            assert_eq!(attempts.check(peer(1), start), Ok(()));
            attempts.failed(peer(1), start);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(attempts.check(peer(1), later), Err(Duration::from_secs(40)));
        assert_eq!(attempts.check(peer(2), later), Ok(()));
        let over = start + WINDOW;
        assert_eq!(attempts.check(peer(1), over), Ok(()));
        attempts.failed(peer(1), over);
        assert_eq!(attempts.check(peer(1), over), Ok(()));
    }

    #[test]
    fn many_addresses_take_bounded_room_and_none_is_free_of_the_limit() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..10_000 {
            attempts.failed(peer(number), now);
        }
        assert!(attempts.0.len() <= MAX_PEERS + 1);
        assert!(attempts.check(peer(20_000), now).is_err());
        assert_eq!(attempts.check(peer(1), now), Ok(()));
        attempts.failed(peer(20_000), now + WINDOW);
        assert_eq!(attempts.0.len(), 1);
    }
}
