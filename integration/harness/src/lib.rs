//! What the tests of whole clusters share: real processes, real clients, real requests.
//!
//! Each file of tests uses a part of it.
#![allow(dead_code, unused_imports)]

mod client;
mod cluster;
mod crowd;
mod disk;
mod event_stream;
mod feed;
mod http;
mod listener;
mod load;
mod log_pipe;
mod process;
mod proxy;
mod push;
mod relay;
mod returning;
mod saying;
mod seed;
mod table;
mod transcript;
mod verdict;

use std::future::Future;
use std::time::Duration;

pub use client::{Client, Frame, connect, handshake};
pub use cluster::{Builder, Cluster, start_gateway, start_publisher};
pub use crowd::{Audiences, Crowd};
pub use disk::SmallDisk;
pub use event_stream::{Block, EventStream};
pub use feed::{Ended, Feed, Heard, Hello, Protocol, Recovery, To};
pub use http::{Answer, Publisher, Receipt, exchange, receipt};
pub use listener::{Listener, Profile};
pub use load::{Load, Plan};
pub use log_pipe::LogPipe;
pub use process::{Process, Signal, command, command_in};
pub use proxy::{End, Mode, Proxy, Towards};
pub use push::{Audience, Outcome, Push, content, group_name, parse_content};
pub use returning::{NO_GROUPS, PROTOCOLS, not_recovered, on_disk, open_feed, recovered};
pub use seed::Seed;
pub use table::{Recovered, Row, Table};
pub use transcript::{Entry, Note, Transcript};
pub use verdict::{Verdict, judge};

/// No wait of a test takes longer; what is awaited usually comes within milliseconds.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that nothing tells about.
const POLL: Duration = Duration::from_millis(20);

/// The future's value, or a failed test that says what did not happen.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    })
    .await
}

/// A connection is a file here too: takes as many as the system allows.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be as high as the hard one");
}
