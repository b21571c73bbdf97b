//! How long a connection is kept whose caller does not read what it is sent. Pure.

use std::time::{Duration, Instant};

/// How much a caller must read within the limit, unless less is waiting: as much as a turn of a publish
/// stream writes. Otherwise a caller that reads a byte now and then would keep its connection, and what is
/// held for it, for ever.
const LEAST_BYTES: usize = 64 << 10;

/// Watches what is written to one connection.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    /// Counted since something began to wait.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    until: Instant,
    /// Counted since `limit` before `until`.
    taken_bytes: usize,
}

impl Patience {
    /// Starts with nothing written.
    pub fn new(limit: Duration) -> Self {
        Self { limit, waiting: None }
    }

    /// Whether something waits for the caller to read it.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Notes that the kernel took `bytes` of what waits, or all of it.
    pub fn took(&mut self, bytes: usize, is_all: bool) {
        if is_all {
            self.waiting = None;
        } else if let Some(waiting) = &mut self.waiting {
            waiting.taken_bytes = waiting.taken_bytes.saturating_add(bytes);
        }
    }

    /// Notes that something waits and nothing of it is taken at the moment. Returns how long that may go on
    /// before this must be called again; `None` if the caller's time is over.
    pub fn wait(&mut self, now: Instant) -> Option<Instant> {
        let limit = self.limit;
        let begin = || Waiting { until: now + limit, taken_bytes: 0 };
        let waiting = self.waiting.get_or_insert_with(begin);
        if waiting.until <= now {
            if waiting.taken_bytes < LEAST_BYTES {
                return None;
            }
            *waiting = begin();
        }
        Some(waiting.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_caller_that_reads_too_little_is_out_of_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut patience = Patience::new(LIMIT);
        patience.took(1, false);
        assert!(!patience.is_waiting(), "a part was taken, and the rest was not tried yet");
        assert_eq!(patience.wait(at(100)), Some(at(110)));
        assert_eq!(patience.wait(at(109)), Some(at(110)));
        patience.took(LEAST_BYTES - 1, false);
        patience.took(1, false);
        assert_eq!(patience.wait(at(110)), Some(at(120)), "enough was taken");
        patience.took(LEAST_BYTES - 1, false);
        assert!(patience.is_waiting());
        assert_eq!(patience.wait(at(120)), None, "a little too little");
    }

    #[test]
    fn reading_all_that_waits_is_always_enough() {
        let start = Instant::now();
        let mut patience = Patience::new(LIMIT);
        assert_eq!(patience.wait(start), Some(start + LIMIT));
        patience.took(1, true);
        assert!(!patience.is_waiting());
        assert_eq!(patience.wait(start + LIMIT), Some(start + 2 * LIMIT));
    }
}
