//! What a registry answers when operators ask.

use actix::prelude::*;
use campanile_messages::inquiry::{Question, WorkerSummary};

use super::Registry;
use crate::inquiry::{Inquire, WorkerAnswer};

impl Handler<Inquire> for Registry {
    type Result = WorkerAnswer;

    fn handle(&mut self, Inquire(question): Inquire, _: &mut Self::Context) -> WorkerAnswer {
        match question {
            Question::Summary => {
                self.summary().map_or(WorkerAnswer::Nothing, WorkerAnswer::Summary)
            }
            _ => WorkerAnswer::Nothing,
        }
    }
}

impl Registry {
    /// How this worker fares; `None` before the broker has given it an id.
    fn summary(&self) -> Option<WorkerSummary> {
        let id = self.clients.id()?;
        Some(WorkerSummary {
            id,
            connections: self.clients.subscriptions.connections() as u64,
            outbox_bytes: self.clients.meters().outbox_bytes.get(),
        })
    }
}
