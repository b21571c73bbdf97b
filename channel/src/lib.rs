//! Both ends of the protocol between a broker and the rest of its cluster.

pub mod broker;
pub mod heads;
mod link;
pub mod watchdog;

pub use link::{Full, LinkError, Outbound, Outbox, client, outbox};
pub use watchdog::{Pulse, Watchdog};
