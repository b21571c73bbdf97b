//! What a gateway answers when operators ask: the registries are asked, and the bridge puts their answers
//! together.

use std::time::Duration;

use actix::prelude::*;
use campanile_messages::inquiry::{Answer, Question, Summary, pack, unpack};
use campanile_messages::link::RequestTicket;
use campanile_messages::{Content, ToBroker};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::Bridge;
use super::core::BridgeEffect;
use crate::inquiry::{Inquire, WorkerAnswer};

/// How many questions are answered at a time. Others get [`Answer::Busy`].
const MAX_INQUIRIES: usize = 16;

/// How long the registries may take. It is shorter than what the asker waits.
const LIMIT: Duration = Duration::from_secs(2);

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
        if self.inquiries >= MAX_INQUIRIES {
            return self.tell(ticket, &Answer::Busy);
        }
        self.inquiries += 1;
        let workers = self.performer.workers().iter();
        let asked = workers.map(|worker| worker.inquiries.send(Inquire(question.clone())));
        let answers = timeout(LIMIT, join_all(asked)).into_actor(self);
        ctx.spawn(answers.map(move |answers, bridge, _| {
            bridge.inquiries -= 1;
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
                    WorkerAnswer::Nothing => None,
                });
                let summary = self.vitals.summary(workers.collect());
                Answer::Summary(Summary::Gateway(Box::new(summary)))
            }
            _ => Answer::Nothing,
        }
    }

    fn tell(&mut self, ticket: RequestTicket, answer: &Answer) {
        if let Some(content) = pack(answer).or_else(|| pack(&Answer::Busy)) {
            self.effects.push(BridgeEffect::Send(ToBroker::Told { ticket, content }));
            self.perform();
        }
    }
}
