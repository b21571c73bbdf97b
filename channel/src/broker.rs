//! The broker: the central service of a cluster. It numbers events, keeps the recent ones, and sends
//! each event to the gateways that want it.
//!
//! ```text
//! accepted socket ─▶ peer (one task per link) ──Enter, FromLink, LinkLost─▶ Broker (one actor)
//!                      ▲ bounded Outbound ◀───────────────frames───────────┘ │ asks, performs
//!                                                                            ▼
//!                                              Exchange: Intake, Log, Routing, WorkerIds
//!                                                                            │
//!                        Broker ◀──Written── writer (a thread) ──▶ store ◀───┘ changes
//! ```
//!
//! With a data directory, an event goes to disk first: nobody sees it, not even its publisher, before it
//! is as durable as was promised.
//!
//! Its bounds: each link has one batch of messages in flight, so a broker that is behind holds its peers
//! back. What waits for a link is bounded in bytes, and a link that exceeds its bound is cut. The log is
//! bounded in bytes and age. The number of links, of the audiences of a link, and of sockets without a
//! link (`strangers`) is limited. A gateway's question for past events has a bound on what it names and
//! on the work that it takes, and one that asks on without reading the answers is cut. While too much waits for the disk, publishers are not read (`disk`).

mod actor;
mod backlog;
mod beginning;
mod clock;
mod config;
mod conversation;
mod counts;
mod disk;
mod disk_wait;
mod ending;
mod exchange;
mod health;
mod ids;
mod intake;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the broker does not use it yet"))]
mod journal;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the broker does not use it yet"))]
mod ledger;
mod links;
mod listeners;
pub mod log;
mod membership;
mod meters;
mod peer;
mod publish_receipt;
mod publishers;
pub mod record;
mod repeat_key;
pub mod routing;
mod server;
mod stamps;
mod store;
mod stored_times;
mod strangers;
#[cfg(test)]
mod stuck_store;
mod trimmed;
mod worker_ids;
mod writer;

pub use config::{BrokerConfig, Storage};
pub use health::BrokerHealth;
pub use meters::BrokerMeters;
pub use server::serve;
