//! The broker, both ends of the link between it and the rest of the cluster, and the watchdog of all
//! services. [`courier`] is the actor of every process that publishes, and [`publishing`] its pure core.

pub mod broker;
pub mod courier;
pub mod heads;
mod link;
pub mod publishing;
pub mod watchdog;

pub use link::{
    Full, MAX_SECRETS_BYTES, Outbound, Outbox, Secrets, SecretsError, SecretsNow, client, outbox,
    proof, unchanging,
};
pub use watchdog::{Pulse, Watchdog};
