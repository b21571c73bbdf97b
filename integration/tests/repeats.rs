//! Pushes that are repeated by their id, and pushes that wait until they are delivered.

use campanile_harness::{Answer, Cluster, Frame, Signal, Websocket, connect, on_disk, receipt};
use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;

fn parameters<'a>(id: &'a str, content: &'a str) -> [(&'a str, &'a str); 2] {
    [("id", id), ("content", content)]
}

fn json(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

#[tokio::test]
async fn a_repeat_gets_the_first_receipt_and_is_delivered_once() {
    let cluster = Cluster::of(1).publishers(2).start().await;
    let mut client = cluster.client(0, &["g"]).await;
    let first = cluster.push[0].position(&parameters("order 1", "hi")).await;
    for push in &cluster.push {
        assert_eq!(push.position(&parameters("order 1", "hi")).await, first);
        push.ok(&parameters("order 1", "hi")).await;
    }
    let second = cluster.push[1].position(&parameters("order 2", "hi")).await;
    assert_ne!(second, first);
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, ["hi", "hi"], "once for each id");
}

#[tokio::test]
async fn an_id_of_another_push_is_409_and_nothing_is_pushed() {
    let cluster = Cluster::of(1).publishers(2).start().await;
    let mut client = cluster.client(0, &["g"]).await;
    cluster.push[0].ok(&parameters("order", "hi")).await;
    for other in [
        &[("id", "order"), ("content", "other")][..],
        &[("id", "order"), ("content", "hi"), ("to_group", "g")],
    ] {
        for push in &cluster.push {
            let answer = push.get(other).await;
            assert_eq!(answer.status, 409, "{other:?}: {}", answer.body);
        }
    }
    let binary = cluster.push[0].post(&[("id", "order")], Some("image/png"), "hi").await;
    assert_eq!(binary.status, 409, "{}", binary.body);
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, ["hi"]);
}

#[tokio::test]
async fn repeats_at_the_same_time_are_one_push() {
    let cluster = Cluster::of(1).publishers(2).start().await;
    let mut client = cluster.client(0, &[]).await;
    for round in 0..20 {
        let (id, content) = (format!("order {round}"), format!("round {round}"));
        let pushes = (0..10).map(|number| {
            let push = &cluster.push[number % 2];
            let (id, content) = (&*id, &*content);
            async move { push.position(&parameters(id, content)).await }
        });
        let positions = join_all(pushes).await;
        assert!(positions.iter().all(|position| *position == positions[0]), "{positions:?}");
        assert_eq!(client.text().await, content);
    }
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, [""; 0]);
}

#[tokio::test]
async fn ids_survive_a_broker_that_is_killed() {
    let directory = TempDir::new().expect("a temporary directory");
    let flags = on_disk(directory.path());
    let mut cluster = Cluster::of(1).publishers(2).broker(&flags).start().await;
    let mut client = cluster.client_v1(0, &["g"]).await;
    let to_group = [("id", "order"), ("content", "hi"), ("to_group", "g")];
    let answer = cluster.push[0].get_json(&to_group).await;
    assert_eq!(json(&answer)["durability"], "disk");
    let first = receipt(&answer);
    for _ in 0..2 {
        cluster.broker.kill().await;
        cluster.start_broker_again().await;
        for push in &cluster.push {
            let repeat = push.receipt(&to_group).await;
            assert_eq!((&repeat.epoch, repeat.sequence), (&first.epoch, first.sequence));
            let other = push.get(&parameters("order", "hi")).await;
            assert_eq!(other.status, 409, "{}", other.body);
        }
    }
    let last = cluster.push[0].receipt(&[("content", "last")]).await;
    assert!(last.epoch == first.epoch && last.sequence > first.sequence);
    let mut contents = Vec::new();
    while contents.last().is_none_or(|content| content != "last") {
        let said = client.json().await;
        if said["type"] != "position" {
            contents.push(said["content"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned());
        }
    }
    assert_eq!(contents, ["hi", "last"]);
}

/// The answer to a push to a group that waits until it is delivered.
async fn delivered(cluster: &Cluster, content: String, timeout: &str) -> Value {
    let parameters = [("to_group", "g"), ("wait", "delivered"), ("timeout", timeout)];
    let url = cluster.push[0].url(&parameters);
    let request = reqwest::Client::builder().no_proxy().build().expect("a client").post(url);
    let request = request.header("Content-Type", "text/plain").header("Accept", "application/json");
    let sent = campanile_harness::within("the receipt", request.body(content).send()).await;
    let response = sent.expect("an answer");
    assert_eq!(response.status().as_u16(), 200);
    let body = response.text().await.expect("a body");
    serde_json::from_str(&body).expect("JSON")
}

/// `matched`, `written`, `too_slow`, `silent_gateways`.
fn counts(receipt: &Value) -> [u64; 4] {
    ["matched", "written", "too_slow", "silent_gateways"]
        .map(|name| receipt[name].as_u64().unwrap_or_else(|| panic!("no {name}: {receipt}")))
}

#[tokio::test]
async fn a_push_that_waits_counts_those_to_whom_it_was_written() {
    let cluster = Cluster::of(2).start().await;
    assert_eq!(counts(&delivered(&cluster, "nobody".into(), "5s").await), [0; 4]);
    let mut clients = Vec::new();
    for gateway in [0, 0, 1] {
        clients.push(cluster.client(gateway, &["g"]).await);
        clients.push(cluster.client_v1(gateway, &["h"]).await);
    }
    for content in ["hi", &"x".repeat(100_000)] {
        assert_eq!(counts(&delivered(&cluster, content.to_owned(), "5s").await), [3, 3, 0, 0]);
        for client in clients.iter_mut().step_by(2) {
            assert_eq!(client.next().await, Frame::Text(content.to_owned()));
        }
    }
    let answer = cluster.push[0].get(&[("content", "x"), ("wait", "delivered")]).await;
    assert_eq!((answer.status, &*answer.body), (200, "ok"));
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_in_time_is_counted_as_silent() {
    let cluster = Cluster::of(2).start().await;
    let mut clients = [cluster.client(0, &["g"]).await, cluster.client(1, &["g"]).await];
    cluster.gateways[1].signal(Signal::STOP);
    let receipt = delivered(&cluster, "hi".into(), "500ms").await;
    cluster.gateways[1].signal(Signal::CONT);
    assert_eq!(counts(&receipt), [2, 1, 0, 1]);
    for client in &mut clients {
        assert_eq!(client.text().await, "hi", "it is accepted all the same");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_are_true_while_a_client_becomes_too_slow() {
    let cluster = Cluster::of(1).gateway("--max-outbox 256KiB --workers 1").start().await;
    let stream = connect(cluster.gateway_addresses[0], Some(4096)).await;
    let mut slow = Websocket::open(stream, &["g"], None).await.greeted().await;
    let mut fast = cluster.client(0, &["g"]).await;
    let reading = tokio::spawn(async move {
        while let Frame::Text(text) = fast.next().await {
            if text == "last" {
                return;
            }
        }
        panic!("the fast client was closed");
    });
    // First the kernel takes events for it, then the outbox, which does not count as written.
    let (mut written, mut too_slow, mut pushed) = (0, 0, 0);
    while too_slow == 0 {
        let receipt = delivered(&cluster, "x".repeat(96 << 10), "300ms").await;
        let [matched, to_clients, slow, silent] = counts(&receipt);
        assert_eq!((matched, silent), (2, 0), "{receipt}");
        assert!((1..=2).contains(&to_clients) && to_clients + slow <= 2, "{receipt}");
        written += to_clients - 1;
        too_slow += slow;
        pushed += 1;
        assert!(pushed < 500, "it is never too slow");
    }
    let mut read = 0;
    while let Frame::Text(_) = slow.next().await {
        read += 1;
    }
    // A push that had begun was finished when the client was closed.
    assert!((written..=written + 1).contains(&read), "{read} read, {written} written of {pushed}");
    assert_eq!(counts(&delivered(&cluster, "last".into(), "5s").await), [1, 1, 0, 0]);
    reading.await.expect("it got everything");
}
