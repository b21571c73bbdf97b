//! Clients that come back all at once, each with many missed events.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_harness::{Cluster, Feed, PROTOCOLS, PushApi, Recovery, Signal, on_disk, open_feed};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long all clients together may take.
const LIMIT: Duration = Duration::from_secs(240);

/// The clients that come back, and the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    pub clients: usize,
    /// How many events each of them has missed.
    pub missed: usize,
    /// Whether the gateway already has those events, because another client listened to them.
    pub is_warm: bool,
    /// Whether the broker keeps its log in a directory, and is killed and started again.
    pub has_directory: bool,
    /// Workers of the gateway.
    pub workers: usize,
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, missed, is_warm, has_directory, workers } = self;
        let gateway = if *is_warm { "warm" } else { "cold" };
        let log = if *has_directory { "directory, broker killed" } else { "memory" };
        write!(
            f,
            "{clients} clients x {missed} events, {gateway} gateway, {workers} workers, {log}"
        )
    }
}

impl Storm {
    /// Lets all clients come back. Each must get every event that it missed once and in order, then a live
    /// one. Then the gateway must still end in time. Returns how long the clients took.
    pub async fn come(self) -> Duration {
        campanile_harness::raise_file_limit();
        let data = TempDir::new().expect("a temporary directory");
        let broker = if self.has_directory { on_disk(data.path()) } else { String::new() };
        let flags = format!("--workers {} --drain 1s --handshake-limit 2m", self.workers);
        let mut cluster = Cluster::of(1).broker(&broker).gateway(&flags).start().await;
        let since = cluster.push[0].position(&[("to_group", "g"), ("content", "seen")]).await;
        let _stays = if self.is_warm {
            Some(open_feed(&cluster, 0, PROTOCOLS[0], &["g"], None).await)
        } else {
            None
        };
        push_missed(&cluster.push[0], self.missed).await;
        // All of them come while there is no broker, so they are answered together when it is back.
        if self.has_directory {
            cluster.broker.kill().await;
        } else {
            cluster.broker.signal(Signal::STOP);
        }
        let opened = Arc::new(Barrier::new(self.clients + 1));
        let greeted = Arc::new(Barrier::new(self.clients + 1));
        let address = cluster.gateway_addresses[0];
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            let (opened, greeted, since) = (opened.clone(), greeted.clone(), since.clone());
            let protocol = PROTOCOLS[number % PROTOCOLS.len()];
            clients.spawn(async move {
                let feed = Feed::open(address, protocol, &["g"], Some(&since)).await;
                let mut feed = feed.expect("let in");
                opened.wait().await;
                assert_eq!(feed.patient_hello().await.recovery, Recovery::Recovered, "{protocol}");
                greeted.wait().await;
                read_up_to_live(&mut feed).await
            });
        }
        timeout(LIMIT, opened.wait()).await.expect("every client is let in");
        if self.has_directory {
            cluster.start_broker_again().await;
        } else {
            cluster.broker.signal(Signal::CONT);
        }
        let begun = Instant::now();
        let all = timeout(LIMIT, greeted.wait()).await;
        all.unwrap_or_else(|_| panic!("{self}: not every client was greeted in {LIMIT:?}"));
        cluster.push[0].group("g", "live").await;
        let mut done = 0;
        let all = async {
            while let Some(read) = clients.join_next().await {
                assert_eq!(read.expect("no panic"), self.missed, "{self}");
                done += 1;
            }
        };
        let in_time = timeout(LIMIT, all).await.is_ok();
        assert!(in_time, "{self}: only {done} clients had everything in {LIMIT:?}");
        let took = begun.elapsed();
        cluster.gateways[0].signal(Signal::TERM);
        let status = cluster.gateways[0].ended().await;
        assert!(status.success(), "{self}: the gateway ended with {status}");
        took
    }
}

async fn read_up_to_live(feed: &mut Feed) -> usize {
    let mut last = 0;
    for number in 0.. {
        let (position, content) = feed.event().await;
        assert!(last < position.sequence, "{content:?} is out of order");
        last = position.sequence;
        if content == "live" {
            return number;
        }
        assert_eq!(content, format!("missed {number}"));
    }
    unreachable!("the live event comes or the deadline passes")
}

async fn push_missed(publisher: &PushApi, missed: usize) {
    for first in (0..missed).step_by(5_000) {
        let items: Vec<_> = (first..missed.min(first + 5_000))
            .map(|n| json!({"to": {"group": "g"}, "content": format!("missed {n}")}))
            .collect();
        let answers = publisher.batch(&items).await;
        assert!(answers.iter().all(|answer| answer["status"] == 200), "{answers:?}");
    }
}
