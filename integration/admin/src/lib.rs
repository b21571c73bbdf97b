//! The operator's listener of a process: `/metrics` and `/health/*`, apart from the ports that clients and
//! backends use.
//!
//! [`Access`] decides who may ask for what, [`Scrape`] is how numbers are written, [`serve`] is the listener.
//! The services register their numbers themselves; this crate knows none of them.

mod access;
mod process;
mod scrape;
mod server;

pub use access::{Access, Opened};
pub use process::ProcessMeters;
pub use scrape::Scrape;
pub use server::{AdminConfig, HealthCheck, serve};
