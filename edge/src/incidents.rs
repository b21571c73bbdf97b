//! What is logged of incidents that peers can cause at will, such as refused connections. Pure: the caller
//! passes the time in, and writes the lines.
//!
//! Each cause has its own rate of lines, and each address its own within that, so that nobody can fill the
//! log, or hide what others do. What is left out is counted by its cause. The count goes into the next line
//! about this cause or, if there is none within a second, into a line of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Bucket, Buckets, Peer, Rate};

/// How many seconds after another an address has a line about one cause, and how many it has at once. The
/// time is so long that a few addresses, each with an incident per second, leave lines for others.
const OF_EACH: (u32, u32) = (30, 5);

/// How many lines per second about one cause all addresses together have, and how many at once.
const OF_ALL: (u32, u32) = (3, 20);

/// How many pairs of cause and address are known at a time. Any others have only the rate of all.
const MAX_PEERS: usize = 1_024;

/// How long a count waits for the next line about its cause.
const REPORT_AFTER: Duration = Duration::from_secs(1);

/// How many incidents of one cause were left out since the last line about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many they are.
    pub count: u64,
    /// How long ago the first of them was.
    pub lasted: Duration,
}

impl LeftOut {
    /// The fields of a log line: how many, and for how many seconds. `None` if nothing was left out.
    pub fn fields(self) -> (Option<u64>, Option<f64>) {
        let is_any = self.count > 0;
        let seconds = (self.lasted.as_secs_f64() * 10.0).round() / 10.0;
        (is_any.then_some(self.count), is_any.then_some(seconds))
    }
}

/// The incidents of one service. Clones are the same.
#[derive(Clone, Default)]
pub struct Incidents(Arc<Mutex<Tables>>);

struct Tables {
    causes: HashMap<&'static str, Counted>,
    peers: Buckets<(&'static str, Peer)>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { causes: HashMap::new(), peers: Buckets::new(MAX_PEERS) }
    }
}

/// One cause.
#[derive(Default)]
struct Counted {
    lines: Bucket,
    /// How many were left out since the last line, and when the first of them was.
    left_out: Option<(u64, Instant)>,
}

impl Counted {
    fn take(&mut self, now: Instant) -> LeftOut {
        self.left_out.take().map_or(LeftOut::default(), |(count, since)| LeftOut {
            count,
            lasted: now.saturating_duration_since(since),
        })
    }
}

impl std::fmt::Debug for Incidents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Incidents")
    }
}

impl Incidents {
    /// Counts an incident. Returns what the line about it has to say of those that were left out before;
    /// `None` if it is left out itself. `cause` is one of the few names that the program has for causes.
    pub fn note(&self, cause: &'static str, peer: Option<IpAddr>, now: Instant) -> Option<LeftOut> {
        let of_each = Rate::one_in(OF_EACH.0, OF_EACH.1);
        let of_all = Rate::new(OF_ALL.0, OF_ALL.1);
        let Tables { causes, peers } = &mut *self.tables();
        let counted = causes.entry(cause).or_default();
        // While there are no lines for anybody, an address uses up none of its own.
        let may = counted.lines.left(of_all, now) > 0
            && peers.take((cause, Peer::of(peer)), of_each, now).is_ok()
            && counted.lines.take(of_all, now).is_ok();
        if may {
            return Some(counted.take(now));
        }
        let (count, _) = counted.left_out.get_or_insert((0, now));
        *count += 1;
        None
    }

    /// Takes out what was left out more than a second ago and no line has told since.
    pub fn due(&self, now: Instant) -> Vec<(&'static str, LeftOut)> {
        let is_due = |counted: &Counted| {
            counted.left_out.is_some_and(|(_, since)| now >= since + REPORT_AFTER)
        };
        self.take_if(now, is_due)
    }

    /// Takes out everything that no line has told yet, for the end of the service.
    pub fn rest(&self, now: Instant) -> Vec<(&'static str, LeftOut)> {
        self.take_if(now, |counted| counted.left_out.is_some())
    }

    fn take_if(
        &self,
        now: Instant,
        is_due: impl Fn(&Counted) -> bool,
    ) -> Vec<(&'static str, LeftOut)> {
        let mut tables = self.tables();
        let due = tables.causes.iter_mut().filter(|(_, counted)| is_due(counted));
        let mut due: Vec<_> = due.map(|(cause, counted)| (*cause, counted.take(now))).collect();
        due.sort_by_key(|(cause, _)| *cause);
        due
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_hundred_thousand_refusals_make_tens_of_lines_and_an_exact_count() {
        for (addresses, per_second) in [(1, 10_000), (1, 2_000), (200, 10_000), (200, 100_000)] {
            let (incidents, start) = (Incidents::default(), Instant::now());
            let (mut lines, mut told) = (0, 0);
            for number in 0..100_000 {
                let now = start + Duration::from_secs(1) * number / per_second;
                let peer = address((number % addresses) as u8);
                if let Some(left_out) = incidents.note("full", peer, now) {
                    (lines, told) = (lines + 1, told + 1 + left_out.count);
                }
                if number % per_second == 0 {
                    for (_, left_out) in incidents.due(now) {
                        (lines, told) = (lines + 1, told + left_out.count);
                    }
                }
            }
            for (cause, left_out) in incidents.rest(start + Duration::from_secs(60)) {
                assert_eq!(cause, "full");
                (lines, told) = (lines + 1, told + left_out.count);
            }
            assert_eq!(told, 100_000);
            assert!((5..100).contains(&lines), "{lines} lines by {addresses} at {per_second}/s");
        }
    }

    #[test]
    fn incidents_of_one_address_do_not_hide_those_of_others() {
        let (incidents, now) = (Incidents::default(), Instant::now());
        let logged = (0..1_000).filter(|_| incidents.note("a", address(1), now).is_some());
        assert_eq!(logged.count(), 5);
        let left_out = incidents.note("a", address(2), now);
        assert_eq!(left_out, Some(LeftOut { count: 995, lasted: Duration::ZERO }));
        assert!(incidents.note("b", address(1), now).is_some(), "another cause has its own lines");
        let logged = (3..=255).filter(|last| incidents.note("a", address(*last), now).is_some());
        assert_eq!(logged.count(), 14, "all together are limited as well");
    }

    #[test]
    fn a_few_steady_addresses_leave_lines_for_another_one() {
        let (incidents, start) = (Incidents::default(), Instant::now());
        let (mut lines, mut of_victim) = (0, 0);
        for tenth in 0..6_000 {
            let now = start + Duration::from_millis(100) * tenth;
            if tenth % 10 == 0 {
                let flood =
                    (1..=6).filter(|last| incidents.note("a", address(*last), now).is_some());
                lines += flood.count();
            }
            // Once a minute, and a moment after the others.
            if tenth % 600 == 1 {
                of_victim += usize::from(incidents.note("a", address(9), now).is_some());
            }
        }
        assert_eq!(of_victim, 10, "all of its incidents are told");
        assert!((6 * 20..=6 * 30).contains(&lines), "one line per address in 30 s: {lines}");
    }

    #[test]
    fn an_address_gets_its_lines_after_a_crowd_had_all_of_them() {
        let (incidents, start) = (Incidents::default(), Instant::now());
        let crowd = (10..=100).filter(|last| incidents.note("a", address(*last), start).is_some());
        assert_eq!(crowd.count(), 20);
        assert!((0..10).all(|_| incidents.note("a", address(1), start).is_none()));
        let later = start + Duration::from_secs(7);
        let told = (0..10).filter(|_| incidents.note("a", address(1), later).is_some());
        assert_eq!(told.count(), 5, "what was left out for the crowd took none of its lines");
    }

    #[test]
    fn what_was_left_out_is_told_by_the_next_line_or_after_a_second() {
        let (incidents, start) = (Incidents::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let note = |millis| incidents.note("a", address(1), at(millis));
        let other = |millis| incidents.note("a", address(2), at(millis));
        assert!((0..5).all(|_| note(0) == Some(LeftOut::default())));
        assert!((0..3).all(|_| note(500).is_none()));
        assert_eq!(incidents.due(at(1_000)), []);
        let told = LeftOut { count: 3, lasted: Duration::from_millis(700) };
        assert_eq!(other(1_200), Some(told));
        assert_eq!(told.fields(), (Some(3), Some(0.7)));
        assert_eq!(note(1_300), None);
        let told = LeftOut { count: 1, lasted: Duration::from_secs(1) };
        assert_eq!(incidents.due(at(2_300)), [("a", told)]);
        assert_eq!(incidents.rest(at(2_400)), []);
        assert_eq!(LeftOut::default().fields(), (None, None));
    }
}
