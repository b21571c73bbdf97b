//! What a gateway answers to those who ask what became of an event: puts together what its workers know, and
//! what the bridge knows of the event itself. Pure, but for the actor that it belongs to.

use std::cell::Cell;

use campanile_messages::inquiry::TracedEvent;
use campanile_messages::inquiry::trace::{ConnectionDetails, ConnectionTrace, GatewayTrace};
use campanile_messages::{Address, Audience, Position, WorkerId};

use crate::bridge::recent::Recent;
use crate::dialects::Framed;
use crate::trace::batches::Batches;
use crate::trace::facts::Facts;
use crate::trace::gaps::Loss;
use crate::trace::verdict::{QueuedAfter, Subject, Verdict, judge, judge_for_anybody};
use crate::trace::wall::WallClock;
use crate::trace::worker::WorkerTrace;
use crate::websocket::CloseCode;

/// How many groups of a connection are shown.
const MAX_SHOWN_GROUPS: usize = 100;

/// What is asked for, and what the bridge knows.
pub struct Tracing<'a> {
    pub position: Position,
    /// Where the stream has come to.
    pub cursor: Option<Position>,
    pub recent: &'a Recent,
    pub batches: &'a Batches,
    pub clock: WallClock,
    /// For how many connections the recent events may still be looked at.
    pub looks: Cell<usize>,
}

/// For how many connections the recent events are looked at to answer one question. Of others with something
/// in their outboxes, it is not known whether the event is among it.
pub const MAX_LOOKS: usize = 256;

impl Tracing<'_> {
    /// Puts the answers of the workers together.
    pub fn combine(
        &self,
        event: &TracedEvent,
        at: Option<Address>,
        workers: Vec<WorkerTrace>,
    ) -> GatewayTrace {
        let Position { epoch, sequence } = self.position;
        let mut trace = GatewayTrace { position: self.cursor, ..GatewayTrace::default() };
        // The connection that was asked for comes before the others, for which there may be no look left.
        for worker in &workers {
            if let Some(at) = at.filter(|at| at.worker == worker.id) {
                trace.connection = Some(self.connection(event, at, worker));
            }
        }
        let audience = event.audience.clone();
        let subject = Subject { position: self.position, audience, is_excluded: false };
        for worker in workers {
            trace.workers.push(worker.id);
            trace.listeners += worker.written + worker.waiting;
            trace.written += worker.written;
            trace.waiting += worker.waiting;
            for facts in worker.busy.iter().chain(&worker.others) {
                count(&mut trace, self.judge(&subject, facts));
            }
        }
        let is_here = self.cursor.is_some_and(|cursor| cursor.epoch == epoch);
        let is_reached = self.cursor.is_some_and(|cursor| cursor.sequence >= sequence);
        let kept = self.recent.has(&event.audience, sequence).filter(|_| is_here);
        trace.sent = match kept {
            _ if !is_here => None,
            _ if trace.listeners > 0 => Some(true),
            Some(false) if !is_reached => None,
            kept => kept,
        };
        if trace.sent == Some(true) {
            let received = self.batches.received(self.position);
            trace.received = received.map(|received| self.clock.at(received));
        }
        trace.unknown = match trace.sent {
            Some(_) => None,
            None if !is_here => Some("this gateway follows another log than that of the position"),
            None if !is_reached => Some("this gateway has not come to the position yet"),
            None => Some(
                "this gateway has no listener now, or does not keep the event any more: whether it got the \
                 event is not known",
            ),
        }
        .map(str::to_owned);
        trace
    }

    /// What can be said of an event that the broker does not keep any more: what became of it at the connection
    /// that was asked for, if that is the same whoever the event was for.
    pub fn without_event(&self, workers: Vec<WorkerTrace>) -> Option<GatewayTrace> {
        let facts = workers.into_iter().find_map(|worker| worker.facts)?;
        let verdict = judge_for_anybody(self.position, &facts)?;
        let (audience, is_excluded) = (Audience::Everyone, false);
        let subject = Subject { position: self.position, audience, is_excluded };
        let connection = Some(self.shown(verdict, &subject, &facts));
        Some(GatewayTrace { position: self.cursor, connection, ..GatewayTrace::default() })
    }

    fn connection(
        &self,
        event: &TracedEvent,
        at: Address,
        worker: &WorkerTrace,
    ) -> ConnectionTrace {
        let Some(facts) = &worker.facts else { return unknown(at, worker) };
        let (audience, is_excluded) = (event.audience.clone(), event.except == Some(at));
        let subject = Subject { position: self.position, audience, is_excluded };
        self.shown(self.judge(&subject, facts), &subject, facts)
    }

    fn shown(&self, verdict: Verdict, subject: &Subject, facts: &Facts) -> ConnectionTrace {
        let known = &facts.known;
        let mut details = self.details(facts);
        if let Verdict::Waiting { behind_bytes, .. } = verdict {
            details.behind_bytes = Some(behind_bytes);
        }
        let ended = facts.is_ended.then(|| self.clock.at(known.ended));
        let when = match verdict {
            Verdict::NeverGreeted { is_later: true, .. } => ended,
            Verdict::ConnectedLater(_)
            | Verdict::ContinuedLater(_)
            | Verdict::NeverGreeted { .. } => details.opened,
            Verdict::Recovered(_) => details.opened,
            Verdict::LostByGateway(_) => match facts.loss {
                Loss::Among(lost) => Some(self.clock.at(lost.at)),
                Loss::No | Loss::Forgotten => None,
            },
            Verdict::Written
            | Verdict::ClosedBefore { .. }
            | Verdict::ClosedWhileWaiting { .. } => ended,
            _ => None,
        };
        ConnectionTrace {
            reason: verdict.reason().to_owned(),
            sentence: verdict.sentence(subject, known.dialect),
            at: when,
            details: Some(details),
        }
    }

    fn judge(&self, subject: &Subject, facts: &Facts) -> Verdict {
        let known = &facts.known;
        judge(subject, facts, |sequence| {
            let len_bytes = |event: &Framed| len_bytes(facts, event);
            let Some(left) = self.looks.get().checked_sub(1) else {
                return QueuedAfter { bytes: 0, is_complete: false };
            };
            self.looks.set(left);
            let enough = known.end.unsent_bytes;
            let audiences = facts.audiences();
            self.recent.bytes_after(sequence, known.last, &audiences, len_bytes, enough)
        })
    }

    /// What is shown of a connection.
    pub fn details(&self, facts: &Facts) -> ConnectionDetails {
        let known = &facts.known;
        let shown = known.groups.iter().take(MAX_SHOWN_GROUPS).map(|(group, _)| group.to_string());
        let groups: Vec<_> = shown.collect();
        let left_out = known.groups.len() - groups.len() + known.groups_left_out;
        let first = facts.first().after;
        ConnectionDetails {
            connection: Some(known.connection),
            user: known.user.as_ref().map(|user| user.to_string()),
            address: known.address.map(|address| address.to_string()),
            dialect: known.dialect.word().to_owned(),
            groups,
            groups_left_out: left_out as u64,
            opened: Some(self.clock.at(known.opened)),
            ended: facts.is_ended.then(|| self.clock.at(known.ended)),
            first_position: first.map(|sequence| Position { epoch: known.epoch, sequence }),
            last_position: Some(facts.last()),
            code: Some(known.end.code()).filter(|code| *code > 0),
            sent_bytes: known.end.sent_bytes,
            waiting_bytes: known.end.unsent_bytes,
            behind_bytes: None,
        }
    }
}

/// Up to where everything was surely written to a connection that ended with something waiting.
pub fn written_up_to(recent: &Recent, facts: &Facts) -> Option<u64> {
    let known = &facts.known;
    let len_bytes = |event: &Framed| len_bytes(facts, event);
    recent.written_up_to(known.last, &facts.audiences(), len_bytes, known.end.unsent_bytes)
}

/// How many bytes an event takes in the outbox of a connection. An exception of the same id at another worker
/// counts as one, so that no more is counted than there was.
fn len_bytes(facts: &Facts, event: &Framed) -> u64 {
    let known = &facts.known;
    let is_left_out = event.excepted().is_some_and(|except| except.connection == known.connection);
    if is_left_out { 0 } else { event.frame(known.dialect).len() as u64 }
}

fn count(trace: &mut GatewayTrace, verdict: Verdict) {
    match verdict {
        Verdict::Written | Verdict::Recovered(_) => trace.written += 1,
        Verdict::Waiting { .. } => trace.waiting += 1,
        Verdict::ClosedWhileWaiting { code, .. } if code == CloseCode::TooSlow.code() => {
            trace.closed_too_slow += 1;
        }
        Verdict::ClosedWhileWaiting { .. } => trace.closed_waiting += 1,
        _ => return,
    }
    trace.listeners += 1;
}

fn unknown(at: Address, worker: &WorkerTrace) -> ConnectionTrace {
    let WorkerId(id) = worker.id;
    let (reason, sentence) = if at.connection > worker.newest {
        let sentence = format!("worker {id} has never had a connection {}", at.connection);
        ("unknown_connection", sentence)
    } else {
        let sentence = format!(
            "connection {} of worker {id} has ended, and so many have ended since that nothing is kept of it",
            at.connection
        );
        ("not_kept_any_more", sentence)
    };
    ConnectionTrace { reason: reason.to_owned(), sentence, at: None, details: None }
}
