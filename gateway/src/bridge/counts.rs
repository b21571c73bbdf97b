//! Adds up how many connections of each worker an event reached, for publishers that want a report.
//! Pure: a part of the bridge's core.

use std::collections::HashMap;

use campanile_messages::link::{RequestTicket, Tally};

/// The events that some workers have not reported yet. Each worker reports within the time that the
/// publisher gave, so there are few of them at a time.
#[derive(Debug, Default)]
pub struct Counts(HashMap<RequestTicket, RunningCount>);

#[derive(Debug)]
struct RunningCount {
    workers: usize,
    tally: Tally,
}

impl Counts {
    /// Begins the count of an event that was handed to `workers` workers, at least one.
    pub fn begin(&mut self, ticket: RequestTicket, workers: usize) {
        self.0.insert(ticket, RunningCount { workers, tally: Tally::default() });
    }

    /// Adds the report of one worker, and returns the sum if it was the last one.
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

    /// Forgets every count, because nobody waits for them any more.
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
