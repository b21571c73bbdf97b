//! How long a gateway has had no stream from a broker, and when its clients must look for another
//! gateway. Pure: a part of the bridge's core.

use std::time::{Duration, Instant};

/// Without a link for a while, a gateway keeps its clients: a broker that is restarted is back
/// within a second. After a limit the broker takes their addresses for gone, and another gateway
/// may have a link, so they are sent away.
#[derive(Debug)]
pub struct Absence {
    /// Zero: clients are kept for ever.
    limit: Duration,
    /// `None` while there is a link on which the stream has begun.
    since: Option<Instant>,
    is_over: bool,
}

impl Absence {
    /// There has been no broker yet.
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, since: Some(now), is_over: false }
    }

    /// The link is lost.
    pub fn link_lost(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The broker's stream begins; `true` if clients were being sent away.
    pub fn stream_begins(&mut self) -> bool {
        self.since = None;
        std::mem::take(&mut self.is_over)
    }

    /// `true` when the limit has just passed: clients are to be sent away.
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
