//! What all services that face the outside share. Bytes go in, decisions and bytes come out: no IO, no
//! async, no clock.
//!
//! [`Head`] is the head of an HTTP/1 request, and [`query`] decodes what follows its `?`.
//! [`prefers_json`] and [`prefers_openmetrics`] read `Accept`.
//! [`Exposure`] says whether a service is open to everybody who reaches it.
//! [`AllowHosts`], [`AllowOrigins`] and [`pages`] decide which web pages may do what. [`websocket`] is
//! RFC 6455. [`Peer`] groups addresses, where something has to be divided fairly between them.
//! [`Principal`] is who a peer is, and decides what it may do, by its [`rights`]. [`tokens`] checks the
//! tokens of clients, [`Keys`] are what backends are known by. A [`Secret`] is never shown.
//! A [`Crowd`] knows the connections of each address, behind proxies by [`client_behind`] and
//! [`proxy_protocol`]. [`tls`] is what listeners need for TLS. [`Incidents`] decides what is logged of what peers
//! can cause at will.

mod accept;
mod bearer;
mod buckets;
mod crowd;
mod exposure;
mod forwarded;
mod head;
mod hosts;
mod incidents;
mod keys;
mod networks;
mod origins;
pub mod pages;
mod pattern;
mod peer;
mod principal;
pub mod proxy_protocol;
pub mod query;
mod rate;
pub mod rights;
mod secret;
mod strangers;
mod tally;
pub mod tls;
pub mod tokens;
pub mod websocket;

pub use accept::{prefers_json, prefers_openmetrics};
pub use bearer::bearer;
pub use buckets::Buckets;
pub use crowd::{AddressLimits, BURST_SECONDS, Crowd, Crowded, PerAddress};
pub use exposure::{Exposure, PROXY_HEADERS};
pub use forwarded::client_behind;
pub use head::{Head, HeadError, MAX_HEAD_BYTES};
pub use hosts::AllowHosts;
pub use incidents::{Incidents, LeftOut};
pub use keys::{
    ApiKey, InvalidKeyHash, KEY_PREFIX, KeyHash, Keys, MAX_KEY_BYTES, SameKey, new_key,
};
pub use networks::{Networks, NetworksError};
pub use origins::{AllowOrigins, most_exposed};
pub use pattern::{MAX_PATTERN_BYTES, Pattern, PatternError};
pub use peer::Peer;
pub use principal::{Action, Principal};
pub use rate::{Bucket, Meter, Rate};
pub use secret::Secret;
pub use tally::Tally;
