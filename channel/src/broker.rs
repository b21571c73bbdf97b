//! The broker: the one channel service of a cluster. Numbers events, keeps the recent ones, hands
//! each to the gateways that want it.
//!
//! ```text
//! accepted socket ─▶ peer (a task a link) ──Enter, FromLink, LinkLost──▶ Broker (one actor)
//!                      ▲ bounded Outbound ◀──────────────frames────────────┘ │ asks, performs
//!                                                                            ▼
//!                                              Exchange: Intake, Log, Routing, WorkerIds
//!                                                                            │
//!                        Broker ◀──Written── writer (a thread) ──▶ store ◀───┘ changes
//! ```
//!
//! With a data directory an event goes to disk first: nobody sees it, its publisher included, before
//! it is as durable as was promised.
//!
//! What bounds it: a link has one batch of messages in flight, so a broker that is behind holds its
//! peers back; what waits for a link is bounded in bytes, and a link past its bound is cut; the log
//! is bounded in bytes and age; links and their audiences are counted, and so are sockets that have no
//! link (`strangers`); while too much waits for the disk, publishers are not read (`disk`).

mod actor;
mod beginning;
mod clock;
mod config;
mod conversation;
mod disk;
mod disk_wait;
mod ending;
mod exchange;
mod ids;
mod intake;
mod links;
mod listeners;
pub mod log;
mod peer;
mod publishers;
mod receipt;
pub mod record;
pub mod routing;
mod server;
mod store;
mod strangers;
#[cfg(test)]
mod stuck_store;
mod trimmed;
mod worker_ids;
mod writer;

pub use config::{BrokerConfig, Storage};
pub use server::serve;
