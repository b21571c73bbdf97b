//! The push API: accepts pushes over HTTP, hands them to the broker, and answers when they are accepted,
//! or says what to do.
//!
//! - `server`, `config`: a publisher from its first request to its last.
//! - [`http`]: the door: connections, requests, and replies with their status codes.
//! - [`push`]: what is pushed to whom, read from a query, a form, a body or an item (pure).
//! - [`courier`]: the actor that owns the link to the broker. Its pure core is
//!   [`publishing`](campanile_channel::publishing) in the crate `campanile-channel`.
//! - `publish_stream`: many pushes over one websocket.
//! - [`budget`]: how much memory each caller may use (pure).
//! - [`meters`], `access_log`: what operators see of it.
//! - `error`: what is answered if a push does not succeed.

mod access_log;
pub mod budget;
mod config;
pub mod courier;
mod error;
pub mod http;
mod inquiries;
pub mod meters;
#[cfg(test)]
mod orders;
mod publish_stream;
pub mod push;
mod recent_pushes;
mod refused;
mod server;

pub use campanile_edge::{AllowHosts, AllowOrigins};
pub use config::{InvalidConfig, PublisherConfig, default_addresses, fixed_addresses};
pub use courier::health::Health;
pub use error::{Answered, ApiError};
pub use http::{Composed, Composer};
pub use meters::PublisherMeters;
pub use server::serve;
