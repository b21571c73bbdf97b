//! The receipts of accepted pushes whose callers wait for what the gateways wrote. Bounded by the
//! callers: one push each.

use std::collections::BTreeMap;
use std::time::Instant;

use campanile_messages::link::{Matched, Number, Tally};

use super::receipt::{Accepted, Answer, Delivery, Receipt};

/// The receipts that are not complete yet.
#[derive(Debug)]
pub(super) struct Counting<C>(BTreeMap<Number, Count<C>>);

/// A receipt that is not complete yet.
#[derive(Debug)]
pub(super) struct Count<C> {
    pub(super) caller: C,
    /// What is known already.
    pub(super) accepted: Accepted,
    /// How many gateways were asked to count and have not reported yet.
    pub(super) to_come: u32,
    /// How many gateways could not be asked.
    pub(super) away: u32,
    /// The sums of what gateways have reported.
    pub(super) sum: Tally,
    /// When the caller gets an answer in any case.
    pub(super) until: Instant,
}

impl<C> Default for Counting<C> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<C> Counting<C> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the gateways that were asked to count. Returns the answer if there are none.
    pub(super) fn start(&mut self, number: Number, count: Count<C>) -> Option<Answer<C>> {
        if count.to_come > 0 {
            self.0.insert(number, count);
            return None;
        }
        let has_passed = |Matched { gateways, .. }| count.away == 0 && gateways > 0;
        if count.accepted.matched.is_none_or(has_passed) {
            // Gateways count an event while it passes. An event that was accepted before, under the
            // same id or on a link that broke, has already passed: nobody was asked to count, and
            // what was written is not zero but unknown.
            let Count { caller, accepted, .. } = count;
            return Some(Answer { caller, result: Ok(Receipt::Accepted(accepted)) });
        }
        Some(count.answer())
    }

    /// Adds what a gateway has counted. Returns the answer if this gateway was the last.
    pub(super) fn counted(&mut self, number: Number, tally: Tally) -> Option<Answer<C>> {
        let count = self.0.get_mut(&number)?;
        count.to_come -= 1;
        // The numbers come from a peer, and their sum must not overflow.
        count.sum.matched = count.sum.matched.saturating_add(tally.matched);
        count.sum.written = count.sum.written.saturating_add(tally.written);
        count.sum.too_slow = count.sum.too_slow.saturating_add(tally.too_slow);
        if count.to_come > 0 { None } else { self.0.remove(&number).map(Count::answer) }
    }

    /// Returns the answers whose time is over, with what has come.
    pub(super) fn expire(&mut self, now: Instant) -> impl Iterator<Item = Answer<C>> {
        self.0.extract_if(.., move |_, count| count.until <= now).map(|(_, count)| count.answer())
    }

    /// Ends every count, and returns its answer with the reports that have arrived so far.
    pub(super) fn end(&mut self) -> impl Iterator<Item = Answer<C>> + use<C> {
        std::mem::take(&mut self.0).into_values().map(Count::answer)
    }
}

impl<C> Count<C> {
    fn answer(self) -> Answer<C> {
        let Self { caller, mut accepted, to_come, away, sum, .. } = self;
        // If gateways are silent, what the broker knew of them is better than nothing.
        let known = if to_come > 0 { accepted.matched } else { None };
        let connections = sum.matched.max(known.map_or(0, |known| known.connections));
        accepted.matched = accepted.matched.map(|matched| Matched { connections, ..matched });
        accepted.delivery = Some(Delivery {
            written: sum.written,
            too_slow: sum.too_slow,
            silent_gateways: u64::from(to_come) + u64::from(away),
        });
        Answer { caller, result: Ok(Receipt::Accepted(accepted)) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use campanile_messages::{Durability, Position};

    use super::*;

    fn count(to_come: u32, away: u32, gateways: u32, until: Instant) -> Count<&'static str> {
        let accepted = Accepted {
            position: Position { epoch: 1, sequence: 2 },
            durability: Durability::Disk,
            matched: Some(Matched { gateways, connections: 120 }),
            delivery: None,
        };
        Count { caller: "caller", accepted, to_come, away, sum: Tally::default(), until }
    }

    fn tally(matched: u64, written: u64, too_slow: u64) -> Tally {
        Tally { matched, written, too_slow }
    }

    fn completed(answer: Option<Answer<&'static str>>) -> Option<Accepted> {
        match answer?.result {
            Ok(Receipt::Accepted(accepted)) => Some(accepted),
            other => panic!("{other:?}"),
        }
    }

    /// What `count` becomes when `gateways` of them have reported.
    fn counted(gateways: u32, matched: u64, delivery: [u64; 3]) -> Option<Accepted> {
        let [written, too_slow, silent_gateways] = delivery;
        let delivery = Some(Delivery { written, too_slow, silent_gateways });
        let Count { accepted, .. } = count(0, 0, gateways, Instant::now());
        let matched = Some(Matched { gateways, connections: matched });
        Some(Accepted { matched, delivery, ..accepted })
    }

    #[test]
    fn the_last_gateway_completes_the_receipt_with_the_sums() {
        let mut counting = Counting::default();
        assert_eq!(counting.start(7, count(2, 0, 2, Instant::now())), None);
        assert_eq!(counting.counted(7, tally(20, 17, 3)), None);
        assert_eq!(counting.counted(8, tally(1, 1, 1)), None, "an unknown number");
        assert_eq!(completed(counting.counted(7, tally(5, 4, 0))), counted(2, 25, [21, 3, 0]));
        assert_eq!(counting.counted(7, tally(5, 4, 0)), None, "one report too many");
        assert!(counting.is_empty());
    }

    #[test]
    fn silent_gateways_count_as_far_as_the_broker_knew() {
        let start = Instant::now();
        let until = start + Duration::from_secs(1);
        let mut counting = Counting::default();
        assert_eq!(counting.start(1, count(2, 1, 3, until)), None);
        assert_eq!(counting.start(2, count(1, 0, 1, until + Duration::from_secs(1))), None);
        counting.counted(1, tally(9, 9, 0));
        assert_eq!(counting.expire(until - Duration::from_millis(1)).count(), 0);
        assert_eq!(completed(counting.expire(until).next()), counted(3, 120, [9, 0, 2]));
        assert_eq!(completed(counting.end().next()), counted(1, 120, [0, 0, 1]));
        assert!(counting.is_empty());
    }

    #[test]
    fn without_gateways_to_wait_for_it_is_complete_at_once() {
        let mut counting = Counting::default();
        let now = Instant::now();
        assert_eq!(completed(counting.start(1, count(0, 0, 0, now))), counted(0, 0, [0, 0, 0]));
        assert_eq!(completed(counting.start(2, count(0, 1, 1, now))), counted(1, 0, [0, 0, 1]));
    }

    #[test]
    fn an_event_that_has_already_passed_is_not_counted() {
        let mut counting = Counting::default();
        let Count { accepted: plain, .. } = count(0, 0, 2, Instant::now());
        let started = counting.start(1, count(0, 0, 2, Instant::now()));
        assert_eq!(started.map(|answer| answer.result), Some(Ok(Receipt::Accepted(plain))));
        // Nor is one of which the broker does not even know who listened.
        let unknown = Accepted { matched: None, ..plain };
        let repeat = Count { accepted: unknown, ..count(0, 0, 0, Instant::now()) };
        let started = counting.start(2, repeat);
        assert_eq!(started.map(|answer| answer.result), Some(Ok(Receipt::Accepted(unknown))));
    }

    #[test]
    fn gateways_that_counted_nobody_are_not_unknown() {
        let mut counting = Counting::default();
        assert_eq!(counting.start(1, count(1, 0, 1, Instant::now())), None);
        assert_eq!(completed(counting.counted(1, Tally::default())), counted(1, 0, [0, 0, 0]));
    }

    #[test]
    fn sums_of_what_peers_report_do_not_overflow() {
        let mut counting = Counting::default();
        assert_eq!(counting.start(1, count(2, u32::MAX, 2, Instant::now())), None);
        counting.counted(1, tally(u64::MAX, u64::MAX, u64::MAX));
        let complete = completed(counting.counted(1, tally(1, 1, 1))).expect("complete");
        assert_eq!(complete.matched.map(|matched| matched.connections), Some(u64::MAX));
    }
}
