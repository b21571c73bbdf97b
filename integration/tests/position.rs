//! Pages that are rendered from a state: they ask for a position, read the state, and listen from that
//! position on. They miss no event, and get none that the state already had.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use campanile_harness::{Cluster, NO_GROUPS, PROTOCOLS, eventually, on_disk, recovered, within};
use campanile_messages::Position;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;
use tempfile::TempDir;

/// How many pages are loaded, how many at a time, and how many events each of them gets.
const PAGES: usize = 1_000;
const AT_ONCE: usize = 8;
const EVENTS: u64 = 30;

/// How many callers push as fast as they can, and how many items at a time.
const CALLERS: usize = 4;
const ITEMS: usize = 20;

/// Asks a publisher or a gateway where the log ends.
async fn ask(http: &reqwest::Client, address: SocketAddr) -> Position {
    let request = http.get(format!("http://{address}/position")).send();
    let answer = within("an answer", request).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    let line = answer.text().await.expect("a text");
    line.strip_suffix('\n').and_then(|line| line.parse().ok()).expect("a position and a line feed")
}

/// Pushes batches to everyone until it is stopped, and notes the highest sequence of the answers. Returns
/// all of them.
async fn push(address: SocketAddr, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) -> Vec<u64> {
    let mut sequences = Vec::new();
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let body = Value::from(vec![serde_json::json!({ "content": "an event" }); ITEMS]).to_string();
    while !stop.load(Ordering::SeqCst) {
        let request = http
            .post(format!("http://{address}/batch"))
            .header("Content-Type", "application/json")
            .body(body.clone());
        let answer = within("a batch is answered", request.send()).await.expect("an answer");
        let text = answer.text().await.expect("a text");
        let items: Value = serde_json::from_str(&text).expect("JSON");
        for item in items.as_array().expect("an array") {
            let position = item["receipt"]["position"].as_str().expect("accepted");
            let position: Position = position.parse().expect("a position");
            answered.fetch_max(position.sequence, Ordering::SeqCst);
            sequences.push(position.sequence);
        }
    }
    sequences
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_gets_every_event_above_its_position_once() {
    let directory = TempDir::new().expect("a directory");
    let cluster = Cluster::of(2)
        .publishers(2)
        .broker(&on_disk(directory.path()))
        // On a busy machine, many events pass between the question and the connection.
        .gateway("--max-replay 16MiB")
        .start()
        .await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let publishers: Vec<_> = cluster.push.iter().map(|push| push.address).collect();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let address = publishers[caller % publishers.len()];
            tokio::spawn(push(address, stop.clone(), answered.clone()))
        })
        .collect();
    eventually("the first pushes are answered", async || {
        (answered.load(Ordering::SeqCst) > 0).then_some(())
    })
    .await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let load = async |page: usize| {
        let asked = [publishers[0], cluster.gateway_addresses[0], publishers[1]][page % 3];
        let accepted_before = answered.load(Ordering::SeqCst);
        let position = ask(&http, asked).await;
        assert!(position.sequence >= accepted_before, "{position} has not {accepted_before}");
        // Here the page reads its state.
        let (gateway, protocol) = (page % 2, PROTOCOLS[page % PROTOCOLS.len()]);
        let since = position.to_string();
        let mut feed = recovered(&cluster, gateway, protocol, NO_GROUPS, &since).await;
        let mut seen = Vec::new();
        for _ in 0..EVENTS {
            let (at, _) = feed.event().await;
            assert_eq!(at.epoch, position.epoch, "page {page}");
            seen.push(at.sequence);
        }
        (page, position.sequence, seen)
    };
    let pages = stream::iter(0..PAGES).map(load).buffer_unordered(AT_ONCE);
    let pages: Vec<_> = pages.collect().await;
    assert_eq!(pages.len(), PAGES);
    stop.store(true, Ordering::SeqCst);
    let mut all = BTreeSet::new();
    for caller in callers {
        all.extend(within("a caller ends", caller).await.expect("no panic"));
    }
    // All events are for everyone, so none of them may be missing.
    for (page, position, seen) in pages {
        let expected = all.range(position + 1..).take(seen.len());
        assert!(seen.iter().eq(expected), "page {page} after {position}: {seen:?}");
    }
}

#[tokio::test]
async fn a_position_outlives_its_broker() {
    let directory = TempDir::new().expect("a directory");
    let mut cluster = Cluster::of(1).broker(&on_disk(directory.path())).start().await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let gateway = cluster.gateway_addresses[0];
    cluster.push[0].everyone("before").await;
    let position = ask(&http, cluster.push[0].address).await.to_string();
    assert_eq!(ask(&http, gateway).await.to_string(), position);
    cluster.push[0].everyone("after").await;
    cluster.broker.kill().await;
    let refused = eventually("the gateway notices", async || {
        let answer = http.get(format!("http://{gateway}/position")).send().await.expect("answer");
        (answer.status().as_u16() != 200).then_some(answer)
    })
    .await;
    assert_eq!(refused.status().as_u16(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    cluster.start_broker_again().await;
    let mut feed = recovered(&cluster, 0, PROTOCOLS[0], NO_GROUPS, &position).await;
    assert_eq!(feed.event().await.1, "after");
}
