//! How counted events fare, summed over the workers of a gateway. Pure: a part of the bridge's core.

use std::collections::HashMap;

use campanile_messages::link::{RequestTicket, Tally};

/// Events of which some workers have not told yet how they fared. Each worker tells within the time
/// that the publisher gave, so few are under way at a time.
#[derive(Debug, Default)]
pub struct Counts(HashMap<RequestTicket, Count>);

#[derive(Debug)]
struct Count {
    workers: usize,
    tally: Tally,
}

impl Counts {
    /// An event was handed to so many workers, at least one.
    pub fn begin(&mut self, ticket: RequestTicket, workers: usize) {
        self.0.insert(ticket, Count { workers, tally: Tally::default() });
    }

    /// One of them tells how it fared; the sum, if it is the last.
    pub fn add(&mut self, ticket: RequestTicket, tally: Tally) -> Option<Tally> {
        let count = self.0.get_mut(&ticket)?;
        count.tally.matched += tally.matched;
        count.tally.written += tally.written;
        count.tally.too_slow += tally.too_slow;
        count.workers -= 1;
        if count.workers > 0 {
            return None;
        }
        self.0.remove(&ticket).map(|count| count.tally)
    }

    /// Nobody waits for them any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_worker_completes_the_sum() {
        let ticket = RequestTicket { link: 1, number: 2 };
        let tally = |matched, written, too_slow| Tally { matched, written, too_slow };
        let mut counts = Counts::default();
        counts.begin(ticket, 2);
        assert_eq!(counts.add(ticket, tally(5, 3, 1)), None);
        assert_eq!(counts.add(ticket, tally(2, 2, 0)), Some(tally(7, 5, 1)));
        assert_eq!(counts.add(ticket, tally(1, 1, 1)), None, "nobody asked");
    }
}
