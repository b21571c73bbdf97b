//! What a gateway answers when operators ask: the registries are asked, and the bridge puts their answers
//! together.

use std::cell::Cell;
use std::time::{Duration, Instant};

use actix::prelude::*;
use campanile_channel::inquiries::unix_micros;
use campanile_messages::inquiry::{
    Answer, ConnectionsSummary, DisconnectedSummary, MAX_LISTED_ENDED, Question, Summary, Traced,
    pack, unpack,
};
use campanile_messages::link::RequestTicket;
use campanile_messages::{Content, ToBroker, WorkerId};
use futures_util::future::join_all;
use tokio::time::timeout;
use tracing::debug;

use super::Bridge;
use super::core::BridgeEffect;
use super::traces::{MAX_LOOKS, Tracing, written_up_to};
use crate::inquiry::{FindUnsent, Inquire, WorkerAnswer};
use crate::trace::wall::WallClock;

/// How many questions are answered at a time, and besides how many that close connections, for which nobody who
/// looks shall wait, nor the other way round. Others get [`Answer::Busy`].
const MAX_INQUIRIES: usize = 16;

/// How long the registries may take. It is shorter than what the asker waits.
const LIMIT: Duration = Duration::from_millis(2_750);

impl Handler<FindUnsent> for Bridge {
    type Result = Option<u64>;

    fn handle(&mut self, FindUnsent(facts): FindUnsent, _: &mut Self::Context) -> Option<u64> {
        let cursor = self.core.cursor?;
        (cursor.epoch == facts.known.epoch).then(|| written_up_to(&self.core.recent, &facts))?
    }
}

impl Bridge {
    /// Answers a question of an operator, as soon as all registries have.
    pub(super) fn answer_inquiry(
        &mut self,
        ticket: RequestTicket,
        content: &Content,
        ctx: &mut Context<Self>,
    ) {
        let Some(question) = unpack::<Question>(content) else {
            return self.tell(ticket, &Answer::NotUnderstood);
        };
        if let Question::Trace { at, event: None, .. } = &question
            && !at.is_some_and(|at| self.has_worker(at.worker))
        {
            // The broker is asked first.
            return self.tell(ticket, &Answer::Nothing);
        }
        let kind = usize::from(matches!(question, Question::Disconnect { .. }));
        if self.inquiries[kind] >= MAX_INQUIRIES {
            return self.tell(ticket, &Answer::Busy);
        }
        self.inquiries[kind] += 1;
        let workers = self.performer.workers().iter();
        let asked = workers.map(|worker| worker.inquiries.send(Inquire(question.clone())));
        let answers = timeout(LIMIT, join_all(asked)).into_actor(self);
        ctx.spawn(answers.map(move |answers, bridge, _| {
            bridge.inquiries[kind] -= 1;
            let answer = match answers {
                Ok(answers) => bridge.combine(&question, answers.into_iter().flatten().collect()),
                Err(_) => Answer::Busy,
            };
            bridge.tell(ticket, &answer);
        }));
    }

    fn combine(&self, question: &Question, answers: Vec<WorkerAnswer>) -> Answer {
        match question {
            Question::Summary => {
                let workers = answers.into_iter().filter_map(|answer| match answer {
                    WorkerAnswer::Summary(worker) => Some(worker),
                    _ => None,
                });
                let summary = self.vitals.summary(workers.collect());
                Answer::Summary(Summary::Gateway(Box::new(summary)))
            }
            Question::Connection(_) | Question::User(_) => {
                let all = connections(answers);
                Answer::Connections(all.fold(ConnectionsSummary::default(), |a, b| a.join(b)))
            }
            Question::Ended { last } => {
                let (all, most) = (connections(answers), *last.min(&MAX_LISTED_ENDED));
                let none = ConnectionsSummary::default();
                Answer::Connections(all.fold(none, |a, b| a.join_ended(b, most)))
            }
            Question::Disconnect { whom, may_return, reason, by } => {
                let ended = answers.into_iter().filter_map(|answer| match answer {
                    WorkerAnswer::Disconnected(ended) => Some(ended),
                    _ => None,
                });
                let all = ended.fold(DisconnectedSummary::default(), |a, b| a.join(b));
                if all != DisconnectedSummary::default() {
                    let DisconnectedSummary { ended, ending } = all;
                    debug!(%whom, reason, %by, may_return, ended, ending, "an operator closed connections");
                }
                Answer::Disconnected(all)
            }
            Question::Trace { position, at, event } => {
                let workers = answers.into_iter().filter_map(|answer| match answer {
                    WorkerAnswer::Trace(worker) => Some(*worker),
                    _ => None,
                });
                let tracing = Tracing {
                    position: *position,
                    cursor: self.core.cursor,
                    recent: &self.core.recent,
                    batches: &self.batches,
                    clock: WallClock { now: Instant::now(), unix_micros: unix_micros() },
                    looks: Cell::new(MAX_LOOKS),
                };
                let traced = match event {
                    Some(event) => Some(tracing.combine(event, *at, workers.collect())),
                    None => tracing.without_event(workers.collect()),
                };
                traced.map_or(Answer::Nothing, |traced| Traced::Gateway(traced).into())
            }
            Question::Continued(_) => {
                let found = answers.into_iter().filter_map(|answer| match answer {
                    WorkerAnswer::Continued(found) => Some(found),
                    _ => None,
                });
                let first = found.min_by_key(|found| found.opened);
                first.map_or(Answer::Nothing, |first| Traced::Continued(first).into())
            }
        }
    }

    fn has_worker(&self, id: WorkerId) -> bool {
        self.performer.workers().iter().any(|worker| worker.id.get() == Some(&id))
    }

    fn tell(&mut self, ticket: RequestTicket, answer: &Answer) {
        if let Some(content) = pack(answer).or_else(|| pack(&Answer::Busy)) {
            self.effects.push(BridgeEffect::Send(ToBroker::Told { ticket, content }));
            self.perform();
        }
    }
}

/// The connections in the answers of workers.
fn connections(answers: Vec<WorkerAnswer>) -> impl Iterator<Item = ConnectionsSummary> {
    answers.into_iter().filter_map(|answer| match answer {
        WorkerAnswer::Connections(found) => Some(found),
        _ => None,
    })
}
