//! Until when something may take, and how long that is for whoever asks.

use std::time::{Duration, Instant};

/// An instant, and the limit from which it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When it is over.
    pub at: Instant,
    /// How long it was from its beginning on.
    pub limit: Duration,
}

impl Deadline {
    /// `limit` from `start` on.
    pub fn new(start: Instant, limit: Duration) -> Self {
        Self { at: start + limit, limit }
    }

    /// The one that is over first, the other where that is `None`.
    pub fn or_sooner(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.at < self.at => other,
            _ => self,
        }
    }

    /// It is over.
    pub fn is_over(&self, now: Instant) -> bool {
        self.at <= now
    }
}
