//! What the connections of a gateway listen to, summed over its workers, and which part of it was
//! reported to the broker and confirmed. Pure: a part of the bridge's core.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use campanile_messages::Audience;
use campanile_messages::link::{InterestChange, MAX_CHANGES};

use crate::report::{Change, StepTicket};

/// From this many audiences on, interest does not linger, and connections that add more are refused. The
/// broker ends a link with more than 1,000,000; the difference is room for reports on their way.
pub const MAX_AUDIENCES: usize = 900_000;

/// The revision and the changes of one frame.
pub type InterestReport = (u64, Vec<InterestChange>);

/// Counts listeners per audience and worker.
#[derive(Debug)]
pub struct Interest {
    workers: usize,
    /// How long interest without a listener is kept.
    linger: Duration,
    audiences: HashMap<Audience, Listeners>,
    /// The audiences that have changed since the last report.
    changed: HashSet<Audience>,
    /// The audiences that became empty, and when; each is listed at most once.
    empty: VecDeque<(Instant, Audience)>,
    /// The highest ticket of each worker whose changes are included.
    tickets: Vec<StepTicket>,
    /// `tickets` at the time of the last report.
    reported: Vec<StepTicket>,
    revision: u64,
    /// The audiences withdrawn since [`take_withdrawn`](Self::take_withdrawn) was last called.
    withdrawn: Vec<Audience>,
    /// The audiences that were withdrawn earlier, but are not in a report yet.
    to_withdraw: Vec<Audience>,
    /// The audiences whose withdrawal is in a report that the broker has not confirmed.
    withdrawing: Vec<Audience>,
    /// The report that the broker has not confirmed yet, and the tickets that it covers. There is at
    /// most one, so that what waits for a slow broker is bounded by the number of audiences.
    unconfirmed: Option<(u64, Vec<StepTicket>)>,
}

/// What the broker has confirmed together with the last report.
#[derive(Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The highest confirmed ticket of each worker.
    pub tickets: Vec<StepTicket>,
    /// The audiences whose withdrawal it confirms. Some of their events may still have arrived until now.
    pub withdrawn: Vec<Audience>,
}

#[derive(Debug)]
struct Listeners {
    by_worker: Box<[u32]>,
    empty_since: Option<Instant>,
    /// Whether it is listed in `Interest::empty`.
    is_watched: bool,
}

impl Listeners {
    fn total(&self) -> u32 {
        self.by_worker.iter().sum()
    }
}

impl Interest {
    /// Starts without listeners.
    pub fn new(workers: usize, linger: Duration) -> Self {
        Self {
            workers,
            linger,
            audiences: HashMap::new(),
            changed: HashSet::new(),
            empty: VecDeque::new(),
            tickets: vec![0; workers],
            reported: vec![0; workers],
            revision: 0,
            withdrawn: Vec::new(),
            to_withdraw: Vec::new(),
            withdrawing: Vec::new(),
            unconfirmed: None,
        }
    }

    /// Adds a worker's changes, which include all of its steps up to the ticket.
    pub fn change(
        &mut self,
        worker: usize,
        ticket: StepTicket,
        changes: Vec<Change>,
        now: Instant,
    ) {
        self.tickets[worker] = ticket;
        for (audience, by) in changes {
            let workers = self.workers;
            let listeners = self.audiences.entry(audience.clone()).or_insert_with(|| Listeners {
                by_worker: vec![0; workers].into(),
                empty_since: None,
                is_watched: false,
            });
            let count = &mut listeners.by_worker[worker];
            *count = count.checked_add_signed(by).expect("a worker removes what it has added");
            listeners.empty_since = (listeners.total() == 0).then_some(now);
            if listeners.empty_since.is_some() && !listeners.is_watched {
                listeners.is_watched = true;
                self.empty.push_back((now, audience.clone()));
            }
            self.changed.insert(audience);
        }
        if self.count() >= MAX_AUDIENCES {
            self.expire(now);
        }
    }

    /// How many audiences there are, including those whose interest lingers.
    pub fn count(&self) -> usize {
        self.audiences.len()
    }

    /// Withdraws interest in audiences that have had no listener for long enough.
    pub fn expire(&mut self, now: Instant) {
        let linger = if self.count() < MAX_AUDIENCES { self.linger } else { Duration::ZERO };
        let is_due = |since: Instant| now.duration_since(since) >= linger;
        while let Some((_, audience)) = self.empty.pop_front_if(|(since, _)| is_due(*since)) {
            let listeners = self.audiences.get_mut(&audience).expect("watched until withdrawn");
            match listeners.empty_since {
                None => listeners.is_watched = false,
                Some(since) if is_due(since) => {
                    self.audiences.remove(&audience);
                    self.withdrawn.push(audience.clone());
                    self.changed.insert(audience);
                }
                // It had a listener in the meantime, and is empty again.
                Some(since) => self.empty.push_back((since, audience)),
            }
        }
    }

    /// Returns the audiences that were withdrawn since the last call. Some of their events may be missing
    /// from now on, and others may still arrive until the broker has confirmed the withdrawal. So what a
    /// gateway has of them is not complete.
    pub fn take_withdrawn(&mut self) -> Vec<Audience> {
        self.to_withdraw.extend_from_slice(&self.withdrawn);
        std::mem::take(&mut self.withdrawn)
    }

    /// Whether an audience has listeners, or its interest lingers.
    pub fn has(&self, audience: &Audience) -> bool {
        self.audiences.contains_key(audience)
    }

    /// Returns what to report to the broker: the changes since the last report, or nothing while that is
    /// not confirmed. A ticket without changes is reported too, so that it gets confirmed.
    pub fn report(&mut self) -> Vec<InterestReport> {
        if self.unconfirmed.is_some() || (self.changed.is_empty() && self.reported == self.tickets)
        {
            return Vec::new();
        }
        self.withdrawing.append(&mut self.to_withdraw);
        let changed = self.changed.drain().collect();
        self.reports(changed)
    }

    /// Returns a report of everything, for a new link. Confirmations of earlier reports are ignored from
    /// then on.
    pub fn report_all(&mut self) -> Vec<InterestReport> {
        self.forget_changes();
        let all = self.audiences.keys().cloned().collect();
        self.reports(all)
    }

    /// Forgets what has changed since the last report, because the next one will include everything.
    pub fn forget_changes(&mut self) {
        self.changed.clear();
        self.to_withdraw.clear();
    }

    /// How many changes are not reported yet.
    #[cfg(test)]
    pub fn unreported(&self) -> usize {
        self.changed.len() + self.to_withdraw.len()
    }

    fn reports(&mut self, audiences: Vec<Audience>) -> Vec<InterestReport> {
        let mut reports = Vec::new();
        let mut audiences = audiences.into_iter().peekable();
        loop {
            let changes = audiences.by_ref().take(MAX_CHANGES).map(|audience| {
                let listeners = self.audiences.get(&audience);
                InterestChange { connections: listeners.map(Listeners::total), audience }
            });
            self.revision += 1;
            reports.push((self.revision, changes.collect()));
            if audiences.peek().is_none() {
                break;
            }
        }
        self.reported.clone_from(&self.tickets);
        self.unconfirmed = Some((self.revision, self.tickets.clone()));
        reports
    }

    /// Records that the broker has confirmed a revision. Returns what that confirms, if it is the last one
    /// that was reported.
    pub fn confirm(&mut self, revision: u64) -> Option<Confirmation> {
        let (_, tickets) = self.unconfirmed.take_if(|(reported, _)| *reported <= revision)?;
        Some(Confirmation { tickets, withdrawn: std::mem::take(&mut self.withdrawing) })
    }

    /// Records that the link is lost. Returns the audiences whose withdrawal it did not confirm.
    pub fn link_lost(&mut self) -> Vec<Audience> {
        std::mem::take(&mut self.withdrawing)
    }

    /// The indexes of the workers that have listeners.
    pub fn workers(&self, audience: &Audience) -> impl Iterator<Item = usize> {
        let counts = self.audiences.get(audience).map(|listeners| &listeners.by_worker);
        counts
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(worker, _)| worker)
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::GroupName;

    use super::*;

    fn group(name: impl Into<String>) -> Audience {
        Audience::Group(GroupName::new(name.into()).expect("a name"))
    }

    fn change(audience: Audience, connections: impl Into<Option<u32>>) -> InterestChange {
        InterestChange { audience, connections: connections.into() }
    }

    fn confirmed(tickets: &[StepTicket]) -> Option<Confirmation> {
        Some(Confirmation { tickets: tickets.to_vec(), withdrawn: vec![] })
    }

    const LINGER: Duration = Duration::from_secs(5);

    #[test]
    fn counts_are_summed_over_the_workers_and_reported_once() {
        let now = Instant::now();
        let mut interest = Interest::new(2, LINGER);
        interest.change(0, 1, vec![(Audience::Everyone, 1)], now);
        interest.change(1, 1, vec![(Audience::Everyone, 1)], now);
        assert_eq!(interest.report(), [(1, vec![change(Audience::Everyone, 2)])]);
        assert_eq!(interest.report(), []);
        interest.change(1, 2, vec![(Audience::Everyone, -1)], now);
        assert_eq!(interest.workers(&Audience::Everyone).collect::<Vec<_>>(), [0]);
        assert_eq!(interest.report(), [], "the first report is not confirmed yet");
        assert_eq!(interest.confirm(1), confirmed(&[1, 1]));
        assert_eq!(interest.report(), [(2, vec![change(Audience::Everyone, 1)])]);
        assert_eq!(interest.confirm(2), confirmed(&[1, 2]));
        assert_eq!(interest.report(), []);
    }

    #[test]
    fn interest_is_withdrawn_once_it_was_empty_long_enough() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut interest = Interest::new(1, LINGER);
        interest.change(0, 1, vec![(group("a"), 1)], start);
        interest.change(0, 2, vec![(group("a"), -1)], start);
        assert_eq!(interest.report(), [(1, vec![change(group("a"), 0)])]);
        interest.confirm(1);
        interest.change(0, 3, vec![(group("a"), 1)], start + 4 * second);
        interest.change(0, 4, vec![(group("a"), -1)], start + 4 * second);
        assert_eq!(interest.report(), [(2, vec![change(group("a"), 0)])]);
        interest.confirm(2);
        interest.expire(start + 5 * second);
        assert_eq!(interest.report(), []);
        interest.expire(start + 9 * second);
        assert_eq!(interest.report(), [(3, vec![change(group("a"), None)])]);
    }

    #[test]
    fn a_withdrawal_is_returned_with_its_confirmation() {
        let now = Instant::now();
        let mut interest = Interest::new(1, Duration::ZERO);
        let withdraw = |interest: &mut Interest, ticket| {
            interest.change(0, ticket, vec![(group("a"), 1)], now);
            interest.change(0, ticket + 1, vec![(group("a"), -1)], now);
            interest.expire(now);
            assert_eq!(interest.take_withdrawn(), [group("a")]);
            assert_eq!(interest.take_withdrawn(), []);
        };
        interest.change(0, 1, vec![(Audience::Everyone, 1)], now);
        interest.report();
        withdraw(&mut interest, 2);
        assert_eq!(interest.confirm(1), confirmed(&[1]), "the withdrawal is not reported yet");
        interest.report();
        let withdrawn = vec![group("a")];
        assert_eq!(interest.confirm(2), Some(Confirmation { tickets: vec![3], withdrawn }));
        withdraw(&mut interest, 4);
        interest.report();
        assert_eq!(interest.link_lost(), [group("a")]);
        withdraw(&mut interest, 6);
        interest.report_all();
        assert_eq!(interest.confirm(4), confirmed(&[7]), "the new link never had that interest");
    }

    #[test]
    fn groups_that_come_and_go_quickly_do_not_pile_up() {
        let now = Instant::now();
        let mut interest = Interest::new(1, LINGER);
        for i in 0..MAX_AUDIENCES + 10 {
            interest.change(0, 1, vec![(group(format!("g{i}")), 1)], now);
            interest.change(0, 1, vec![(group(format!("g{i}")), -1)], now);
        }
        assert!(interest.count() < MAX_AUDIENCES);
    }

    #[test]
    fn a_new_link_gets_all_interest_and_confirms_all_tickets() {
        let now = Instant::now();
        let mut interest = Interest::new(1, LINGER);
        interest.change(0, 1, vec![(Audience::Everyone, 1)], now);
        interest.report();
        interest.change(0, 2, vec![(group("a"), 1)], now);
        let reports = interest.report_all();
        assert_eq!(reports.len(), 1);
        let (revision, mut changes) = reports.into_iter().next().expect("one");
        changes.sort_by(|a, b| a.audience.cmp(&b.audience));
        assert_eq!(changes, [change(Audience::Everyone, 1), change(group("a"), 1)]);
        assert_eq!(interest.confirm(1), None);
        assert_eq!(interest.confirm(revision), confirmed(&[2]));
    }

    #[test]
    fn the_last_frame_of_a_large_report_confirms_it() {
        let now = Instant::now();
        let mut interest = Interest::new(1, LINGER);
        let changes = (0..MAX_CHANGES + 1).map(|i| (group(format!("g{i}")), 1)).collect();
        interest.change(0, 1, changes, now);
        let reports = interest.report();
        assert_eq!(
            reports.iter().map(|(r, c)| (*r, c.len())).collect::<Vec<_>>(),
            [(1, MAX_CHANGES), (2, 1)]
        );
        assert_eq!(interest.confirm(1), None);
        assert_eq!(interest.confirm(2), confirmed(&[1]));
    }
}
