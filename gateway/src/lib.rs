//! The edge of a cluster: holds the clients' connections and delivers events to them.
//!
//! How an event flows through a gateway: [`bridge`] receives it from the broker and hands it to the
//! [`registry`] of each worker that has listeners; the registry puts one shared frame into the
//! outbox of each listener's [`socket`] and flushes them. How a client comes: [`server`] accepts,
//! [`door`] reads the request's head, [`websocket`] checks the handshake, and a [`session`] attaches itself to the registry, which greets it when the broker has
//! confirmed its interest. Who comes back gets what it missed from [`recent`], where the bridge keeps
//! what was received lately; [`resumes`] knows who waits for what of the broker.

pub mod absence;
pub mod acceptor;
pub mod bridge;
pub mod client;
pub mod config;
pub mod counting;
pub mod counts;
pub mod delivery;
pub mod dialects;
pub mod door;
pub mod heads;
pub mod health;
pub mod history;
pub mod interest;
pub mod line;
pub mod liveness;
pub mod page;
pub mod recent;
pub mod refusal;
pub mod registry;
pub mod resume;
pub mod resumes;
pub mod rewind;
pub mod seats;
pub mod server;
pub mod session;
pub mod socket;
pub mod subscriptions;
pub mod websocket;
pub mod wish;

pub use config::GatewayConfig;
pub use server::serve;
