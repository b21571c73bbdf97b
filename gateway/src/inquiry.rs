//! What the bridge asks the registries on behalf of operators.

use actix::prelude::*;
use campanile_messages::inquiry::trace::ContinuedClient;
use campanile_messages::inquiry::{
    ConnectionsSummary, DisconnectedSummary, Question, WorkerSummary,
};

use crate::trace::facts::Facts;
use crate::trace::worker::WorkerTrace;

/// A question for one worker.
#[derive(Debug, Message)]
#[rtype(result = "WorkerAnswer")]
pub struct Inquire(pub Question);

/// Asks the bridge up to where everything was surely written to a connection that ended with something in its
/// outbox. Nobody knows that any more once the bridge has dropped the events.
#[derive(Debug, Message)]
#[rtype(result = "Option<u64>")]
pub struct FindUnsent(pub Box<Facts>);

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
    /// What became of an event at its connections.
    Trace(Box<WorkerTrace>),
    /// A connection that continued where another one has ended, and when it was opened.
    Continued(ContinuedClient),
}
