//! Many clients at once.

use campanile_harness::{Cluster, PROTOCOLS, eventually, recovered};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::task::JoinSet;

const CLIENTS: usize = 5_000;

/// How many connect at a time.
const CONNECTING: usize = 100;

/// How many come back at once, and what each of them has missed of each audience.
const RETURNING: usize = 10_000;
const MISSED: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_clients_get_each_event_once_and_leave_no_trace() {
    campanile_harness::raise_file_limit();
    let cluster = Cluster::of(2).start().await;
    let push = &cluster.push[0];
    let connecting = stream::iter(0..CLIENTS).map(|number| {
        let groups: &[&str] = if number % 10 == 0 { &["tenth"] } else { &[] };
        let cluster = &cluster;
        async move { (groups, cluster.client(number % 2, groups).await) }
    });
    let mut reading = JoinSet::new();
    let mut connecting = connecting.buffer_unordered(CONNECTING);
    while let Some((groups, mut client)) = connecting.next().await {
        reading.spawn(async move { (groups, client.texts_until("last").await, client) });
    }
    for number in 0..5 {
        let receipt = push.receipt(&[("content", &format!("event {number}"))]).await;
        assert_eq!((receipt.gateways, receipt.matched), (2, CLIENTS as u64));
    }
    let group = push.receipt(&[("to_group", "tenth"), ("content", "to the tenth")]).await;
    assert_eq!((group.gateways, group.matched), (1, CLIENTS as u64 / 10));
    push.everyone("last").await;

    let everyone: Vec<_> = (0..5).map(|number| format!("event {number}")).collect();
    let tenth = [&everyone[..], &["to the tenth".to_owned()]].concat();
    let mut clients = Vec::new();
    while let Some(read) =
        campanile_harness::within("every client has read", reading.join_next()).await
    {
        let (groups, texts, client) = read.expect("no panic");
        assert_eq!(texts, if groups.is_empty() { &everyone[..] } else { &tenth[..] });
        clients.push(client);
    }
    assert_eq!(clients.len(), CLIENTS);

    // Half of them close their websocket, the others only their connection.
    let rude = clients.split_off(CLIENTS / 2);
    drop(rude);
    stream::iter(clients).for_each_concurrent(CONNECTING, |client| client.leave_for_good()).await;
    for parameters in [&[("content", "x")][..], &[("to_group", "tenth"), ("content", "x")]] {
        eventually("nobody is counted any more", async || {
            let receipt = push.receipt(parameters).await;
            (receipt.matched == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_that_return_at_once_get_what_they_missed() {
    campanile_harness::raise_file_limit();
    let cluster = Cluster::of(1).start().await;
    let push = &cluster.push[0];
    let since = push.position(&[("content", "seen")]).await;
    for number in 0..MISSED {
        push.group("g", &format!("to g {number}")).await;
        push.everyone(&format!("to all {number}")).await;
    }
    let expected: Vec<_> =
        (0..MISSED).flat_map(|n| [format!("to g {n}"), format!("to all {n}")]).collect();
    let returning = stream::iter(0..RETURNING).map(|number| {
        let (cluster, since, expected) = (&cluster, &since, &expected);
        async move {
            let protocol = PROTOCOLS[number % PROTOCOLS.len()];
            let mut feed = recovered(cluster, 0, protocol, &["g"], since).await;
            for content in expected {
                assert_eq!(feed.event().await.1, *content);
            }
            feed
        }
    });
    let mut feeds: Vec<_> = returning.buffer_unordered(1_000).collect().await;
    assert_eq!(push.receipt(&[("to_group", "g"), ("content", "live")]).await.matched, 10_000);
    for feed in &mut feeds {
        assert_eq!(feed.event().await.1, "live");
    }
}
