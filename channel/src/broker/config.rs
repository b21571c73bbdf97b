//! The settings of a broker.

use std::path::PathBuf;
use std::time::Duration;

use campanile_messages::Durability;

use crate::watchdog::Watchdog;

/// Where a broker keeps its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// A directory of its own; made if it is not there.
    pub dir: PathBuf,
    /// How durable an event is before anybody sees it.
    pub durability: Durability,
}

/// The settings of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Where the log is kept; `None`: in memory only.
    pub storage: Option<Storage>,
    /// What may wait for one link, in bytes, besides what a gateway missed and gets on attach. A
    /// link past it is cut; its peer comes back and continues where it was.
    pub max_link_queue_bytes: usize,
    /// How much the log keeps, in bytes, with what it costs to keep it. Past it the oldest events
    /// are dropped, and who comes back for them is told so.
    pub log_max_bytes: usize,
    /// How long the log keeps an event: as long may a client be away and miss nothing.
    pub log_max_age: Duration,
    /// How long a gateway may take to come back. A gateway without a link is not gone before; after a
    /// start of the broker nothing is too old before.
    pub return_limit: Duration,
    /// How many idempotency keys are remembered, each for two minutes; one more is refused.
    pub max_ids: usize,
    /// How long a link that ends may take to write what waits for it, and the shutdown as a whole.
    pub shutdown_limit: Duration,
    /// A socket on which no whole hello came by then is closed, and one that was refused and does not
    /// close. Where there are too many of them, the oldest of the address with the most goes sooner.
    pub hello_limit: Duration,
    /// The most links; one more is refused.
    pub max_links: usize,
    /// The most audiences that one link can want; a link that wants more is closed.
    pub max_audiences_per_link: usize,
    /// Watches the broker's actor, tasks and thread.
    pub watchdog: Watchdog,
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
            max_links: 1_024,
            max_audiences_per_link: 1_000_000,
            watchdog: Watchdog::none(),
        }
    }
}
