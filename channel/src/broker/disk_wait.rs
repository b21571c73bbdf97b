//! How long the writer has been waiting for the disk. The writer's thread notes when it enters the
//! kernel and when it returns. The broker's actor checks this regularly and logs what has changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A longer wait than this is logged, and services then report that they are not ready. A healthy disk
/// takes about 10 ms, a busy one about 100 ms.
pub const LONG_WAIT: Duration = Duration::from_secs(2);

/// Shared by the writer's thread and the actor, as clones.
#[derive(Debug, Clone)]
pub struct DiskWait(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    /// Microseconds after `started`, plus 1; 0 while the writer is not in the kernel.
    since: AtomicU64,
    /// The longest wait that has ended since the last check, in microseconds.
    ended: AtomicU64,
}

/// What a check finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskSample {
    /// How long the current wait has lasted so far.
    pub under_way: Option<Duration>,
    /// The longest wait that has ended since the last check.
    pub ended: Option<Duration>,
}

impl DiskWait {
    pub fn new() -> Self {
        let (since, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Shared { started: Instant::now(), since, ended }))
    }

    /// Runs something that may wait for the disk.
    pub fn during<T>(&self, run: impl FnOnce() -> T) -> T {
        struct Back<'a>(&'a Shared, u64);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.since.store(0, Ordering::Release);
                self.0.ended.fetch_max(self.0.now() - self.1, Ordering::AcqRel);
            }
        }
        let now = self.0.now();
        self.0.since.store(now + 1, Ordering::Release);
        let _back = Back(&self.0, now);
        run()
    }

    /// Checks the disk.
    pub fn look(&self) -> DiskSample {
        let Shared { since, ended, .. } = &*self.0;
        // In this order, a wait that ends in between is seen twice instead of never.
        let under_way = since.load(Ordering::Acquire);
        let ended = ended.swap(0, Ordering::AcqRel);
        let lasted = |since| Duration::from_micros(self.0.now().saturating_sub(since));
        DiskSample {
            under_way: under_way.checked_sub(1).map(lasted),
            ended: (ended > 0).then(|| Duration::from_micros(ended)),
        }
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What has to be logged about the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskNews {
    /// A wait has become a long one.
    Waits { lasted: Duration },
    /// A long wait is over.
    Over { took: Duration },
}

/// Decides what has to be logged: each long wait once when it is noticed, and once when it is over. Pure.
#[derive(Debug, Default)]
pub struct DiskWatch {
    is_waiting: bool,
}

impl DiskWatch {
    /// Whether a long wait was under way at the last check.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// What has to be logged after a check.
    pub fn note(&mut self, sample: DiskSample) -> Vec<DiskNews> {
        let mut news = Vec::new();
        if let Some(took) = sample.ended.filter(|took| *took > LONG_WAIT) {
            news.push(DiskNews::Over { took });
            self.is_waiting = false;
        }
        match sample.under_way.filter(|lasted| *lasted > LONG_WAIT) {
            Some(lasted) if !self.is_waiting => {
                news.push(DiskNews::Waits { lasted });
                self.is_waiting = true;
            }
            // Its end was taken for the end of the wait before it.
            None if self.is_waiting => {
                news.push(DiskNews::Over { took: LONG_WAIT });
                self.is_waiting = false;
            }
            _ => {}
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(3);
    const SHORT: Duration = Duration::from_millis(900);

    fn sample(under_way: Option<Duration>, ended: Option<Duration>) -> DiskSample {
        DiskSample { under_way, ended }
    }

    #[test]
    fn a_long_wait_and_its_end_are_logged_once() {
        let mut watch = DiskWatch::default();
        assert_eq!(watch.note(sample(Some(SHORT), Some(SHORT))), []);
        assert_eq!(watch.note(sample(Some(LONG), None)), [DiskNews::Waits { lasted: LONG }]);
        assert_eq!(watch.note(sample(Some(2 * LONG), None)), []);
        assert!(watch.is_waiting());
        let over = DiskNews::Over { took: 3 * LONG };
        assert_eq!(watch.note(sample(Some(SHORT), Some(3 * LONG))), [over]);
        assert!(!watch.is_waiting());
        assert_eq!(watch.note(sample(None, Some(SHORT))), []);
    }

    #[test]
    fn a_long_wait_between_two_checks_is_logged() {
        let mut watch = DiskWatch::default();
        let news = watch.note(sample(Some(2 * LONG), Some(LONG)));
        assert_eq!(news, [DiskNews::Over { took: LONG }, DiskNews::Waits { lasted: 2 * LONG }]);
        let news = watch.note(sample(Some(LONG), Some(2 * LONG)));
        assert_eq!(news, [DiskNews::Over { took: 2 * LONG }, DiskNews::Waits { lasted: LONG }]);
        assert!(watch.is_waiting());
        // It was one wait, seen twice, and nothing else will report its end.
        let news = watch.note(sample(None, Some(SHORT)));
        assert_eq!(news, [DiskNews::Over { took: LONG_WAIT }]);
        assert!(!watch.is_waiting());
    }

    #[test]
    fn another_thread_sees_a_wait_and_once_its_end() {
        let wait = DiskWait::new();
        assert_eq!(wait.look(), DiskSample::default());
        let (seen, go_on) = mpsc::channel::<()>();
        let (entered, is_in) = mpsc::channel();
        let writer = thread::spawn({
            let wait = wait.clone();
            move || {
                wait.during(|| {
                    entered.send(()).unwrap();
                    go_on.recv().unwrap();
                });
            }
        });
        is_in.recv().unwrap();
        let sample = wait.look();
        assert!(sample.under_way.is_some() && sample.ended.is_none(), "{sample:?}");
        seen.send(()).unwrap();
        writer.join().unwrap();
        let sample = wait.look();
        assert!(sample.under_way.is_none() && sample.ended.is_some(), "{sample:?}");
        assert_eq!(wait.look(), DiskSample::default());
    }
}
