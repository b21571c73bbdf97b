//! What the bridge asks the registries on behalf of operators.

use actix::prelude::*;
use campanile_messages::inquiry::{Question, WorkerSummary};

/// A question for one worker.
#[derive(Debug, Message)]
#[rtype(result = "WorkerAnswer")]
pub struct Inquire(pub Question);

/// What one worker answers.
#[derive(Debug, MessageResponse)]
pub enum WorkerAnswer {
    /// It has nothing to say about it.
    Nothing,
    /// How it fares.
    Summary(WorkerSummary),
}
