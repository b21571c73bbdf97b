//! For how long a thread could have run, and got no processor.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// What the kernel counts for the threads that were asked about in the last two turns.
#[derive(Debug, Default)]
pub struct Starving {
    now: HashMap<i32, Duration>,
    before: HashMap<i32, Duration>,
}

impl Starving {
    /// A turn begins.
    pub fn turn(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
    }

    /// For how long this thread of the process has waited for a processor since the turn before; zero
    /// if it was not asked about then, or if the kernel does not say it.
    pub fn of(&mut self, thread: i32) -> Duration {
        let now = *self.now.entry(thread).or_insert_with(|| waited(thread).unwrap_or_default());
        self.before.get(&thread).map_or(Duration::ZERO, |before| now.saturating_sub(*before))
    }
}

/// Since the thread began; `None` if it is gone, or the kernel was built without these counts.
fn waited(thread: i32) -> Option<Duration> {
    let counts = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    // Nanoseconds on a processor, nanoseconds waiting for one, and how often.
    let nanos = counts.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_asked_about_from_its_second_turn_on() {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let mut starving = Starving::default();
        starving.turn();
        assert_eq!(starving.of(thread), Duration::ZERO);
        starving.before.clone_from(&starving.now);
        starving.now = [(thread, starving.before[&thread] + Duration::from_millis(700))].into();
        assert_eq!(starving.of(thread), Duration::from_millis(700));
        assert_eq!(starving.of(thread), Duration::from_millis(700), "the same in the same turn");
        starving.turn();
        starving.turn();
        assert_eq!(starving.of(thread), Duration::ZERO);
    }

    #[test]
    fn a_thread_that_is_gone_does_not_starve() {
        assert_eq!(waited(i32::MAX), None);
    }
}
