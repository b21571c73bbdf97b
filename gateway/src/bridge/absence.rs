//! Decides when a gateway that has lost its link to the broker sends its clients away. Pure: a part of
//! the bridge's core.

use std::time::{Duration, Instant};

/// Measures how long there has been no link to the broker. At first a gateway keeps its clients, because
/// a restarted broker is back within a second. After a limit they are sent away: by then the broker
/// considers their addresses gone, and another gateway may have a link.
#[derive(Debug)]
pub struct Absence {
    /// Zero means that clients are kept for ever.
    limit: Duration,
    /// `None` while there is a link on which the broker's events have begun.
    since: Option<Instant>,
    /// Whether the limit has passed, so that clients are being sent away.
    is_over: bool,
}

impl Absence {
    /// Starts without a link.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, since: Some(now), is_over: false }
    }

    /// Records that the link is lost.
    pub fn link_lost(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Records that the broker's events begin; `true` if clients were being sent away.
    pub fn stream_begins(&mut self) -> bool {
        self.since = None;
        std::mem::take(&mut self.is_over)
    }

    /// `true` once per absence, when the limit has passed and clients must be sent away.
    pub fn passes_limit(&mut self, now: Instant) -> bool {
        let away = self.since.map(|since| now.saturating_duration_since(since));
        let passes = !self.is_over && !self.limit.is_zero() && away >= Some(self.limit);
        self.is_over |= passes;
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_away_once_per_absence_past_the_limit() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut absence = Absence::new(20 * second, start);
        assert!(!absence.passes_limit(start + 19 * second));
        assert!(absence.passes_limit(start + 20 * second));
        assert!(!absence.passes_limit(start + 21 * second), "once");
        assert!(absence.stream_begins());
        assert!(!absence.passes_limit(start + 100 * second));
        absence.link_lost(start + 100 * second);
        absence.link_lost(start + 110 * second);
        assert!(!absence.passes_limit(start + 119 * second));
        assert!(!absence.stream_begins(), "nobody was sent away");
        absence.link_lost(start + 200 * second);
        assert!(absence.passes_limit(start + 220 * second));
    }

    #[test]
    fn a_limit_of_zero_keeps_clients_for_ever() {
        let now = Instant::now();
        let mut absence = Absence::new(Duration::ZERO, now);
        assert!(!absence.passes_limit(now + Duration::from_secs(100_000)));
    }
}
