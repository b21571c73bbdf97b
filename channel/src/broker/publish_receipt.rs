//! What the publisher of an accepted event learns about it.

/// Where an accepted event stands, and how many listened to its audience at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishReceipt {
    pub sequence: u64,
    /// How many gateways had connections that listen.
    pub gateways: u32,
    /// How many connections listened.
    pub matched: u64,
}
