//! Clients that do not read are closed or cut, and nobody else notices.

use std::time::{Duration, Instant};

use campanile_harness::{Cluster, Frame, PushApi, Signal, Websocket, eventually};

/// More than an outbox and the kernel together hold for a client that does not read.
const MANY_BYTES: usize = 12 << 20;

/// A content of this length that begins with a number.
fn content(number: usize, len: usize) -> String {
    format!("{number:08}{}", ".".repeat(len - 8))
}

/// Pushes numbered contents of `len` bytes to everyone, one after the other, up to [`MANY_BYTES`].
/// Returns how many.
async fn push_many(push: &PushApi, len: usize) -> usize {
    let count = MANY_BYTES / len;
    for number in 0..count {
        let answer = push.post(&[], Some("text/plain"), content(number, len)).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"));
    }
    count
}

/// Reads numbered contents from 0 on and checks that none is missing.
async fn read_many(mut client: Websocket, len: usize, count: usize) -> Websocket {
    for number in 0..count {
        match client.next().await {
            Frame::Text(text) if text == content(number, len) => {}
            Frame::Text(text) => panic!("event {number}: {} bytes, {:.20}", text.len(), text),
            other => panic!("event {number}: {other:?}"),
        }
    }
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_is_closed_and_others_get_everything() {
    let cluster = Cluster::of(2).gateway("--max-outbox 64KiB --workers 1").start().await;
    let gateway = cluster.gateway_addresses[0];
    let mut slow = Websocket::with_small_buffer(gateway, &[]).await;
    let mut others = Vec::new();
    for gateway in [0, 0, 1] {
        others.push(cluster.client(gateway, &[]).await);
    }
    let len = 8 << 10;
    let reading =
        others.drain(..).map(|other| tokio::spawn(read_many(other, len, MANY_BYTES / len)));
    let reading: Vec<_> = reading.collect();
    push_many(&cluster.push[0], len).await;
    for other in reading {
        others.push(other.await.expect("nothing is missing"));
    }

    // It reads on: what it gets has no hole, and then comes the close code.
    let mut read = 0;
    let code = loop {
        match slow.next().await {
            Frame::Text(text) => assert!(text == content(read, len), "event {read}"),
            Frame::Closed(code, _) => break code,
            other => panic!("after {read} events: {other:?}"),
        }
        read += 1;
    };
    assert_eq!(code, 4001);
    assert!(read > 0 && read < MANY_BYTES / len, "it read {read} events");
    eventually("the slow client is gone", async || {
        (cluster.push[0].receipt(&[("content", "probe")]).await.matched == 3).then_some(())
    })
    .await;
    for other in &mut others {
        cluster.push[0].to(other, "last").await;
        assert!(other.texts_until("last").await.iter().all(|text| text == "probe"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_v1_client_that_is_too_slow_is_closed_in_the_same_way() {
    let cluster = Cluster::of(1).gateway("--max-outbox 64KiB --workers 1").start().await;
    let stream = campanile_harness::connect(cluster.gateway_addresses[0], Some(4096)).await;
    let slow = Websocket::open(stream, &["g"], Some("campanile.v1")).await.greeted().await;
    push_many(&cluster.push[0], 64 << 10).await;
    let (_, code) = slow.closed().await;
    assert_eq!(code, 4001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_larger_than_the_outbox_does_not_make_a_client_slow() {
    let cluster = Cluster::of(1).gateway("--max-outbox 16KiB").start().await;
    let clients = [cluster.client(0, &[]).await, cluster.client(0, &[]).await];
    let (len, count) = (2 << 10, 100);
    // Everything that comes while the gateway is paused comes at once.
    cluster.gateways[0].signal(Signal::STOP);
    for number in 0..count {
        let answer = cluster.push[0].post(&[], Some("text/plain"), content(number, len)).await;
        assert_eq!((answer.status, &*answer.body), (200, "ok"));
    }
    cluster.gateways[0].signal(Signal::CONT);
    for client in clients {
        read_many(client, len, count).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_larger_than_the_outbox_reaches_a_client_that_reads() {
    let cluster = Cluster::of(1).gateway("--max-outbox 64KiB").start().await;
    let mut client = cluster.client(0, &[]).await;
    for number in 0..5 {
        let large = content(number, 1 << 20);
        let answer = cluster.push[0].post(&[], Some("text/plain"), large.clone()).await;
        assert_eq!(answer.status, 200);
        assert!(client.next().await == Frame::Text(large), "event {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_client_is_disconnected_within_the_user_timeout() {
    let cluster = Cluster::of(1).gateway("--user-timeout 1s --workers 1").start().await;
    let mut stuck = Vec::new();
    for _ in 0..5 {
        stuck.push(Websocket::with_small_buffer(cluster.gateway_addresses[0], &["stuck"]).await);
    }
    let _reading = cluster.client(0, &["reading"]).await;
    // Far less than an outbox holds, so only the timeout can end them.
    let large = content(0, 512 << 10);
    let group = [("to_group", "stuck")];
    cluster.push[0].post(&group, Some("text/plain"), large).await;
    let since = Instant::now();
    eventually("clients that are stuck are gone", async || {
        let receipt = cluster.push[0].receipt(&[("to_group", "stuck"), ("content", "x")]).await;
        (receipt.matched == 0).then_some(())
    })
    .await;
    assert!(since.elapsed() > Duration::from_millis(900), "they had no time");
    let receipt = cluster.push[0].receipt(&[("to_group", "reading"), ("content", "x")]).await;
    assert_eq!(receipt.matched, 1);
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_targeted_push_that_cannot_be_written_is_not_answered_ok() {
    let cluster = Cluster::of(1)
        .gateway("--user-timeout 1s --max-outbox 16MiB --workers 1")
        .publisher("--confirm-limit 20s")
        .start()
        .await;
    let stuck = Websocket::with_small_buffer(cluster.gateway_addresses[0], &[]).await;
    push_many(&cluster.push[0], 1 << 20).await;
    let [(worker, w), (connection, c)] = stuck.address();
    let to = [(worker, &*w), (connection, &*c)];
    let answer = cluster.push[0].post(&to, Some("text/plain"), content(0, 1 << 20)).await;
    assert_eq!(answer.status, 404, "{answer:?}");
}
