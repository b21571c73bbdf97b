//! What the bridge asks the registries on behalf of operators.

use actix::prelude::*;
use campanile_messages::inquiry::{
    ConnectionsSummary, DisconnectedSummary, Question, WorkerSummary,
};

/// A question for one worker.
#[derive(Debug, Message)]
#[rtype(result = "WorkerAnswer")]
pub struct Inquire(pub Question);

/// What one worker answers.
#[derive(Debug)]
pub enum WorkerAnswer {
    /// It has nothing to say about it.
    Nothing,
    /// How it fares.
    Summary(WorkerSummary),
    /// Connections that were asked for.
    Connections(ConnectionsSummary),
    /// Connections that were closed.
    Disconnected(DisconnectedSummary),
}
