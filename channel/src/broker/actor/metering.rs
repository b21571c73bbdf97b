//! What the broker notes for its operators.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Broker;

impl Broker {
    /// Notes what the exchange has done and holds. Done once per batch of messages.
    pub(super) fn note(&self, now: Duration) {
        self.meters.note(&self.exchange.figures(now), self.disk.held_bytes());
    }

    /// Notes the time of day, which somebody may have set. A host whose clock is before 1970 has none.
    pub(super) fn note_daytime(&mut self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = self.clock.now();
        self.links.daytime().set(now, unix);
    }

    /// A link of this role is up.
    pub(super) fn note_link(&self, role: &'static str) {
        self.meters.link_opened(role);
        self.meters.links(|role| self.links.number_of(role));
    }

    /// Notes how far links are behind.
    pub(super) fn note_lag(&mut self) {
        let lag = self.links.lag(self.clock.now());
        self.meters.lag(lag);
    }
}
