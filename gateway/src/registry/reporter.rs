//! What to report to the bridge about a worker's connections, and when. Pure: a part of the registry's
//! core.
//!
//! One report is under way at a time. Changes in the meantime are summed up for the next one, so that
//! sessions cannot fill the bridge's mailbox.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use campanile_messages::Audience;

use crate::registry::subscriptions::Changed;
use crate::report::{Report, Resume, StepTicket};

/// The shortest time between two reports. Each report wakes the bridge, the broker, the bridge again and
/// this worker, which in a storm is expensive for each client, and cheap for all clients of 5 ms.
const REPORT_PACE: Duration = Duration::from_millis(5);

/// Collects the next report. Bounded by the connections and their groups: a resume is in at most one of
/// `resumes` and `gone`.
#[derive(Debug, Default)]
pub struct Reporter {
    last_ticket: StepTicket,
    changes: HashMap<Audience, i32>,
    resumes: BTreeMap<StepTicket, Resume>,
    gone: Vec<StepTicket>,
    /// Whether a report is about to be taken, or the bridge has not received the last one.
    is_under_way: bool,
    /// The ticket of the last report.
    reported_ticket: StepTicket,
    reported_at: Option<Instant>,
}

impl Reporter {
    /// Returns the ticket for the next step.
    pub fn next_ticket(&self) -> StepTicket {
        self.last_ticket + 1
    }

    /// How many audiences have changed since the last report.
    pub fn changed_audiences(&self) -> usize {
        self.changes.len()
    }

    /// Adds the changes of a step that was taken with the [next ticket](Self::next_ticket).
    pub fn add_step(&mut self, changed: Changed) {
        self.last_ticket += 1;
        self.add(changed);
    }

    /// Adds the changes of a connection that has left a group, or is gone.
    pub fn add(&mut self, Changed { changes, resume, gone }: Changed) {
        for (audience, by) in changes {
            *self.changes.entry(audience).or_default() += by;
        }
        self.resumes.extend(resume.map(|resume| (resume.ticket, resume)));
        let reported = gone.into_iter().filter(|ticket| self.resumes.remove(ticket).is_none());
        self.gone.extend(reported);
    }

    /// Begins a report, if there is something to report and no other report is under way. Returns how
    /// long to wait before it is [taken](Self::take).
    pub fn begin(&mut self, now: Instant) -> Option<Duration> {
        let has_news = self.reported_ticket != self.last_ticket
            || !self.changes.is_empty()
            || !self.gone.is_empty();
        if self.is_under_way || !has_news {
            return None;
        }
        self.is_under_way = true;
        let rest = |at| REPORT_PACE.saturating_sub(now.saturating_duration_since(at));
        Some(self.reported_at.map_or(Duration::ZERO, rest))
    }

    /// Returns the report of everything up to now.
    pub fn take(&mut self, now: Instant) -> Report {
        self.reported_at = Some(now);
        self.reported_ticket = self.last_ticket;
        Report {
            ticket: self.last_ticket,
            changes: self.changes.drain().filter(|(_, by)| *by != 0).collect(),
            resumes: std::mem::take(&mut self.resumes).into_values().collect(),
            gone: std::mem::take(&mut self.gone),
        }
    }

    /// Records that the bridge has received the report.
    pub fn received(&mut self) {
        self.is_under_way = false;
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::{GroupName, Position};

    use super::*;
    use crate::resume::ReplayStart;

    fn group(name: &'static str) -> Audience {
        Audience::Group(GroupName::new(name).expect("a name"))
    }

    fn resume(ticket: StepTicket) -> Resume {
        let start = ReplayStart::After(Position { epoch: 1, sequence: 2 });
        Resume { ticket, start, audiences: vec![group("a")] }
    }

    fn connects(ticket: StepTicket) -> Changed {
        let changes = vec![(group("a"), 1)];
        Changed { changes, resume: Some(resume(ticket)), gone: vec![] }
    }

    fn disconnects(ticket: StepTicket) -> Changed {
        Changed { changes: vec![(group("a"), -1)], resume: None, gone: vec![ticket] }
    }

    #[test]
    fn changes_during_a_report_are_summed_up_for_the_next() {
        let (mut reporter, now) = (Reporter::default(), Instant::now());
        assert_eq!(reporter.begin(now), None, "there is nothing to report");
        reporter.add_step(connects(1));
        assert_eq!(reporter.begin(now), Some(Duration::ZERO));
        assert_eq!(reporter.begin(now), None, "it is under way");
        let first = Report {
            ticket: 1,
            changes: vec![(group("a"), 1)],
            resumes: vec![resume(1)],
            gone: vec![],
        };
        assert_eq!(reporter.take(now), first);
        reporter.add_step(connects(2));
        reporter.add_step(connects(3));
        assert_eq!(reporter.begin(now), None);
        reporter.received();
        assert_eq!(reporter.begin(now), Some(REPORT_PACE));
        let second = reporter.take(now);
        assert_eq!((second.ticket, second.changes), (3, vec![(group("a"), 2)]));
        assert_eq!(second.resumes, [resume(2), resume(3)]);
    }

    #[test]
    fn a_client_that_leaves_takes_its_resume_along() {
        let (mut reporter, now) = (Reporter::default(), Instant::now());
        reporter.add_step(connects(1));
        reporter.add_step(connects(2));
        reporter.add(disconnects(2));
        reporter.begin(now);
        let report = reporter.take(now);
        assert_eq!((report.ticket, report.resumes, report.gone), (2, vec![resume(1)], vec![]));
        reporter.add(disconnects(1));
        reporter.received();
        assert!(reporter.begin(now).is_some());
        assert_eq!(reporter.take(now).gone, [1], "it was in the last report");
    }

    #[test]
    fn a_step_without_changes_is_reported_to_be_confirmed() {
        let (mut reporter, now) = (Reporter::default(), Instant::now());
        reporter.add_step(connects(1));
        reporter.add(disconnects(1));
        assert!(reporter.begin(now).is_some());
        assert_eq!(reporter.take(now), Report { ticket: 1, ..Report::default() });
    }
}
