//! The broker, both ends of the link between it and the rest of the cluster, and the watchdog of all
//! services. [`courier`] is the actor of every process that publishes, [`publishing`] its pure core, and
//! [`tls`] what every listener needs that speaks it.

pub mod broker;
pub mod courier;
mod durations;
pub mod heads;
pub mod incidents;
pub mod inquiries;
mod link;
pub mod proxied;
pub mod publishing;
pub mod spans;
pub mod tls;
mod usage;
pub mod watchdog;

pub use durations::DurationHistogram;
pub use link::{
    Full, LinkTls, MAX_SECRETS_BYTES, Outbound, Outbox, Secrets, SecretsError, SecretsNow, brokers,
    client, outbox, proof, unchanging,
};
pub use spans::Spans;
pub use tls::TlsSettings;
pub use usage::usage;
pub use watchdog::{Pulse, Watchdog};
