//! What a broker has done so far, as plain numbers, and what it holds. They only count: nothing is decided
//! by them.

use std::time::Duration;

/// What an exchange has done since it began. No number ever becomes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Publishes that became events.
    pub accepted: u64,
    /// Publishes that repeated an event and got its receipt.
    pub duplicates: u64,
    /// Publishes whose key belongs to another event.
    pub conflicts: u64,
    /// Publishes that were refused for now.
    pub busy: u64,
    /// Pushes to one connection that were written to it.
    pub delivered: u64,
    /// Pushes to one connection that could not be written to it.
    pub gone: u64,
    /// Events for gateways, once for each gateway; also those that a gateway had missed.
    pub link_events: u64,
    /// Events that gateways fetched.
    pub replayed: u64,
    /// Gateways that came back after the log had dropped what they missed.
    pub expired: u64,
    /// Gateways that came back with a position of another epoch.
    pub epoch_changed: u64,
}

/// What an exchange has done and holds, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// What it has done.
    pub counts: Counts,
    /// The sequence of the newest event in the log.
    pub head: u64,
    /// How many events the log keeps.
    pub log_events: u64,
    /// How much memory they take, in bytes.
    pub log_bytes: u64,
    /// How old the oldest of them is; zero if there is none.
    pub oldest_age: Duration,
    /// How many idempotency keys are remembered.
    pub ids: u64,
    /// How many bytes of events wait to be durable.
    pub staged_bytes: u64,
}
