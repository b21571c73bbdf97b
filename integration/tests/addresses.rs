//! Worker and connection ids: unique in the cluster, never reused, spread evenly.

use std::collections::{BTreeMap, HashSet};

use campanile_harness::{Cluster, Websocket};
use futures_util::future::join_all;

/// The ids of a gateway's two workers, from two clients that connect at once.
async fn workers(cluster: &Cluster, gateway: usize) -> [u64; 2] {
    let clients = [cluster.client(gateway, &[]).await, cluster.client(gateway, &[]).await];
    let ids = clients.each_ref().map(|client| client.worker);
    assert_ne!(ids[0], ids[1], "the second client is at the second worker");
    ids
}

#[tokio::test]
async fn a_worker_id_is_never_given_to_another_gateway() {
    let mut cluster = Cluster::of(2).gateway("--workers 2").start().await;
    let mut seen = HashSet::new();
    let mut note = |ids: [u64; 2]| {
        for id in ids {
            assert!(seen.insert(id), "{id} was given twice: {seen:?}");
            assert!(id < 1 << 53, "{id} is no number for a browser");
        }
    };
    note(workers(&cluster, 0).await);
    note(workers(&cluster, 1).await);
    cluster.replace_gateway(0).await;
    note(workers(&cluster, 0).await);

    // A new broker does not know which ids the old one gave out.
    for _ in 0..3 {
        cluster.broker.kill().await;
        cluster.start_broker_again().await;
        let newest = cluster.add_gateway().await;
        note(workers(&cluster, newest).await);
        cluster.replace_gateway(1).await;
        note(workers(&cluster, 1).await);
    }
}

#[tokio::test]
async fn the_address_of_a_client_that_left_leads_nowhere() {
    let cluster = Cluster::of(1).gateway("--workers 1").start().await;
    let first = cluster.client(0, &[]).await;
    let address = first.address();
    first.leave_for_good().await;
    let mut second = cluster.client(0, &[]).await;
    assert_ne!(second.address(), address);

    let query = address.each_ref().map(|(name, value)| (*name, &**value));
    let push = &cluster.push[0];
    campanile_harness::eventually("404 for a client that left", async || {
        let answer = push.get(&[query[0], query[1], ("content", "psst")]).await;
        (answer.status == 404).then_some(())
    })
    .await;
    push.everyone("last").await;
    assert_eq!(second.texts_until("last").await, [""; 0]);
}

#[tokio::test]
async fn connections_are_spread_evenly_over_the_workers() {
    let cluster = Cluster::of(1).gateway("--workers 4").start().await;
    let clients: Vec<Websocket> = join_all((0..42).map(|_| cluster.client(0, &[]))).await;
    let mut counts = BTreeMap::<u64, usize>::new();
    for client in &clients {
        *counts.entry(client.worker).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [10, 10, 11, 11]);
}
