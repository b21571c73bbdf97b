//! The push API: takes pushes over HTTP, hands them to the broker, and answers when they are
//! accepted, or says what to do.

pub mod budget;
mod config;
mod counting;
pub mod courier;
mod deadline;
mod error;
pub mod http;
#[cfg(test)]
mod orders;
pub mod pending;
mod publish_stream;
pub mod push;
mod server;

pub use campanile_messages::{AllowHosts, AllowOrigins};
pub use config::{InvalidConfig, PublisherConfig};
pub use error::ApiError;
pub use server::serve;
