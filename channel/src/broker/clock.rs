//! The broker's clock. It has nothing to do with the time of day, which somebody may set, or which a
//! host without a battery does not know when it starts: it passes while a broker runs, and between
//! two brokers on one data directory as far as that can be proven.
//!
//! What proves it is the kernel: the time since it was started goes on whatever is done to the time of
//! day, and while the machine sleeps. Each batch on disk carries both times and which start of the
//! kernel it was. In the same start the time between two brokers is exactly the difference. Otherwise
//! the kernel was started again, or the disk moved to another host: nobody can say how long that took
//! except that it was not less than [`UNPROVEN`]. So what is remembered is never forgotten early, and
//! a host that is started again and again prolongs nothing without end.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How much time counts as passed between two brokers if it cannot be proven. No kernel starts in
/// less.
pub const UNPROVEN: Duration = Duration::from_secs(1);

/// The broker's time: never goes back. Copies are the same clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_at: Duration,
}

impl Clock {
    /// A clock that goes on from the given time.
    pub fn starting_at(started_at: Duration) -> Self {
        Self { started: Instant::now(), started_at }
    }

    /// The present time.
    pub fn now(self) -> Duration {
        self.started_at + self.started.elapsed()
    }
}

/// The time that the host's kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Which start of it; `None` where the system does not say.
    pub boot: Option<u128>,
    /// How long ago that was.
    pub uptime: Duration,
}

/// The time since the kernel was started.
pub fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}

/// Both times at one moment, as they are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The broker's time.
    pub at_millis: u64,
    /// The kernel's.
    pub uptime_millis: u64,
}

impl Seen {
    /// What is seen at this moment.
    pub fn now(clock: Clock) -> Self {
        let (at_millis, uptime_millis) = (millis(clock.now()), millis(uptime()));
        Self { at_millis, uptime_millis }
    }
}

/// The broker's time at a start: `seen` was in this `boot`, and the kernel tells `now`.
pub fn resume(seen: Seen, boot: Option<u128>, now: Kernel) -> Duration {
    let passed = millis(now.uptime).checked_sub(seen.uptime_millis).map(Duration::from_millis);
    let is_same = boot.is_some() && boot == now.boot;
    Duration::from_millis(seen.at_millis) + passed.filter(|_| is_same).unwrap_or(UNPROVEN)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// A host on which one broker runs after the other.
    struct Host {
        kernel: Kernel,
        /// What the time of day says. Nothing below reads it.
        wall: i64,
        at: Duration,
        on_disk: (Seen, Option<u128>),
    }

    impl Host {
        fn new() -> Self {
            let kernel = Kernel { boot: Some(1), uptime: 5 * MINUTE };
            let seen = Seen { at_millis: 60_000, uptime_millis: 300_000 };
            let at = Duration::from_millis(seen.at_millis);
            Self { kernel, wall: 1_700_000_000, at, on_disk: (seen, Some(1)) }
        }

        /// Time passes, with a broker or without.
        fn pass(&mut self, time: Duration) {
            self.kernel.uptime += time;
            self.wall += i64::try_from(time.as_secs()).unwrap();
        }

        fn run(&mut self, time: Duration) {
            self.at = resume(self.on_disk.0, self.on_disk.1, self.kernel);
            self.pass(time);
            self.at += time;
            let (at_millis, uptime_millis) = (millis(self.at), millis(self.kernel.uptime));
            self.on_disk = (Seen { at_millis, uptime_millis }, self.kernel.boot);
        }

        fn reboot(&mut self, boot: Option<u128>, took: Duration) {
            self.kernel = Kernel { boot, uptime: took / 2 };
        }
    }

    #[test]
    fn the_time_of_day_may_jump_between_two_brokers() {
        const YEAR: i64 = 365 * 86_400;
        for jump in [0, 300, -3_600, 10 * YEAR, -1_700_000_000] {
            let mut host = Host::new();
            let before = host.at;
            host.wall += jump;
            host.pass(Duration::from_millis(2_600));
            host.run(Duration::ZERO);
            assert_eq!(host.at - before, Duration::from_millis(2_600), "a jump of {jump} s");
        }
    }

    #[test]
    fn what_cannot_be_proven_is_never_too_much() {
        let seen = Seen { at_millis: 60_000, uptime_millis: 300_000 };
        let at = |boot, now| resume(seen, boot, now) - Duration::from_secs(60);
        let kernel = |boot, minutes| Kernel { boot, uptime: minutes * MINUTE };
        // The same kernel, which proves it, another one, one that is not known, and one whose time
        // went back (a container that was frozen and thawed elsewhere).
        assert_eq!(at(Some(1), kernel(Some(1), 65)), 60 * MINUTE);
        assert_eq!(at(Some(1), kernel(Some(2), 65)), UNPROVEN);
        assert_eq!(at(Some(1), kernel(None, 65)), UNPROVEN);
        assert_eq!(at(None, kernel(None, 65)), UNPROVEN);
        assert_eq!(at(Some(1), kernel(Some(1), 1)), UNPROVEN);
    }

    #[test]
    fn starts_every_second_for_an_hour_do_not_stop_the_clock() {
        for boots in [[Some(1), Some(1)], [None, None], [Some(1), Some(2)]] {
            let mut host = Host::new();
            let before = host.at;
            for turn in 0..3_600 {
                // Killed at once, again and again: nothing but the start is on disk.
                let boot = boots[turn % 2];
                if boot != host.kernel.boot {
                    host.reboot(boot, Duration::from_millis(500));
                }
                host.run(Duration::ZERO);
                host.pass(Duration::from_secs(1));
            }
            let passed = host.at - before;
            assert!(passed >= Duration::from_secs(3_599), "{boots:?}: {passed:?}");
            assert!(passed <= Duration::from_secs(3_600), "{boots:?}: {passed:?}");
        }
    }

    #[test]
    fn the_kernel_tells_a_time_that_goes_on() {
        let (clock, before) = (Clock::starting_at(MINUTE), uptime());
        assert!(before > Duration::ZERO);
        assert!(Seen::now(clock).uptime_millis >= millis(before));
        assert!(Seen::now(clock).at_millis >= 60_000);
    }
}
