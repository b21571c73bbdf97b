//! Adds up how many connections of each worker an event reached, for publishers that want a report, and for
//! the spans of events that belong to a trace. Pure: a part of the bridge's core.

use std::collections::HashMap;
use std::time::Duration;

use campanile_messages::TraceContext;
use campanile_messages::link::{RequestTicket, Tally};

/// The link in the tickets of counts that no publisher asked for. No broker numbers a link like this.
const NO_LINK: u64 = u64::MAX;

/// The most events that belong to a trace and are not written by all workers yet. The spans of any more
/// are left out.
const MAX_TRACED: usize = 1_024;

/// The events that some workers have not reported yet. Each worker reports within the time that the
/// publisher gave, so there are few of them at a time.
#[derive(Debug, Default)]
pub struct Counts {
    running: HashMap<RequestTicket, RunningCount>,
    /// The request to count the event that comes next, with the event's sequence.
    asked: Option<(u64, RequestTicket, Duration)>,
    /// The trace of the event that comes next, with the event's sequence.
    traced: Option<(u64, TraceContext)>,
    follows_traces: bool,
    /// How many of the running counts are of events that belong to a trace.
    traced_running: usize,
}

#[derive(Debug)]
struct RunningCount {
    workers: usize,
    tally: Tally,
    is_traced: bool,
}

/// What is to be counted of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    pub ticket: RequestTicket,
    /// How long to wait for connections that read slowly.
    pub within: Duration,
    /// The trace that it belongs to.
    pub trace: Option<Traced>,
}

/// What to do about the trace of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Traced {
    /// It gets a span.
    Followed(TraceContext),
    /// There are too many of them.
    PassedOver,
}

/// The sum for an event that every worker has reported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sum {
    pub tally: Tally,
    /// Whether a publisher waits for it.
    pub is_asked: bool,
    /// Whether it belongs to a span.
    pub is_traced: bool,
}

impl Counts {
    /// Without counts. Traces are only followed if there are spans.
    pub fn new(follows_traces: bool) -> Self {
        Self { follows_traces, ..Self::default() }
    }

    /// Notes that a publisher wants the count of the event that comes next.
    pub fn ask(&mut self, sequence: u64, ticket: RequestTicket, within: Duration) {
        self.asked = Some((sequence, ticket, within));
    }

    /// Notes the trace of the event that comes next.
    pub fn trace(&mut self, sequence: u64, context: TraceContext) {
        if self.follows_traces {
            self.traced = Some((sequence, context));
        }
    }

    /// Returns what is to be counted of the event that has come.
    pub fn wanted(&mut self, sequence: u64) -> Option<Wanted> {
        let asked = self.asked.take_if(|(counted, ..)| *counted == sequence);
        let traced = self.traced.take_if(|(traced, _)| *traced == sequence);
        let trace = traced.map(|(_, context)| match self.traced_running < MAX_TRACED {
            true => Traced::Followed(context),
            false => Traced::PassedOver,
        });
        let own = || (RequestTicket { link: NO_LINK, number: sequence }, Duration::ZERO);
        let (ticket, within) = match asked {
            Some((_, ticket, within)) => (ticket, within),
            None => trace.map(|_| own())?,
        };
        Some(Wanted { ticket, within, trace })
    }

    /// Begins the count of an event that was handed to `workers` workers. Returns the sum if there are none.
    pub fn begin(&mut self, wanted: &Wanted, workers: usize) -> Option<Sum> {
        let is_traced = matches!(wanted.trace, Some(Traced::Followed(_)));
        let count = RunningCount { workers, tally: Tally::default(), is_traced };
        if workers == 0 {
            return Some(count.sum(wanted.ticket));
        }
        self.traced_running += usize::from(is_traced);
        self.running.insert(wanted.ticket, count);
        None
    }

    /// Adds the report of one worker, and returns the sum if it was the last one.
    pub fn add(&mut self, ticket: RequestTicket, tally: Tally) -> Option<Sum> {
        let count = self.running.get_mut(&ticket)?;
        count.tally.matched += tally.matched;
        count.tally.written += tally.written;
        count.tally.too_slow += tally.too_slow;
        count.workers -= 1;
        if count.workers > 0 {
            return None;
        }
        let count = self.running.remove(&ticket)?;
        self.traced_running -= usize::from(count.is_traced);
        Some(count.sum(ticket))
    }

    /// Forgets every count, because nobody waits for them any more.
    pub fn clear(&mut self) {
        *self = Self::new(self.follows_traces);
    }
}

impl RunningCount {
    fn sum(&self, ticket: RequestTicket) -> Sum {
        let Self { tally, is_traced, .. } = *self;
        Sum { tally, is_asked: ticket.link != NO_LINK, is_traced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(matched: u64, written: u64, too_slow: u64) -> Tally {
        Tally { matched, written, too_slow }
    }

    fn context() -> TraceContext {
        let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        TraceContext::parse(header).expect("a context")
    }

    #[test]
    fn the_last_worker_completes_the_sum() {
        let ticket = RequestTicket { link: 1, number: 2 };
        let mut counts = Counts::default();
        counts.ask(9, ticket, Duration::from_secs(1));
        let wanted = counts.wanted(9).expect("asked");
        assert_eq!(counts.begin(&wanted, 2), None);
        assert_eq!(counts.add(ticket, tally(5, 3, 1)), None);
        let sum = Sum { tally: tally(7, 5, 1), is_asked: true, is_traced: false };
        assert_eq!(counts.add(ticket, tally(2, 2, 0)), Some(sum));
        assert_eq!(counts.add(ticket, tally(1, 1, 1)), None, "nobody asked");
    }

    #[test]
    fn an_event_without_a_request_or_a_trace_is_not_counted() {
        let mut counts = Counts::new(true);
        assert_eq!(counts.wanted(8), None);
        counts.trace(9, context());
        counts.ask(9, RequestTicket { link: 1, number: 2 }, Duration::ZERO);
        assert_eq!(counts.wanted(8), None, "they are about another one");
        let mut without_spans = Counts::new(false);
        without_spans.trace(9, context());
        assert_eq!(without_spans.wanted(9), None);
    }

    #[test]
    fn the_span_of_a_counted_event_gets_the_same_sum() {
        let ticket = RequestTicket { link: 1, number: 2 };
        let mut counts = Counts::new(true);
        counts.ask(9, ticket, Duration::from_secs(1));
        counts.trace(9, context());
        let wanted = counts.wanted(9).expect("wanted");
        let trace = Some(Traced::Followed(context()));
        assert_eq!(wanted, Wanted { ticket, within: Duration::from_secs(1), trace });
        counts.begin(&wanted, 1);
        let sum = Sum { tally: tally(1, 1, 0), is_asked: true, is_traced: true };
        assert_eq!(counts.add(ticket, tally(1, 1, 0)), Some(sum));
    }

    #[test]
    fn spans_that_wait_for_workers_are_bounded() {
        let mut counts = Counts::new(true);
        let next = |counts: &mut Counts, sequence: u64| {
            counts.trace(sequence, context());
            let wanted = counts.wanted(sequence).expect("traced");
            counts.begin(&wanted, 1);
            wanted
        };
        let first = next(&mut counts, 1);
        for sequence in 2..=MAX_TRACED as u64 {
            assert_eq!(next(&mut counts, sequence).trace, Some(Traced::Followed(context())));
        }
        assert_eq!(next(&mut counts, 5_000).trace, Some(Traced::PassedOver));
        let sum = counts.add(first.ticket, tally(1, 1, 0));
        assert_eq!(sum, Some(Sum { tally: tally(1, 1, 0), is_asked: false, is_traced: true }));
        assert_eq!(next(&mut counts, 5_001).trace, Some(Traced::Followed(context())));
        assert_eq!(next(&mut counts, 5_002).trace, Some(Traced::PassedOver));
        counts.clear();
        assert_eq!(next(&mut counts, 5_003).trace, Some(Traced::Followed(context())));
    }
}
