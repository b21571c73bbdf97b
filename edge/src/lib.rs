//! What all services that face the outside share. Bytes go in, decisions and bytes come out: no IO, no
//! async, no clock.
//!
//! [`Head`] is the head of an HTTP/1 request, and [`query`] decodes what follows its `?`.
//! [`prefers_json`] reads `Accept`.
//! [`Exposure`] says whether a service is open to everybody who reaches it.
//! [`AllowHosts`], [`AllowOrigins`] and [`pages`] decide which web pages may do what. [`websocket`] is
//! RFC 6455. [`Peer`] groups addresses, where something has to be divided fairly between them.
//! [`Principal`] is who a peer is, and decides what it may do, by its [`rights`]. A [`Secret`] is never
//! shown.

mod accept;
mod exposure;
mod head;
mod hosts;
mod origins;
pub mod pages;
mod pattern;
mod peer;
mod principal;
pub mod query;
mod rate;
pub mod rights;
mod secret;
mod strangers;
pub mod websocket;

pub use accept::prefers_json;
pub use exposure::{Exposure, PROXY_HEADERS};
pub use head::{Head, HeadError, MAX_HEAD_BYTES};
pub use hosts::AllowHosts;
pub use origins::{AllowOrigins, most_exposed};
pub use pattern::{MAX_PATTERN_BYTES, Pattern, PatternError};
pub use peer::Peer;
pub use principal::{Action, Principal};
pub use rate::{Bucket, Rate};
pub use secret::Secret;
