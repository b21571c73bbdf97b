//! The push API: takes pushes over HTTP, hands them to the broker, and answers when they are
//! accepted, or says what to do.
//!
//! Read [`request`] for what a push looks like, [`item`] for one of many, [`pending`] and [`counting`] for what becomes of it
//! (all pure), [`courier`] for the actor that owns the link, `http` for the answers, [`serve`] for the process.

pub mod batch;
pub mod budget;
pub mod config;
mod counted_body;
pub mod counting;
pub mod courier;
pub mod deadline;
pub mod error;
pub mod health;
mod http;
pub mod in_order;
pub mod inbound;
pub mod inflate;
pub mod item;
pub mod media;
#[cfg(test)]
mod orders;
mod parameters;
pub mod patience;
pub mod pending;
pub mod places;
mod publish_stream;
pub mod receipt;
mod reply;
pub mod request;
mod server;
pub mod shown;
pub mod stream;
pub mod turn;
pub mod wording;

pub use campanile_edge::{AllowHosts, AllowOrigins};
pub use config::{InvalidConfig, PublisherConfig};
pub use error::ApiError;
pub use server::serve;
