//! The settings of a broker.

use std::path::PathBuf;
use std::time::Duration;

use campanile_edge::Incidents;
use campanile_messages::Durability;

use super::health::BrokerHealth;
use super::meters::BrokerMeters;
use crate::link::{Secrets, SecretsNow, unchanging};
use crate::spans::Spans;
use crate::tls::TlsSettings;
use crate::watchdog::Watchdog;

/// Where a broker keeps its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// A directory that nothing else uses. It is created if it does not exist.
    pub dir: PathBuf,
    /// How durable an event is before anybody sees it.
    pub durability: Durability,
}

/// The settings of a broker.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where the log is kept; `None` keeps it in memory only.
    pub storage: Option<Storage>,
    /// How many bytes may wait for one link, not counting what a gateway gets because it missed it. A
    /// link that exceeds this is cut; its peer comes back and continues where it was.
    pub max_link_queue_bytes: usize,
    /// How much memory the log may use, in bytes. When it is full the oldest events are dropped; a
    /// gateway that comes back for them learns that they are lost.
    pub log_max_bytes: usize,
    /// How long the log keeps an event, and so how long a client may be away without missing anything.
    pub log_max_age: Duration,
    /// How long a gateway may take to come back. Until then, a gateway without a link does not count as
    /// gone, and a broker that has just started drops no event for its age.
    pub return_limit: Duration,
    /// The most idempotency keys that are remembered, each for two minutes. While the table is full, a
    /// push with a new key is refused.
    pub max_ids: usize,
    /// How long a link that ends may take to write what waits for it, and how long the whole shutdown
    /// may take.
    pub shutdown_limit: Duration,
    /// How long a socket may take to send a whole hello, and how long a refused one may take to close.
    /// When there are too many such sockets, the address with the most of them loses its oldest one
    /// earlier.
    pub hello_limit: Duration,
    /// How long after it was accepted a socket may take to prove the cluster's secret, if there is one.
    pub proof_limit: Duration,
    /// The settings of TLS, which all listeners speak then; a newcomer gets the latest. Its handshake may take
    /// as long as a hello. `None` means that links are not encrypted.
    pub tls: Option<TlsSettings>,
    /// What both sides of a link prove to each other. If it is empty, links are open to everybody, except
    /// for those who have a secret.
    pub secrets: SecretsNow,
    /// The most links. One more is refused.
    pub max_links: usize,
    /// The most audiences that one link can want. A link that wants more is ended.
    pub max_audiences_per_link: usize,
    /// What is logged of refused links and of sockets without one. Default: nothing has happened.
    pub incidents: Incidents,
    /// Watches the broker's actor, tasks and thread.
    pub watchdog: Watchdog,
    /// What operators see of the broker.
    pub meters: BrokerMeters,
    /// Whether the broker can accept events. It notes here what makes it unready.
    pub health: BrokerHealth,
    /// Where the spans go of pushes that belong to a trace.
    pub spans: Spans,
}

/// What a link may always hold, however small its bounds are: a welcome and some small answers.
const MIN_HELD_BYTES: usize = 1 << 20;

impl BrokerConfig {
    /// How much memory, in bytes, may wait for a link that asks for the past again: all of the past
    /// twice, for its attach and for a fetch, and what came in the meantime. Gateways send a fetch only
    /// when they have read the answer to the one before.
    pub(super) fn max_held_bytes(&self) -> usize {
        let Self { log_max_bytes, max_link_queue_bytes, .. } = *self;
        log_max_bytes.saturating_mul(2).saturating_add(max_link_queue_bytes).max(MIN_HELD_BYTES)
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            storage: None,
            max_link_queue_bytes: 64 << 20,
            log_max_bytes: 64 << 20,
            log_max_age: Duration::from_secs(300),
            return_limit: Duration::from_secs(20),
            max_ids: 500_000,
            shutdown_limit: Duration::from_secs(5),
            hello_limit: Duration::from_secs(2),
            proof_limit: Duration::from_secs(5),
            tls: None,
            secrets: unchanging(Secrets::default()),
            max_links: 1_024,
            max_audiences_per_link: 1_000_000,
            incidents: Incidents::default(),
            watchdog: Watchdog::none(),
            meters: BrokerMeters::default(),
            health: BrokerHealth::default(),
            spans: Spans::default(),
        }
    }
}
