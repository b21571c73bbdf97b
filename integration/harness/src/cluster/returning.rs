//! Clients that come back.

use std::path::Path;

use super::Cluster;
use crate::client::{Feed, Hello, Protocol, Recovery};
use crate::deadline::within;

/// All protocols in which a client can come back.
pub const PROTOCOLS: [Protocol; 3] = [Protocol::V1, Protocol::Events, Protocol::EventsByHeader];

/// The groups of a client that names none.
pub const NO_GROUPS: &[&str] = &[];

/// A client of a gateway, after its hello.
pub async fn open_feed(
    cluster: &Cluster,
    gateway: usize,
    protocol: Protocol,
    groups: &[&str],
    since: Option<&str>,
) -> (Feed, Hello) {
    let address = cluster.gateway_addresses[gateway];
    let opened = within("a client connects", Feed::open(address, protocol, groups, since)).await;
    let mut feed = opened.unwrap_or_else(|ended| panic!("{protocol}: {ended:?}"));
    let hello = feed.hello().await;
    (feed, hello)
}

/// As [`open_feed`], for a client that comes back and must get what it missed.
pub async fn recovered(
    cluster: &Cluster,
    gateway: usize,
    protocol: Protocol,
    groups: &[&str],
    since: &str,
) -> Feed {
    let (feed, hello) = open_feed(cluster, gateway, protocol, groups, Some(since)).await;
    let as_asked = (since.to_owned(), Recovery::Recovered);
    assert_eq!((hello.position, hello.recovery), as_asked, "{protocol}");
    feed
}

/// As [`open_feed`], for a client that comes back and must not recover, for this reason.
pub async fn not_recovered(
    cluster: &Cluster,
    protocol: Protocol,
    since: &str,
    reason: &str,
) -> Feed {
    let (feed, hello) = open_feed(cluster, 0, protocol, &["g"], Some(since)).await;
    assert_eq!(hello.recovery, Recovery::NotRecovered(reason.to_owned()), "{protocol} {since:?}");
    assert_ne!(hello.position, since, "{protocol} {since:?}");
    feed
}

/// Flags of a broker that keeps its log in this directory.
pub fn on_disk(directory: &Path) -> String {
    format!("--data-dir {} --durability disk", directory.display())
}
