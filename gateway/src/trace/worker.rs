//! What one worker answers about an event. Pure.

use campanile_messages::{ConnectionId, WorkerId};

use super::facts::Facts;

/// Of how many connections with something in their outboxes it is found out whether the event is among it.
/// All others of them count as waiting.
const MAX_BUSY: usize = 64;

/// What became of an event at the connections of one worker.
#[derive(Debug)]
pub struct WorkerTrace {
    /// The worker.
    pub id: WorkerId,
    /// The connection that came last: later ids were never given.
    pub newest: ConnectionId,
    /// What is known of the connection that was asked for.
    pub facts: Option<Facts>,
    /// How many connections have nothing in their outboxes, so that it is written.
    pub written: u64,
    /// In how many outboxes it may wait, besides `busy`.
    pub waiting: u64,
    /// Some connections in whose outboxes it may wait.
    pub busy: Vec<Facts>,
    /// The connections that may have got it, and have left its group or ended since.
    pub others: Vec<Facts>,
}

impl WorkerTrace {
    /// Starts without connections.
    pub fn new(id: WorkerId, newest: ConnectionId) -> Self {
        let (written, waiting) = (0, 0);
        let (busy, others) = (Vec::new(), Vec::new());
        Self { id, newest, facts: None, written, waiting, busy, others }
    }

    /// Adds a connection that lives and was handed the event.
    pub fn add_living(&mut self, is_idle: bool, facts: impl FnOnce() -> Option<Facts>) {
        match (is_idle, self.busy.len() < MAX_BUSY) {
            (true, _) => self.written += 1,
            (false, false) => self.waiting += 1,
            (false, true) => self.busy.extend(facts()),
        }
    }

    /// Adds a connection that may have been handed the event.
    pub fn add_other(&mut self, facts: Option<Facts>) {
        self.others.extend(facts);
    }
}
