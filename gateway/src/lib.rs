//! A gateway: holds the clients' connections and delivers events to them.
//!
//! How an event flows through a gateway: [`bridge`] receives it from the broker and hands it to the
//! [`registry`] of each worker that has listeners. The registry puts one shared frame into the outbox
//! of each listener's [`socket`](connection::socket) and flushes them.
//!
//! How a client comes in: [`server`] starts everything, the acceptor accepts the connection, the
//! [`door`](entrance::door) reads the request's head and chooses one of the [`dialects`], and a
//! [`session`](connection::session) attaches itself to the registry, which greets it when the broker
//! has confirmed its interest. A returning client gets the events that it missed from
//! [`recent`](bridge::recent), where the bridge keeps the newest events; [`resumes`](bridge::resumes)
//! knows which clients wait for older ones from the broker.
//!
//! What clients publish goes through [`publishing`] to the broker.
//!
//! Everything public except [`GatewayConfig`], [`Access`] and [`serve`] is for the benchmarks, the echo server and
//! the fuzz targets.

#![allow(rustdoc::private_intra_doc_links, reason = "the docs are for those who change this crate")]

mod access;
pub mod bridge;
mod config;
pub mod connection;
mod delivery;
pub mod dialects;
pub mod entrance;
mod history;
mod inquiry;
mod limits;
mod meters;
mod publishing;
pub mod registry;
mod report;
pub mod resume;
mod server;
mod trace;
pub mod websocket;

pub use access::{Access, Rejection};
pub use config::GatewayConfig;
pub use connection::pace::ClientRates;
pub use entrance::health::Health;
pub use limits::GatewayLimits;
pub use meters::GatewayMeters;
pub use server::serve;

#[cfg(test)]
mod tests;
