//! How long a thread was ready to run, but got no CPU.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// What the kernel has counted for the threads of the last two turns.
#[derive(Debug, Default)]
pub struct Starving {
    now: HashMap<i32, Duration>,
    before: HashMap<i32, Duration>,
}

impl Starving {
    /// Begins a turn.
    pub fn turn(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
    }

    /// How long a thread of this process has waited for a CPU since the turn before. Zero if nobody asked
    /// about it then, or if the kernel does not say.
    pub fn of(&mut self, thread: i32) -> Duration {
        let now = *self.now.entry(thread).or_insert_with(|| waited(thread).unwrap_or_default());
        self.before.get(&thread).map_or(Duration::ZERO, |before| now.saturating_sub(*before))
    }
}

/// How long a thread has waited for a CPU in its life; `None` if it is gone, or if the kernel does not
/// count this.
fn waited(thread: i32) -> Option<Duration> {
    let counts = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    // Nanoseconds on a CPU, nanoseconds of waiting for one, and the number of time slices.
    let nanos = counts.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starving_is_known_from_the_second_turn_on() {
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
