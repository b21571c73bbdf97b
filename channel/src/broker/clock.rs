//! The broker's clock. It is independent of the time of day, which somebody may set, and which a host
//! without a battery does not know when it starts. The clock runs while a broker runs. Between two
//! brokers on one data directory it advances as far as that can be proven.
//!
//! The proof is the kernel's uptime, which advances whatever happens to the time of day, and while the
//! machine sleeps. Each batch on disk carries both times, and the id of the kernel's boot. Within one
//! boot, the time between two brokers is exactly the difference of the uptimes. Otherwise the host was
//! restarted, or the disk moved to another host, and nobody knows how long that took, except that it
//! was not less than [`UNPROVEN`]. So nothing is forgotten too early, and even a host that restarts
//! again and again does not keep everything forever.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How far the clock advances between two brokers if the time cannot be proven. No kernel boots faster.
pub const UNPROVEN: Duration = Duration::from_secs(1);

/// The broker's clock, which never goes back. Copies are the same clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_at: Duration,
}

impl Clock {
    /// A clock that continues from the given time.
    pub fn starting_at(started_at: Duration) -> Self {
        Self { started: Instant::now(), started_at }
    }

    pub fn now(self) -> Duration {
        self.started_at + self.started.elapsed()
    }
}

/// What the host's kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The id of its boot; `None` if the system does not say.
    pub boot: Option<u128>,
    /// The time since that boot.
    pub uptime: Duration,
}

/// The time since the kernel booted.
pub fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}

/// The broker's clock and the kernel's uptime at one moment, as they are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// The broker's time.
    pub at_millis: u64,
    /// The kernel's uptime.
    pub uptime_millis: u64,
}

impl ClockReading {
    /// Both times now.
    pub fn now(clock: Clock) -> Self {
        let (at_millis, uptime_millis) = (millis(clock.now()), millis(uptime()));
        Self { at_millis, uptime_millis }
    }
}

/// The time at which the broker's clock starts, if `seen` was noted in `boot`, and the kernel says `now`.
pub fn resume(seen: ClockReading, boot: Option<u128>, now: Kernel) -> Duration {
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

    /// A host on which one broker runs after another.
    struct Host {
        kernel: Kernel,
        /// The time of day, which must not matter.
        wall: i64,
        at: Duration,
        on_disk: (ClockReading, Option<u128>),
    }

    impl Host {
        fn new() -> Self {
            let kernel = Kernel { boot: Some(1), uptime: 5 * MINUTE };
            let seen = ClockReading { at_millis: 60_000, uptime_millis: 300_000 };
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
            self.on_disk = (ClockReading { at_millis, uptime_millis }, self.kernel.boot);
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
    fn time_that_cannot_be_proven_hardly_counts() {
        let seen = ClockReading { at_millis: 60_000, uptime_millis: 300_000 };
        let at = |boot, now| resume(seen, boot, now) - Duration::from_secs(60);
        let kernel = |boot, minutes| Kernel { boot, uptime: minutes * MINUTE };
        // The same boot, another one, one without an id, and one whose uptime went back (a container
        // that was frozen and thawed elsewhere).
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
                // Each broker is killed at once, and has noted only its start.
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
    fn the_uptime_of_the_kernel_advances() {
        let (clock, before) = (Clock::starting_at(MINUTE), uptime());
        assert!(before > Duration::ZERO);
        assert!(ClockReading::now(clock).uptime_millis >= millis(before));
        assert!(ClockReading::now(clock).at_millis >= 60_000);
    }
}
