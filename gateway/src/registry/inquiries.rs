//! What a registry answers when operators ask.

use std::time::Instant;

use actix::prelude::*;
use campanile_channel::inquiries::unix_micros;
use campanile_messages::inquiry::{Question, WorkerSummary};

use super::Registry;
use crate::inquiry::{Inquire, WorkerAnswer};
use crate::trace::wall::WallClock;

impl Handler<Inquire> for Registry {
    type Result = WorkerAnswer;

    fn handle(&mut self, Inquire(question): Inquire, _: &mut Self::Context) -> WorkerAnswer {
        match question {
            Question::Summary => {
                self.summary().map_or(WorkerAnswer::Nothing, WorkerAnswer::Summary)
            }
            Question::Trace { position, at, event: Some(event) } => {
                let trace = self.clients.trace(position, &event, at).map(Box::new);
                trace.map_or(WorkerAnswer::Nothing, WorkerAnswer::Trace)
            }
            Question::Continued(client) => {
                let clock = WallClock { now: Instant::now(), unix_micros: unix_micros() };
                let continued = self.clients.continued(&client, clock);
                continued.map_or(WorkerAnswer::Nothing, WorkerAnswer::Continued)
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
            connections: self.clients.subscriptions.count() as u64,
            outbox_bytes: self.clients.meters().outbox_bytes.get(),
        })
    }
}
