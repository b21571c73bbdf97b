//! The limits of a gateway that may change while it runs.

use std::sync::Arc;

use campanile_edge::AddressLimits;
use tokio::sync::watch;

use crate::connection::pace::ClientRates;

/// The limits that may change while a gateway runs. A change holds for what comes after it: nobody is
/// closed because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLimits {
    /// The most connections at a time, if there is room for them
    /// ([`GatewayConfig::max_connections`](crate::GatewayConfig)). Any more are answered 503. Default:
    /// 100,000.
    pub max_connections: usize,
    /// Connections and new connections of each address, and which proxies are trusted to say it.
    pub addresses: AddressLimits,
    /// The most connections of one user; 0 means no limit. Any more are refused. Default: 1,000.
    pub max_connections_per_user: u32,
    /// How many connections are accepted per second, on average; 0 means no limit. Any more wait in the
    /// listener's backlog. Default: 0.
    pub max_handshakes_per_second: u32,
    /// The most clients at a time that have not sent their token yet. Any more are closed with 4429. Default:
    /// 1,000.
    pub max_unauthenticated: usize,
    /// The same for one address: an IPv4 address or the /64 of an IPv6 address. Loopback has no such limit.
    /// Default: 100.
    pub max_unauthenticated_per_address: usize,
    /// How many messages each client may send.
    pub rates: ClientRates,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            addresses: AddressLimits::default(),
            max_connections_per_user: 1_000,
            max_handshakes_per_second: 0,
            max_unauthenticated: 1_000,
            max_unauthenticated_per_address: 100,
            rates: ClientRates::default(),
        }
    }
}

impl GatewayLimits {
    /// These limits for as long as the gateway runs.
    pub fn fixed(self) -> watch::Receiver<Arc<Self>> {
        watch::Sender::new(Arc::new(self)).subscribe()
    }
}
