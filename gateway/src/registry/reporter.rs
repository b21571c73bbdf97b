//! What the bridge is to be told of a worker's connections, and when. Pure: a part of the registry's
//! core.
//!
//! One report is under way at a time. What changes meanwhile is summed up, so that sessions cannot
//! fill the bridge's mailbox.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use campanile_messages::Audience;

use crate::registry::subscriptions::Changed;
use crate::report::{Report, Resume, StepTicket};

/// Changes are reported this often at most: each report wakes the bridge, the broker, the bridge and
/// this worker again, which is expensive for one client of a storm, and cheap for all of 5 ms.
const REPORT_PACE: Duration = Duration::from_millis(5);

/// Bounded by the connections and their groups: a resume is in at most one of `resumes` and `gone`.
#[derive(Debug, Default)]
pub struct Reporter {
    last_ticket: StepTicket,
    changes: HashMap<Audience, i32>,
    resumes: BTreeMap<StepTicket, Resume>,
    gone: Vec<StepTicket>,
    /// A report is to be taken, or the bridge has not received the last one.
    is_under_way: bool,
    /// Of the last report.
    reported_ticket: StepTicket,
    reported_at: Option<Instant>,
}

impl Reporter {
    /// The ticket of the step that comes next.
    pub fn next_ticket(&self) -> StepTicket {
        self.last_ticket + 1
    }

    /// How many audiences have changed since the last report.
    pub fn changed_audiences(&self) -> usize {
        self.changes.len()
    }

    /// A connection has taken a step, with the [next ticket](Self::next_ticket).
    pub fn add_step(&mut self, changed: Changed) {
        self.last_ticket += 1;
        self.add(changed);
    }

    /// A connection has left something, or is gone.
    pub fn add(&mut self, Changed { changes, resume, gone }: Changed) {
        for (audience, by) in changes {
            *self.changes.entry(audience).or_default() += by;
        }
        self.resumes.extend(resume.map(|resume| (resume.ticket, resume)));
        let reported = gone.into_iter().filter(|ticket| self.resumes.remove(ticket).is_none());
        self.gone.extend(reported);
    }

    /// How long to wait before the next report is [taken](Self::take), if there is something to
    /// report and no report is under way. It is under way from here on.
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

    /// The report of everything up to now.
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

    /// The bridge has received the report.
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

    fn comes(ticket: StepTicket) -> Changed {
        let changes = vec![(group("a"), 1)];
        Changed { changes, resume: Some(resume(ticket)), gone: vec![] }
    }

    fn goes(ticket: StepTicket) -> Changed {
        Changed { changes: vec![(group("a"), -1)], resume: None, gone: vec![ticket] }
    }

    #[test]
    fn what_changes_while_a_report_is_under_way_is_summed_up() {
        let (mut reporter, now) = (Reporter::default(), Instant::now());
        assert_eq!(reporter.begin(now), None, "there is nothing to report");
        reporter.add_step(comes(1));
        assert_eq!(reporter.begin(now), Some(Duration::ZERO));
        assert_eq!(reporter.begin(now), None, "it is under way");
        let first = Report {
            ticket: 1,
            changes: vec![(group("a"), 1)],
            resumes: vec![resume(1)],
            gone: vec![],
        };
        assert_eq!(reporter.take(now), first);
        reporter.add_step(comes(2));
        reporter.add_step(comes(3));
        assert_eq!(reporter.begin(now), None);
        reporter.received();
        assert_eq!(reporter.begin(now), Some(REPORT_PACE));
        let second = reporter.take(now);
        assert_eq!((second.ticket, second.changes), (3, vec![(group("a"), 2)]));
        assert_eq!(second.resumes, [resume(2), resume(3)]);
    }

    #[test]
    fn a_client_that_goes_takes_its_resume_along() {
        let (mut reporter, now) = (Reporter::default(), Instant::now());
        reporter.add_step(comes(1));
        reporter.add_step(comes(2));
        reporter.add(goes(2));
        reporter.begin(now);
        let report = reporter.take(now);
        assert_eq!((report.ticket, report.resumes, report.gone), (2, vec![resume(1)], vec![]));
        reporter.add(goes(1));
        reporter.received();
        assert!(reporter.begin(now).is_some());
        assert_eq!(reporter.take(now).gone, [1], "the bridge was told of it");
    }

    #[test]
    fn a_step_that_changes_nothing_in_the_end_is_reported_for_its_confirmation() {
        let (mut reporter, now) = (Reporter::default(), Instant::now());
        reporter.add_step(comes(1));
        reporter.add(goes(1));
        assert!(reporter.begin(now).is_some());
        assert_eq!(reporter.take(now), Report { ticket: 1, ..Report::default() });
    }
}
