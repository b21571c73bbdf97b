//! The receipts of accepted pushes whose callers want to know what the gateways wrote. Pure; `C`
//! stands for a caller. Bounded by the callers: one push each.

use std::collections::BTreeMap;
use std::time::Instant;

use campanile_messages::link::{Number, Tally};

use crate::push::receipt::{Accepted, Answer, Delivery, Receipt};

/// The receipts that are not complete yet.
#[derive(Debug)]
pub struct Counting<C>(BTreeMap<Number, Count<C>>);

/// One of them.
#[derive(Debug)]
pub struct Count<C> {
    /// Who waits for it.
    pub caller: C,
    /// What is known already.
    pub accepted: Accepted,
    /// How many gateways were told to count and have not said what they counted.
    pub to_come: u32,
    /// How many gateways could not be told.
    pub away: u32,
    /// The sums of what gateways have said.
    pub sum: Tally,
    /// When the caller is answered in any case.
    pub until: Instant,
}

impl<C> Default for Counting<C> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<C> Counting<C> {
    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the gateways that were told to count; answers at once where there are none.
    pub fn start(&mut self, number: Number, count: Count<C>) -> Option<Answer<C>> {
        if count.to_come > 0 {
            self.0.insert(number, count);
            return None;
        }
        if count.away == 0 && count.accepted.gateways > 0 {
            // Gateways count an event as it passes. One that was accepted before, under the same id
            // or on a link that broke, has passed: nobody was told to count, and what was written is
            // not zero but unknown.
            let Count { caller, accepted, .. } = count;
            return Some(Answer { caller, result: Ok(Receipt::Accepted(accepted)) });
        }
        Some(count.answer())
    }

    /// A gateway has counted. Answers if it was the last.
    pub fn counted(&mut self, number: Number, tally: Tally) -> Option<Answer<C>> {
        let count = self.0.get_mut(&number)?;
        count.to_come -= 1;
        // What a peer says must not overflow.
        count.sum.matched = count.sum.matched.saturating_add(tally.matched);
        count.sum.written = count.sum.written.saturating_add(tally.written);
        count.sum.too_slow = count.sum.too_slow.saturating_add(tally.too_slow);
        if count.to_come > 0 { None } else { self.0.remove(&number).map(Count::answer) }
    }

    /// Answers with what is there where the time is over.
    pub fn expire(&mut self, now: Instant) -> impl Iterator<Item = Answer<C>> {
        self.0.extract_if(.., move |_, count| count.until <= now).map(|(_, count)| count.answer())
    }

    /// Answers with what is there: no more will come.
    pub fn end(&mut self) -> impl Iterator<Item = Answer<C>> + use<C> {
        std::mem::take(&mut self.0).into_values().map(Count::answer)
    }
}

impl<C> Count<C> {
    fn answer(self) -> Answer<C> {
        let Self { caller, mut accepted, to_come, away, sum, .. } = self;
        // What the broker knew of those that are silent is better than nothing.
        let known = if to_come > 0 { accepted.matched } else { 0 };
        accepted.matched = sum.matched.max(known);
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
            gateways,
            matched: 120,
            delivery: None,
        };
        Count { caller: "caller", accepted, to_come, away, sum: Tally::default(), until }
    }

    fn tally(matched: u64, written: u64, too_slow: u64) -> Tally {
        Tally { matched, written, too_slow }
    }

    fn said(answer: Option<Answer<&'static str>>) -> Option<Accepted> {
        match answer?.result {
            Ok(Receipt::Accepted(accepted)) => Some(accepted),
            other => panic!("{other:?}"),
        }
    }

    /// What `count` becomes, as `gateways` of them say so.
    fn counted(gateways: u32, matched: u64, delivery: [u64; 3]) -> Option<Accepted> {
        let [written, too_slow, silent_gateways] = delivery;
        let delivery = Some(Delivery { written, too_slow, silent_gateways });
        let Count { accepted, .. } = count(0, 0, gateways, Instant::now());
        Some(Accepted { matched, delivery, ..accepted })
    }

    #[test]
    fn the_receipt_is_complete_with_the_last_gateway_and_has_the_sums() {
        let mut counting = Counting::default();
        assert_eq!(counting.start(7, count(2, 0, 2, Instant::now())), None);
        assert_eq!(counting.counted(7, tally(20, 17, 3)), None);
        assert_eq!(counting.counted(8, tally(1, 1, 1)), None, "nobody asked");
        assert_eq!(said(counting.counted(7, tally(5, 4, 0))), counted(2, 25, [21, 3, 0]));
        assert_eq!(counting.counted(7, tally(5, 4, 0)), None, "one too many");
        assert!(counting.is_empty());
    }

    #[test]
    fn of_gateways_that_do_not_say_only_what_the_broker_knew_counts() {
        let start = Instant::now();
        let until = start + Duration::from_secs(1);
        let mut counting = Counting::default();
        assert_eq!(counting.start(1, count(2, 1, 3, until)), None);
        assert_eq!(counting.start(2, count(1, 0, 1, until + Duration::from_secs(1))), None);
        counting.counted(1, tally(9, 9, 0));
        assert_eq!(counting.expire(until - Duration::from_millis(1)).count(), 0);
        assert_eq!(said(counting.expire(until).next()), counted(3, 120, [9, 0, 2]));
        assert_eq!(said(counting.end().next()), counted(1, 120, [0, 0, 1]));
        assert!(counting.is_empty());
    }

    #[test]
    fn without_a_gateway_to_wait_for_the_receipt_is_complete_at_once() {
        let mut counting = Counting::default();
        let now = Instant::now();
        assert_eq!(said(counting.start(1, count(0, 0, 0, now))), counted(0, 0, [0, 0, 0]));
        assert_eq!(said(counting.start(2, count(0, 1, 1, now))), counted(1, 0, [0, 0, 1]));
    }

    #[test]
    fn of_an_event_that_has_passed_already_nothing_is_claimed_to_be_counted() {
        let mut counting = Counting::default();
        let Count { accepted: plain, .. } = count(0, 0, 2, Instant::now());
        let started = counting.start(1, count(0, 0, 2, Instant::now()));
        assert_eq!(started.map(|answer| answer.result), Some(Ok(Receipt::Accepted(plain))));
    }

    #[test]
    fn gateways_that_counted_nobody_are_not_taken_for_unknown() {
        let mut counting = Counting::default();
        assert_eq!(counting.start(1, count(1, 0, 1, Instant::now())), None);
        assert_eq!(said(counting.counted(1, Tally::default())), counted(1, 0, [0, 0, 0]));
    }

    #[test]
    fn what_a_peer_says_does_not_overflow() {
        let mut counting = Counting::default();
        assert_eq!(counting.start(1, count(2, u32::MAX, 2, Instant::now())), None);
        counting.counted(1, tally(u64::MAX, u64::MAX, u64::MAX));
        let complete = said(counting.counted(1, tally(1, 1, 1))).expect("complete");
        assert_eq!(complete.matched, u64::MAX);
    }
}
