//! What a push is answered when it succeeds.

use campanile_messages::{Durability, Position};

/// What a publish answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// An event for an audience is in the log.
    Accepted(Accepted),
    /// An event for one connection was written to it.
    Written,
}

/// An event that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Where it stands.
    pub position: Position,
    /// What it survives.
    pub durability: Durability,
    /// How many gateways had connections that listen.
    pub gateways: u32,
    /// How many connections those were: as the gateways had reported them, or as those counted
    /// that a [`Delivery`] knows of.
    pub matched: u64,
    /// How it fared at the gateways, if that was asked for and is known.
    pub delivery: Option<Delivery>,
}

/// How an event fared at the gateways that said so in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How many connections took it: its last byte entered the kernel of their gateway's host.
    pub written: u64,
    /// How many were closed because they read too slowly.
    pub too_slow: u64,
    /// How many gateways did not say: what they wrote is in none of the numbers.
    pub silent_gateways: u64,
}

/// What a caller is told; the one effect of [`Pending`](crate::pending::Pending).
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<C> {
    /// Whom to tell.
    pub caller: C,
    /// What.
    pub result: Result<Receipt, crate::ApiError>,
}

/// The answer to one push.
pub type Answered = Result<Receipt, crate::ApiError>;
