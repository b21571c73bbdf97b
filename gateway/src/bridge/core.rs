//! The bridge's decisions: takes the messages of the broker and the registries, and returns effects to
//! perform. Pure. The parts that stand on their own have files beside this one.

mod counted;

use std::time::{Duration, Instant};

use campanile_messages::link::{DirectOutcome, Gap, RequestTicket, Tally, Welcome};
use campanile_messages::{Address, Content, Event, FromBroker, Position, ToBroker, WorkerId};

use crate::bridge::absence::Absence;
use crate::bridge::arriving::{Arriving, OutOfOrder};
use crate::bridge::core::counted::{begin_span, report_sum};
use crate::bridge::counts::{Counts, Wanted};
use crate::bridge::interest::{Confirmation, Interest, InterestReport};
use crate::bridge::recent::Recent;
use crate::bridge::resumes::Resumes;
use crate::bridge::spans::FollowedEvent;
use crate::config::GatewayConfig;
use crate::delivery::Delivery;
use crate::dialects::Framed;
use crate::report::Report;

/// An effect for the bridge to perform; effects are performed in order.
#[derive(Debug, PartialEq)]
pub enum BridgeEffect {
    /// Put a delivery into the queue of one worker, counted from 0.
    Deliver(usize, Delivery),
    /// Put the same delivery into the queue of every worker.
    DeliverToAll(Delivery),
    /// Send a message to the broker, or drop it if the link has no room: the link does not drain then,
    /// and publishers notice by themselves that an answer is missing.
    Send(ToBroker),
    /// Send a message to the broker even if the link's queue is full. Such messages have a bound of
    /// their own, and nothing would repeat them.
    Force(ToBroker),
    /// Notify every client that events may be missing between two positions.
    ReportGap {
        /// The reason.
        gap: Gap,
        /// The position that the stream had reached.
        cursor: Position,
        /// The position after which it continues.
        from: Position,
    },
    /// Send the clients away, to another gateway.
    SendAway,
    /// Let the clients stay, because there is a broker again.
    Stay,
    /// Log that the broker sent a fetched event out of order; the event is left out.
    LogOutOfOrder(OutOfOrder),
    /// Begin the span of an event that belongs to a trace.
    BeginSpan(RequestTicket, FollowedEvent),
    /// Finish that span: every worker has written the event.
    EndSpan(RequestTicket, Tally),
    /// Count an event whose span is not begun.
    PassSpanOver,
    /// Log that the broker sent a message that is not for a gateway.
    LogUnexpected(Box<FromBroker>),
}

/// The state from which the bridge decides.
#[derive(Debug)]
pub struct Core {
    /// Assigned by the first broker, and kept from then on.
    workers: Vec<Option<WorkerId>>,
    interest: Interest,
    is_linked: bool,
    /// The epoch of the broker's log, from its last welcome.
    epoch: u64,
    /// The last position in the log that this gateway has seen; `None` until the stream has begun once.
    pub cursor: Option<Position>,
    pub recent: Recent,
    resumes: Resumes,
    arriving: Arriving,
    max_replay_bytes: usize,
    absence: Absence,
    counts: Counts,
}

impl Core {
    /// Starts without a broker and without listeners.
    pub fn new(config: &GatewayConfig, workers: usize, now: Instant) -> Self {
        Self {
            workers: vec![None; workers],
            interest: Interest::new(workers, config.linger),
            is_linked: false,
            epoch: 0,
            cursor: None,
            recent: Recent::new(config.recent_bytes),
            resumes: Resumes::new(workers),
            arriving: Arriving::default(),
            max_replay_bytes: config.max_replay_bytes,
            absence: Absence::new(config.return_limit, now),
            counts: Counts::new(config.spans.are_on()),
        }
    }

    /// How many audiences the gateway listens to, including those whose interest lingers.
    pub fn audiences(&self) -> usize {
        self.interest.count()
    }

    /// Records that a broker has welcomed the gateway, with an id for each worker. All interest is
    /// reported to it anew.
    pub fn link_up(&mut self, welcome: &Welcome, effects: &mut Vec<BridgeEffect>) {
        if self.is_linked {
            // The loss of the previous link was not reported.
            self.forget_link();
        }
        for (worker, id) in self.workers.iter_mut().zip(&welcome.workers) {
            worker.get_or_insert(*id);
        }
        self.is_linked = true;
        self.epoch = welcome.head.epoch;
        if self.cursor.is_some_and(|cursor| cursor.epoch != self.epoch) {
            // The stream will not continue from the cursor.
            self.recent.clear();
        }
        let reports = self.interest.report_all();
        force(reports, effects);
        effects.push(BridgeEffect::Force(ToBroker::Attach { cursor: self.cursor }));
        self.ask_for_unknown(effects);
    }

    /// Records that the link is lost. Unanswered requests are repeated on the next one.
    pub fn link_lost(&mut self, now: Instant) {
        self.forget_link();
        self.absence.link_lost(now);
    }

    fn forget_link(&mut self) {
        self.is_linked = false;
        self.arriving.end();
        self.counts.clear();
        self.interest.link_lost().iter().for_each(|audience| self.recent.forget(audience));
        self.resumes.link_lost();
    }

    /// Processes a message of the broker.
    pub fn receive(&mut self, message: FromBroker, effects: &mut Vec<BridgeEffect>) {
        match message {
            FromBroker::Event(event) if self.arriving.expects_event() => {
                self.keep_past(event, effects);
            }
            FromBroker::Event(event) => self.route(event, effects),
            FromBroker::Deliver { ticket, to, content } => {
                self.route_direct(ticket, to, content, effects);
            }
            FromBroker::Confirmed { revision, head } => self.confirm(revision, head, effects),
            FromBroker::Attached { from, gap } => self.begin(from, gap, effects),
            FromBroker::Mark { head } => {
                if let Some(cursor) = &mut self.cursor {
                    cursor.sequence = cursor.sequence.max(head);
                    effects.push(BridgeEffect::DeliverToAll(Delivery::Mark(*cursor)));
                }
            }
            // Before the stream has begun there is nothing to ask for.
            FromBroker::Past { audience, events, expired, complete_after }
                if self.cursor.is_some() =>
            {
                self.arriving.begin(audience, events, expired, complete_after);
                self.end_past();
            }
            FromBroker::Fetched { number, served } => {
                self.arriving.end();
                self.resumes.fetched(number, usize::try_from(served).unwrap_or(usize::MAX));
                self.fetch(effects);
            }
            FromBroker::Count { ticket, sequence, within_millis } => {
                let within = Duration::from_millis(within_millis.into());
                self.counts.ask(sequence, ticket, within);
            }
            FromBroker::Traced { sequence, context } => self.counts.trace(sequence, context),
            other => effects.push(BridgeEffect::LogUnexpected(Box::new(other))),
        }
    }

    /// Processes a worker's report.
    pub fn report(
        &mut self,
        worker: usize,
        report: Report,
        now: Instant,
        effects: &mut Vec<BridgeEffect>,
    ) {
        let Report { ticket, changes, resumes, gone } = report;
        self.interest.change(worker, ticket, changes, now);
        self.resumes.forget(worker, &gone);
        self.report_interest(effects, |core| {
            resumes.into_iter().for_each(|resume| core.resumes.add(worker, resume));
        });
    }

    /// Withdraws interest that has lingered long enough, and sends clients away after too long without a
    /// broker.
    pub fn tick(&mut self, now: Instant, effects: &mut Vec<BridgeEffect>) {
        self.interest.expire(now);
        self.report_interest(effects, |_| {});
        if self.absence.passes_limit(now) {
            effects.push(BridgeEffect::SendAway);
        }
    }

    /// Answers a returning client, or defers up to a fixed number of them. Returns `false` if no client
    /// that can be answered now is left.
    pub fn answer_next(&mut self, effects: &mut Vec<BridgeEffect>) -> bool {
        let Some(cursor) = self.cursor else { return false };
        match self.resumes.judge(&self.recent, self.max_replay_bytes) {
            Some((worker, ticket, found)) => {
                let resumed = Delivery::Resumed(ticket, found, cursor);
                effects.push(BridgeEffect::Deliver(worker, resumed));
                true
            }
            None if !self.resumes.is_idle() => true,
            None => {
                self.fetch(effects);
                self.trim();
                false
            }
        }
    }

    /// Whether every returning client has its answer.
    #[cfg(test)]
    pub fn awaits_nobody(&self) -> bool {
        self.resumes.is_empty()
    }

    /// Begins the stream, at the cursor or elsewhere.
    fn begin(&mut self, from: Position, gap: Option<Gap>, effects: &mut Vec<BridgeEffect>) {
        // Not at the welcome: a broker may end each link at the gateway's first message.
        if self.absence.stream_begins() {
            effects.push(BridgeEffect::Stay);
        }
        if let (Some(gap), Some(cursor)) = (gap, self.cursor) {
            effects.push(BridgeEffect::ReportGap { gap, cursor, from });
        }
        if self.cursor != Some(from) {
            self.recent.clear();
        }
        self.cursor = Some(from);
    }

    fn route(&mut self, event: Event, effects: &mut Vec<BridgeEffect>) {
        let sequence = event.sequence;
        let wanted = self.counts.wanted(sequence);
        let Some(cursor) = &mut self.cursor else {
            return;
        };
        // A half-open link may already have delivered it.
        if sequence <= cursor.sequence {
            return;
        }
        let before = std::mem::replace(&mut cursor.sequence, sequence);
        let audience = event.audience.clone();
        // It is kept for a while, and must not keep alive the whole buffer that it arrived in.
        let framed = Framed::of_event(*cursor, event);
        if let Some(wanted) = &wanted {
            begin_span(wanted, &framed, effects);
        }
        let mut workers = 0;
        for worker in self.interest.workers(&audience) {
            workers += 1;
            let delivery = match wanted {
                None => Delivery::Event(framed.clone()),
                Some(Wanted { ticket, within, .. }) => {
                    Delivery::Counted(ticket, within, framed.clone())
                }
            };
            effects.push(BridgeEffect::Deliver(worker, delivery));
        }
        if let Some(wanted) = wanted {
            report_sum(wanted.ticket, self.counts.begin(&wanted, workers), effects);
        }
        if self.interest.has(&audience) {
            // No event of this audience was left out since the stream came to `before`: the broker confirms
            // interest before the first event that it brings.
            self.recent.add(before, &audience, framed);
            self.trim();
        }
    }

    fn route_direct(
        &mut self,
        ticket: RequestTicket,
        to: Address,
        content: Content,
        effects: &mut Vec<BridgeEffect>,
    ) {
        let worker = self.workers.iter().position(|id| *id == Some(to.worker));
        effects.push(match worker {
            Some(worker) => {
                let framed = Framed::new(None, content);
                BridgeEffect::Deliver(worker, Delivery::Direct(ticket, to.connection, framed))
            }
            None => {
                let outcome = DirectOutcome::UnknownWorker;
                BridgeEffect::Send(ToBroker::Delivered { ticket, outcome })
            }
        });
    }

    /// Passes a confirmation on to the workers. Steps that wait for nothing else are completed by their
    /// tickets; returning clients are answered [one by one](Self::answer_next).
    fn confirm(&mut self, revision: u64, head: u64, effects: &mut Vec<BridgeEffect>) {
        let Some(cursor) = &mut self.cursor else { return };
        cursor.sequence = cursor.sequence.max(head);
        let cursor = *cursor;
        let Some(Confirmation { tickets, withdrawn }) = self.interest.confirm(revision) else {
            return;
        };
        withdrawn.iter().for_each(|audience| self.recent.forget(audience));
        for (worker, ticket) in tickets.iter().enumerate() {
            effects.push(BridgeEffect::Deliver(worker, Delivery::Confirmed(*ticket, cursor)));
        }
        self.resumes.confirmed(&tickets, Position { sequence: head, ..cursor });
        self.report_interest(effects, |_| {});
    }

    /// Reports changed interest to the broker, if it has confirmed the last report. `add` adds the
    /// clients that return with this change. It is called after the withdrawals, which forget every resume
    /// that waits for a withdrawn audience.
    fn report_interest(&mut self, effects: &mut Vec<BridgeEffect>, add: impl FnOnce(&mut Self)) {
        let withdrawn = self.interest.take_withdrawn();
        if !withdrawn.is_empty() {
            withdrawn.iter().for_each(|audience| self.recent.forget(audience));
            self.resumes.withdraw(&withdrawn);
        }
        add(self);
        if !self.is_linked {
            // The next link gets a report of everything.
            return self.interest.forget_changes();
        }
        let reports = self.interest.report();
        if !reports.is_empty() {
            force(reports, effects);
            self.ask_for_unknown(effects);
        }
    }

    /// Fetches the events that clients lack whose interest was just reported.
    fn ask_for_unknown(&mut self, effects: &mut Vec<BridgeEffect>) {
        self.resumes.interest_sent(self.epoch, &self.recent, self.max_replay_bytes);
        self.fetch(effects);
    }

    fn fetch(&mut self, effects: &mut Vec<BridgeEffect>) {
        if self.is_linked
            && let Some((number, wants)) = self.resumes.fetch()
        {
            let max_bytes = self.max_replay_bytes as u64;
            effects.push(BridgeEffect::Force(ToBroker::Fetch { number, wants, max_bytes }));
        }
    }

    fn keep_past(&mut self, event: Event, effects: &mut Vec<BridgeEffect>) {
        let Some(cursor) = self.cursor else { return };
        if let Err(out_of_order) = self.arriving.add(event, cursor) {
            effects.push(BridgeEffect::LogOutOfOrder(out_of_order));
        }
        self.end_past();
    }

    fn end_past(&mut self) {
        if let Some(cursor) = self.cursor
            && let Some((audience, past)) = self.arriving.take(cursor)
            && self.resumes.is_fetched(&audience)
        {
            self.recent.add_past(&audience, past);
        }
    }

    fn trim(&mut self) {
        if !self.arriving.is_answer_begun() {
            // The clients that are judged next need what was fetched for them.
            self.recent.trim(self.resumes.is_fetching() || !self.resumes.is_idle());
        }
    }
}

fn force(reports: Vec<InterestReport>, effects: &mut Vec<BridgeEffect>) {
    for (revision, changes) in reports {
        effects.push(BridgeEffect::Force(ToBroker::Interest { revision, changes }));
    }
}

#[cfg(test)]
mod tests;
