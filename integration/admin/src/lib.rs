//! The operator's listener of a process: `/metrics` and `/health/*`, apart from the ports that clients and
//! backends use.
//!
//! [`Access`] decides who may ask for what, [`Scrape`] is how numbers are written, [`serve`] is the listener, [`Guard`] what those who
//! [mount](Mount) more pages on it ask first.
//! The services register their numbers themselves; this crate knows none of them.

mod access;
mod attempts;
mod body;
mod cookies;
mod entrance;
mod guard;
mod health;
mod origin;
mod process;
mod scrape;
mod seats;
mod server;
mod sessions;

pub use access::{Access, Opened, Refused, Wanted};
pub use body::form;
pub use guard::{Admitted, Guard, SignedIn, refusal, said};
pub use health::HealthCheck;
pub use process::ProcessMeters;
pub use scrape::Scrape;
pub use server::{AdminConfig, Mount, serve};
pub use sessions::{SESSION_LIMIT, SessionId};
