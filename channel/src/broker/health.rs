//! Whether a broker can accept events, as load balancers and orchestrators ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What is known of a broker's health. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct BrokerHealth(Arc<Signs>);

/// The flags guard no other memory.
#[derive(Debug, Default)]
struct Signs {
    draining: AtomicBool,
    disk_waits: AtomicBool,
}

impl BrokerHealth {
    /// Notes that the process shuts down, which cannot be undone.
    pub fn drain(&self) {
        self.0.draining.store(true, Relaxed);
    }

    /// Notes whether a write to the disk takes too long now.
    pub fn set_disk_waits(&self, waits: bool) {
        self.0.disk_waits.store(waits, Relaxed);
    }

    /// Why the broker can accept nothing, in one word; `None` if it can. A shutdown comes first, because
    /// it cannot be undone.
    pub fn hindrance(&self) -> Option<&'static str> {
        match (self.0.draining.load(Relaxed), self.0.disk_waits.load(Relaxed)) {
            (true, _) => Some("draining"),
            (false, true) => Some("disk"),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_waits_for_its_disk_or_ends_is_not_ready() {
        let health = BrokerHealth::default();
        let seen = health.clone();
        assert_eq!(seen.hindrance(), None);
        health.set_disk_waits(true);
        assert_eq!(seen.hindrance(), Some("disk"));
        health.drain();
        assert_eq!(seen.hindrance(), Some("draining"));
        health.set_disk_waits(false);
        assert_eq!(seen.hindrance(), Some("draining"));
    }
}
