//! A deadline that knows how long it was.

use std::time::{Duration, Instant};

/// An instant, and the limit that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// How long it was in the beginning, for the sentence about it.
    pub(super) limit: Duration,
}

impl Deadline {
    pub(super) fn new(start: Instant, limit: Duration) -> Self {
        Self { at: start + limit, limit }
    }

    /// Returns the sooner one of the two.
    pub(super) fn or_sooner(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.at < self.at => other,
            _ => self,
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.at <= now
    }
}
