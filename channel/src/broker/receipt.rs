//! What the publisher of an accepted event is told.

/// Where an event stands and whom it matched at the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The event's number.
    pub sequence: u64,
    /// How many gateways had connections that listen.
    pub gateways: u32,
    /// How many connections those were.
    pub matched: u64,
}
