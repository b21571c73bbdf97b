//! The answer to a push.

use campanile_messages::link::Matched;
use campanile_messages::{Durability, Position};

use super::Failure;

/// The answer to a push that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The event for an audience is in the log.
    Accepted(Accepted),
    /// The event for one connection was written to it.
    Written,
}

/// An event that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Where it stands in the log.
    pub position: Position,
    /// What it survives.
    pub durability: Durability,
    /// How many listened: the connections as the gateways had reported to the broker, or as they counted, if
    /// there is a [`Delivery`]. `None` of a repeat, if the broker does not know that any more.
    pub matched: Option<Matched>,
    /// What the gateways wrote, if the caller waited for that and it is known.
    pub delivery: Option<Delivery>,
}

/// What gateways wrote of an event, as far as they reported it in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// To how many connections: the last byte was handed to the kernel of their gateway's host.
    pub written: u64,
    /// How many connections were closed because they read too slowly.
    pub too_slow: u64,
    /// How many gateways did not report. What they wrote is in none of the numbers.
    pub silent_gateways: u64,
}

/// What a caller gets for its push, exactly once.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<C> {
    /// Who gets it.
    pub caller: C,
    /// The receipt, or why there is none.
    pub result: Result<Receipt, Failure>,
}
