//! What a gateway answers to the health checks of load balancers and supervisors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// The facts that decide whether a gateway should get clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// There is a link to the broker now.
    pub is_linked: bool,
    /// There is a link now, or there was one before.
    pub was_linked: bool,
    pub is_draining: bool,
    /// Something in this process has been waiting for the disk for too long.
    pub waits_for_disk: bool,
}

impl Condition {
    /// Why the gateway should get no clients now, in one word; `None` if it should get them.
    pub fn hindrance(self) -> Option<&'static str> {
        match self {
            Self { is_draining: true, .. } => Some("draining"),
            Self { was_linked: false, .. } => Some("starting"),
            Self { is_linked: false, .. } => Some("no_broker"),
            Self { waits_for_disk: true, .. } => Some("disk"),
            _ => None,
        }
    }
}

/// The condition of one gateway, which any of its threads may set and read.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_linked: AtomicBool,
    was_linked: AtomicBool,
    is_draining: AtomicBool,
    waits_for_disk: AtomicBool,
    is_cut_off: AtomicBool,
    drain_begins: Notify,
}

impl Health {
    /// Records whether there is a link to the broker.
    pub fn set_linked(&self, is_linked: bool) {
        self.0.is_linked.store(is_linked, Ordering::Relaxed);
        if is_linked {
            self.0.was_linked.store(true, Ordering::Relaxed);
        }
    }

    /// Records that the gateway has begun to shut down.
    pub fn begin_drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
        self.0.drain_begins.notify_waiters();
    }

    /// Resolves when the gateway shuts down.
    pub async fn draining(&self) {
        let begins = self.0.drain_begins.notified();
        if !self.is_draining() {
            begins.await;
        }
    }

    /// Records whether a wait for the disk has been taking too long.
    pub fn set_waits_for_disk(&self, waits: bool) {
        self.0.waits_for_disk.store(waits, Ordering::Relaxed);
    }

    /// Records whether there has been no link for so long that the gateway accepts no clients.
    pub fn set_cut_off(&self, is_cut_off: bool) {
        self.0.is_cut_off.store(is_cut_off, Ordering::Relaxed);
    }

    /// Whether the gateway accepts no clients, because there has been no link for too long.
    pub fn is_cut_off(&self) -> bool {
        self.0.is_cut_off.load(Ordering::Relaxed)
    }

    /// Whether the gateway shuts down.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }

    /// Why the gateway should get no clients now, in one word; `None` if it should get them.
    pub fn hindrance(&self) -> Option<&'static str> {
        self.condition().hindrance()
    }

    /// The facts.
    pub fn condition(&self) -> Condition {
        let read = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        Condition {
            is_linked: read(&self.0.is_linked),
            was_linked: read(&self.0.was_linked),
            is_draining: read(&self.0.is_draining),
            waits_for_disk: read(&self.0.waits_for_disk),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_ready_with_a_link_or_says_what_is_missing() {
        let health = Health::default();
        let word = || health.condition().hindrance();
        assert_eq!(word(), Some("starting"));
        health.set_linked(true);
        assert_eq!(word(), None);
        health.set_waits_for_disk(true);
        assert_eq!(word(), Some("disk"));
        health.set_linked(false);
        assert_eq!(word(), Some("no_broker"));
        health.begin_drain();
        assert_eq!(word(), Some("draining"));
    }
}
