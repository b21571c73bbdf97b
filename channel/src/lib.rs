//! The broker, both ends of the link between it and the rest of the cluster, and the watchdog of all
//! services. [`courier`] is the actor of every process that publishes, [`publishing`] its pure core, and
//! [`tls`] what every listener needs that speaks it.

pub mod broker;
pub mod courier;
pub mod heads;
pub mod incidents;
mod link;
pub mod proxied;
pub mod publishing;
pub mod tls;
pub mod watchdog;

pub use link::{
    Full, LinkTls, MAX_SECRETS_BYTES, Outbound, Outbox, Secrets, SecretsError, SecretsNow, client,
    outbox, proof, unchanging,
};
pub use tls::TlsSettings;
pub use watchdog::{Pulse, Watchdog};
