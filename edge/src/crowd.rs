//! How many connections each address has, how fast it makes them, and for which addresses that is limited.
//! Pure.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::peer::{is_loopback, is_private};
use crate::{Buckets, Networks, Peer, Rate, Tally};

/// How many addresses have a bucket of their own. They take about 4 MiB.
const MAX_BUCKETS: usize = 1 << 16;

/// How many private addresses are remembered that forward requests without being trusted.
const MAX_UNTRUSTED_PROXIES: usize = 1_024;

/// A limit for each address.
///
/// Unless it was set, it does not hold for loopback, nor for a private address that sends
/// `X-Forwarded-For` without being trusted: behind it are many clients, and whom it stands for is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerAddress {
    max: u32,
    is_set: bool,
}

impl PerAddress {
    /// A limit that nobody has set.
    pub const fn default_of(max: u32) -> Self {
        Self { max, is_set: false }
    }

    /// A limit that was set, and holds for every address; 0 means that there is none.
    pub const fn set(max: u32) -> Self {
        Self { max, is_set: true }
    }

    fn of(self, is_spared: bool) -> Option<u32> {
        (self.max > 0 && (self.is_set || !is_spared)).then_some(self.max)
    }
}

/// The limits for each address, and for whom they do not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressLimits {
    /// The most connections at a time. Default: 500.
    pub max_connections: PerAddress,
    /// The most new connections per second, on average; after a pause, as many as in
    /// [`BURST_SECONDS`] at once. Default: 50.
    pub max_arrivals_per_second: PerAddress,
    /// Proxies that say whom they stand for. No limit holds for their own addresses.
    pub trusted_proxies: Networks,
}

/// How many seconds' worth of new connections an address may make at once: an office whose connections all
/// ended must be able to come back.
pub const BURST_SECONDS: u32 = 10;

impl Default for AddressLimits {
    fn default() -> Self {
        Self {
            max_connections: PerAddress::default_of(500),
            max_arrivals_per_second: PerAddress::default_of(50),
            trusted_proxies: Networks::default(),
        }
    }
}

/// Why a connection is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// Its address has as many as it may.
    #[error("too many connections from your address: at most {max} at a time are accepted")]
    Connections {
        /// The limit.
        max: u32,
    },
    /// Its address makes too many in too short a time.
    #[error(
        "too many new connections from your address: at most {per_second} per second are accepted"
    )]
    Arrivals {
        /// The limit.
        per_second: u32,
        /// How long to wait until there may be another.
        wait: Duration,
    },
}

/// The connections of all addresses.
#[derive(Debug)]
pub struct Crowd {
    connections: Tally<Peer>,
    arrivals: Buckets<Peer>,
    /// Private addresses that forward requests without being trusted.
    untrusted_proxies: HashSet<Peer>,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            connections: Tally::default(),
            arrivals: Buckets::new(MAX_BUCKETS),
            untrusted_proxies: HashSet::new(),
        }
    }
}

impl Crowd {
    /// Counts a new connection of an address. Returns the peer for which it was counted, which must
    /// [leave](Self::leave) at its end; `None` if the connections of this address are not limited.
    ///
    /// # Errors
    /// The limit that the connection exceeds. Then it is not counted, except as a new one.
    pub fn arrive(
        &mut self,
        address: IpAddr,
        limits: &AddressLimits,
        now: Instant,
    ) -> Result<Option<Peer>, Crowded> {
        if limits.trusted_proxies.contain(address) {
            return Ok(None);
        }
        let peer = Peer::from(address);
        let is_spared = is_loopback(address) || self.untrusted_proxies.contains(&peer);
        if let Some(per_second) = limits.max_arrivals_per_second.of(is_spared) {
            let rate = Rate::new(per_second, per_second.saturating_mul(BURST_SECONDS));
            let taken = self.arrivals.take(peer, rate, now);
            taken.map_err(|wait| Crowded::Arrivals { per_second, wait })?;
        }
        let Some(max) = limits.max_connections.of(is_spared) else { return Ok(None) };
        match self.connections.take(&peer, max as usize) {
            true => Ok(Some(peer)),
            false => Err(Crowded::Connections { max }),
        }
    }

    /// Counts the end of a connection.
    pub fn leave(&mut self, peer: Peer) {
        self.connections.give_back(&peer);
    }

    /// Notes that an address that is not trusted has forwarded a request. From then on, limits that nobody
    /// has set do not hold for it if it is private. Returns whether that is news, so that it should be
    /// logged.
    pub fn note_forwarding(&mut self, address: IpAddr, limits: &AddressLimits) -> bool {
        let peer = Peer::from(address);
        let is_local = is_private(address) || is_loopback(address);
        let is_news = is_local
            && !limits.trusted_proxies.contain(address)
            && self.untrusted_proxies.len() < MAX_UNTRUSTED_PROXIES
            && self.untrusted_proxies.insert(peer);
        if is_news && !limits.max_connections.is_set {
            self.connections.forget(&peer);
        }
        is_news
    }

    /// How many connections of an address are counted.
    pub fn connections_of(&self, address: IpAddr) -> usize {
        self.connections.of(&address.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// How many of `count` connections of an address are accepted at once.
    fn accepted(crowd: &mut Crowd, limits: &AddressLimits, from: &str, count: usize) -> usize {
        let now = Instant::now();
        let arrive = |_: &usize| crowd.arrive(address(from), limits, now).is_ok();
        (0..count).filter(arrive).count()
    }

    #[test]
    fn an_office_behind_one_address_is_admitted_and_no_more() {
        let (mut crowd, limits) = (Crowd::default(), AddressLimits::default());
        assert_eq!(accepted(&mut crowd, &limits, "192.0.2.1", 600), 500);
        assert_eq!(accepted(&mut crowd, &limits, "192.0.2.2", 1), 1);
        assert_eq!(accepted(&mut crowd, &limits, "2001:db8::1", 300), 300);
        assert_eq!(accepted(&mut crowd, &limits, "2001:db8::2", 300), 200);
    }

    #[test]
    fn a_connection_that_ends_makes_room_for_another() {
        let (mut crowd, now) = (Crowd::default(), Instant::now());
        let limits =
            AddressLimits { max_connections: PerAddress::default_of(1), ..Default::default() };
        let from = address("192.0.2.1");
        let peer = crowd.arrive(from, &limits, now).expect("room").expect("counted");
        assert_eq!(crowd.arrive(from, &limits, now), Err(Crowded::Connections { max: 1 }));
        crowd.leave(peer);
        assert_eq!(crowd.arrive(from, &limits, now), Ok(Some(peer)));
        assert_eq!(crowd.connections_of(from), 1);
    }

    #[test]
    fn new_connections_are_limited_although_the_old_ones_have_ended() {
        let (mut crowd, limits) = (Crowd::default(), AddressLimits::default());
        let (from, start) = (address("192.0.2.1"), Instant::now());
        let mut turn =
            |now| crowd.arrive(from, &limits, now).map(|peer| crowd.leave(peer.unwrap()));
        assert!((0..500).all(|_| turn(start).is_ok()));
        let wait = Duration::from_millis(20);
        assert_eq!(turn(start), Err(Crowded::Arrivals { per_second: 50, wait }));
        assert_eq!(turn(start + wait), Ok(()));
    }

    #[test]
    fn defaults_spare_loopback_and_trusted_proxies_and_set_limits_hold() {
        let mut crowd = Crowd::default();
        let mut limits = AddressLimits::default();
        for local in ["127.0.0.2", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(accepted(&mut crowd, &limits, local, 2_000), 2_000, "{local}");
        }
        limits.max_connections = PerAddress::set(10);
        assert_eq!(accepted(&mut crowd, &limits, "127.0.0.2", 20), 10);
        limits.trusted_proxies = "10.0.0.0/8".parse().expect("a list");
        assert_eq!(accepted(&mut crowd, &limits, "10.0.0.1", 2_000), 2_000);
        limits.max_connections = PerAddress::set(0);
        assert_eq!(accepted(&mut crowd, &limits, "127.0.0.3", 600), 600);
    }

    #[test]
    fn a_private_address_that_forwards_is_spared_and_reported_once() {
        let (mut crowd, limits) = (Crowd::default(), AddressLimits::default());
        let from = address("10.0.0.1");
        let counted = crowd.arrive(from, &limits, Instant::now()).expect("room");
        assert!(crowd.note_forwarding(from, &limits));
        assert!(!crowd.note_forwarding(from, &limits));
        assert_eq!(accepted(&mut crowd, &limits, "10.0.0.1", 2_000), 2_000);
        crowd.leave(counted.expect("counted"));
        assert_eq!(crowd.connections_of(from), 0);
        // A public address could say anything.
        assert!(!crowd.note_forwarding(address("192.0.2.1"), &limits));
        assert_eq!(accepted(&mut crowd, &limits, "192.0.2.1", 600), 500);
    }

    #[test]
    fn a_set_limit_holds_for_a_private_address_that_forwards() {
        let mut crowd = Crowd::default();
        let limits = AddressLimits { max_connections: PerAddress::set(5), ..Default::default() };
        assert_eq!(accepted(&mut crowd, &limits, "10.0.0.1", 3), 3);
        assert!(crowd.note_forwarding(address("10.0.0.1"), &limits));
        assert_eq!(accepted(&mut crowd, &limits, "10.0.0.1", 9), 2);
    }

    #[test]
    fn the_addresses_that_forward_are_bounded() {
        let (mut crowd, limits) = (Crowd::default(), AddressLimits::default());
        let news = (0..10_000u32).filter(|at| {
            let bytes = [10, 0].into_iter().chain((*at as u16).to_be_bytes());
            let bytes: [u8; 4] = bytes.collect::<Vec<_>>().try_into().expect("4 bytes");
            crowd.note_forwarding(bytes.into(), &limits)
        });
        assert_eq!(news.count(), MAX_UNTRUSTED_PROXIES);
    }
}
