//! Both ends of the protocol between a broker and the rest of its cluster.

pub mod backoff;
pub mod broker;
pub mod client;
pub mod heads;
pub mod link;
pub mod outbox;
pub mod publishing;
pub mod watchdog;

pub use link::{LinkError, Outbound};
pub use outbox::{Full, Outbox};
pub use watchdog::{Pulse, Watchdog};
