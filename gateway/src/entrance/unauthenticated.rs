//! How many clients have connected and not sent their token yet, in total and per address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_edge::{Peer, Tally};
use tokio::sync::watch;

use crate::limits::GatewayLimits;

/// Counts these clients, for all workers of a gateway together.
#[derive(Debug, Clone)]
pub struct Unauthenticated(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    limits: watch::Receiver<Arc<GatewayLimits>>,
    now: Mutex<Newcomers>,
}

#[derive(Debug, Default)]
struct Newcomers {
    total: usize,
    /// Without loopback, which is counted in the total only.
    of_addresses: Tally<Peer>,
}

/// One such client, until it is dropped.
#[derive(Debug)]
pub struct Newcomer {
    counts: Arc<Counts>,
    peer: Option<Peer>,
}

impl Unauthenticated {
    /// Starts without clients.
    pub fn new(limits: watch::Receiver<Arc<GatewayLimits>>) -> Self {
        Self(Arc::new(Counts { limits, now: Mutex::default() }))
    }

    /// Counts one more client; `None` if there are as many as may be.
    pub fn admit(&self, address: IpAddr) -> Option<Newcomer> {
        let peer = (!address.to_canonical().is_loopback()).then(|| Peer::of(Some(address)));
        let (max, max_per_address) = {
            let limits = self.0.limits.borrow();
            (limits.max_unauthenticated, limits.max_unauthenticated_per_address)
        };
        let mut now = self.0.lock();
        let is_full = now.total >= max;
        if is_full || peer.is_some_and(|peer| !now.of_addresses.take(&peer, max_per_address)) {
            return None;
        }
        now.total += 1;
        drop(now);
        Some(Newcomer { counts: self.0.clone(), peer })
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Newcomers> {
        // Nothing can panic between two changes that belong together.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let mut now = self.counts.lock();
        now.total -= 1;
        if let Some(peer) = self.peer {
            now.of_addresses.give_back(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_all_together_have_a_limit() {
        let limits = GatewayLimits {
            max_unauthenticated: 4,
            max_unauthenticated_per_address: 2,
            ..Default::default()
        };
        let counts = Unauthenticated::new(limits.fixed());
        let admit = |address: &str| counts.admit(address.parse().expect("an address"));
        let one = admit("192.0.2.1").expect("room");
        let two = admit("::ffff:192.0.2.1").expect("room");
        assert!(admit("192.0.2.1").is_none(), "two from this address");
        let _other = admit("192.0.2.2").expect("room");
        drop(two);
        let _again = admit("192.0.2.1").expect("room again");
        let _last = admit("127.0.0.1").expect("room");
        assert!(admit("127.0.0.1").is_none(), "four in total");
        drop(one);
        let loopback = [admit("::1"), admit("::1")].map(|admitted| admitted.is_some());
        assert_eq!(loopback, [true, false]);
        assert_eq!(counts.0.lock().of_addresses.len(), 2);
    }
}
