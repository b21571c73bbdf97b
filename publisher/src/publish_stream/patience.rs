//! Gives up a caller that does not take what it is sent. A connection whose caller does not read is
//! not polled, and the actor's timers stand still with it; so somebody else has to look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::interval;
use tracing::debug;

use crate::stream::Presence;

/// In which part of the limit it is looked again.
const LOOKS: u32 = 4;

/// How far a stream has come. A turn that sends something is odd, the next one is even: it comes only
/// when the connection has taken what was sent, save for what fits into its buffer.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// A turn has come, and sends something or nothing.
    pub(super) fn turn(&self, sends: bool) {
        // Only the stream writes, and the count guards nothing but itself.
        let turns = self.0.load(Ordering::Relaxed);
        let next = (turns | 1) + 1 + u64::from(sends);
        self.0.store(next, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// For how long nothing that was sent has been taken. Pure.
#[derive(Debug)]
struct Patience {
    limit: Duration,
    seen: u64,
    since: Instant,
}

impl Patience {
    fn is_over(&mut self, progress: u64, now: Instant) -> bool {
        let is_sending = progress % 2 == 1;
        if progress != self.seen || !is_sending {
            self.seen = progress;
            self.since = now;
        }
        now.saturating_duration_since(self.since) >= self.limit
    }
}

/// Cuts the connection when nothing that was sent has been taken for `limit`.
pub(super) async fn watch(progress: Progress, presence: Presence, limit: Duration) {
    let mut patience = Patience { limit, seen: 0, since: Instant::now() };
    let mut looks = interval(limit / LOOKS);
    loop {
        looks.tick().await;
        if patience.is_over(progress.now(), Instant::now()) {
            debug!("a publish stream ends: its caller does not read its answers");
            return presence.cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_only_where_what_was_sent_is_not_taken() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let progress = Progress::default();
        let mut patience = Patience { limit: Duration::from_secs(10), seen: 0, since: start };
        assert!(!patience.is_over(progress.now(), at(100)), "nothing was sent");
        progress.turn(true);
        assert!(!patience.is_over(progress.now(), at(101)));
        assert!(!patience.is_over(progress.now(), at(110)));
        progress.turn(true);
        assert!(!patience.is_over(progress.now(), at(112)), "a part was taken, and more was sent");
        assert!(!patience.is_over(progress.now(), at(121)));
        progress.turn(false);
        assert!(!patience.is_over(progress.now(), at(200)), "all was taken");
        progress.turn(false);
        progress.turn(true);
        assert!(!patience.is_over(progress.now(), at(300)));
        assert!(patience.is_over(progress.now(), at(310)));
    }
}
