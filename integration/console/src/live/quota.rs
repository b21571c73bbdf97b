//! How many bytes a page may send in a span of time. Pure: the caller passes the time in.

use std::time::{Duration, Instant};

/// A number of bytes per span, which begins with the first byte after the last one.
#[derive(Debug)]
pub struct Quota {
    max_bytes: usize,
    span: Duration,
    begun: Option<Instant>,
    taken: usize,
}

impl Quota {
    /// A quota of which nothing is taken.
    pub fn new(max_bytes: usize, span: Duration) -> Self {
        Self { max_bytes, span, begun: None, taken: 0 }
    }

    /// Takes some bytes; `false` if these are too many.
    pub fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let is_over = |begun| now.saturating_duration_since(begun) >= self.span;
        if self.begun.is_none_or(is_over) {
            (self.begun, self.taken) = (Some(now), 0);
        }
        self.taken = self.taken.saturating_add(bytes);
        self.taken <= self.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_for_one_span_of_time() {
        let (mut quota, start) = (Quota::new(10, Duration::from_secs(20)), Instant::now());
        let mut take = |bytes, seconds| quota.take(bytes, start + Duration::from_secs(seconds));
        assert!(take(4, 0) && take(6, 19) && !take(1, 19));
        assert!(take(10, 20) && !take(usize::MAX, 20) && !take(1, 39));
        assert!(take(10, 40));
    }
}
