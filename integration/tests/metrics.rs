//! What `/metrics` shows is what `docs/metrics.md` says, and the numbers are right.

#[path = "metrics/contract.rs"]
mod contract;
#[path = "metrics/scrape.rs"]
mod scrape;

use campanile_harness::client::raw::Client;
use campanile_harness::{
    Cluster, Feed, Hello, NO_GROUPS, Protocol, exchange, handshake, not_recovered, open_feed,
};
use serde_json::json;

use contract::assert_documented;
use scrape::{reaches, scrape};

const ADMIN: &str = "--admin-listen 127.0.0.1:0";

#[tokio::test]
async fn the_metrics_of_a_gateway_are_those_of_the_docs() {
    let cluster = Cluster::of(1).gateway(ADMIN).start().await;
    assert_documented("Gateway", "campanile_gateway_", &scrape(&cluster.gateways[0]).await);
}

/// The contents of a thousand pushes, ten requests of a hundred.
fn pushes() -> Vec<Vec<serde_json::Value>> {
    let item = |number: usize| json!({ "content": number.to_string() });
    (0..10).map(|batch| (0..100).map(|number| item(batch * 100 + number)).collect()).collect()
}

#[tokio::test]
async fn a_thousand_pushes_to_50_clients_are_50_000_deliveries() {
    let cluster = Cluster::of(1).gateway(&format!("--workers 2 {ADMIN}")).start().await;
    let (gateway, push) = (&cluster.gateways[0], &cluster.push[0]);
    let mut plain = Vec::new();
    let mut feeds: Vec<(Feed, Hello)> = Vec::new();
    for _ in 0..20 {
        plain.push(cluster.client(0, NO_GROUPS).await);
        feeds.push(open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, None).await);
    }
    for _ in 0..10 {
        feeds.push(open_feed(&cluster, 0, Protocol::EventsByHeader, NO_GROUPS, None).await);
    }
    let before = scrape(gateway).await;
    for (dialect, count) in [("plain", 20.0), ("v1", 20.0), ("events", 10.0)] {
        assert_eq!(before.of("connections", &[("dialect", dialect)]), count, "{dialect}");
        assert_eq!(before.of("connections_opened_total", &[("dialect", dialect)]), count);
    }
    assert_eq!(before.of("deliveries_total", &[]), 0.0);
    for (number, items) in pushes().iter().enumerate() {
        push.batch(items).await;
        let seen = scrape(gateway).await.of("deliveries_total", &[]);
        assert!(seen <= 5_000.0 * (number + 1) as f64, "{seen} after {number}");
    }
    for client in &mut plain {
        client.texts_until("999").await;
    }
    for (feed, _) in &mut feeds {
        feed.contents_until("999").await;
    }
    let after = reaches(gateway, "deliveries_total", &[], 50_000.0).await;
    let durations = after.of("delivery_duration_seconds_count", &[]);
    assert!((2.0..=2_000.0).contains(&durations), "one for each batch and worker: {durations}");

    // One goes away, misses ten and comes back; a request is refused. What is replayed counts.
    drop(feeds.remove(0));
    reaches(gateway, "connections", &[("dialect", "v1")], 19.0).await;
    let since = push.position(&[("to_group", "nobody"), ("content", "x")]).await;
    for number in 0..10 {
        push.everyone(&format!("missed {number}")).await;
    }
    reaches(gateway, "deliveries_total", &[], 50_490.0).await;
    let (mut feed, _) = open_feed(&cluster, 0, Protocol::V1, NO_GROUPS, Some(&since)).await;
    feed.contents_until("missed 9").await;
    let target = handshake("/?what=1");
    assert_eq!(exchange(cluster.gateway_addresses[0], target.as_bytes()).await.status, 400);
    let after = reaches(gateway, "deliveries_total", &[], 50_500.0).await;
    assert_eq!(after.of("resumes_total", &[("result", "recovered")]), 1.0);
    assert_eq!(after.of("connections_refused_total", &[("reason", "400")]), 1.0);
    assert_eq!(after.sum("connections_opened_total"), 51.0);
    assert_eq!(after.sum("connections_closed_total"), 1.0);
    assert_eq!(after.sum("connections"), 50.0);
    drop((plain, feeds, feed));
    let ended = reaches(gateway, "connections", &[("dialect", "events")], 0.0).await;
    assert_eq!(ended.of("deliveries_total", &[]), 50_500.0);
    reaches(gateway, "outbox_bytes", &[], 0.0).await;
}

#[tokio::test]
async fn each_way_to_end_or_to_be_refused_has_a_count() {
    let flags = format!("--workers 1 --max-connections 3 {ADMIN}");
    let mut cluster = Cluster::of(1).gateway(&flags).start().await;
    let address = cluster.gateway_addresses[0];

    // A client that closes, one that is gone and one that breaks the protocol.
    cluster.client(0, &[]).await.leave_for_good().await;
    reaches(&cluster.gateways[0], "connections_closed_total", &[("code", "1000")], 1.0).await;
    drop(cluster.client(0, &[]).await);
    reaches(&cluster.gateways[0], "connections_closed_total", &[("code", "other")], 1.0).await;
    let mut wrong = Client::open(address);
    wrong.recv();
    wrong.send(&[0x83, 0x80, 0, 0, 0, 0]);
    wrong.expect_close(1002);
    drop(wrong);
    reaches(&cluster.gateways[0], "connections_closed_total", &[("code", "1002")], 1.0).await;

    // One delivery is as long as its frame: two bytes of header, and the content.
    let mut plain = cluster.client(0, &["news"]).await;
    cluster.push[0].group("news", "hi").await;
    assert_eq!(plain.text().await, "hi");
    cluster.push[0].to(&plain, "you").await;
    assert_eq!(plain.text().await, "you");
    let seen = reaches(&cluster.gateways[0], "delivered_bytes_total", &[], 4.0 + 5.0).await;
    assert_eq!(seen.of("deliveries_total", &[]), 2.0);

    // What a client publishes, and what it may not.
    let mut v1 = cluster.client_v1(0, &[]).await;
    v1.say(r#"{"type":"publish","group":"news","content":"mine"}"#).await;
    assert_eq!(v1.json().await["type"], "published");
    v1.say(r#"{"type":"publish","content":"mine"}"#).await;
    assert_eq!(v1.json().await["code"], "invalid_group");
    assert_eq!(plain.text().await, "mine");
    let seen = reaches(&cluster.gateways[0], "deliveries_total", &[], 3.0).await;
    assert_eq!(seen.of("publishes_total", &[("result", "accepted")]), 1.0);
    assert_eq!(seen.of("publishes_total", &[("result", "invalid_group")]), 1.0);
    assert_eq!(seen.sum("publishes_total"), 2.0);

    // Refused: by a status, by a message, and for lack of room. Health checks are none.
    assert_eq!(exchange(address, handshake("/?what=1").as_bytes()).await.status, 400);
    let refused = Client::open_v1(address, "/?what=1").json();
    assert_eq!(refused["code"], "bad_request");
    let health = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(address, health.as_bytes()).await.status, 200);
    let third = cluster.client(0, &[]).await;
    assert_eq!(exchange(address, handshake("/").as_bytes()).await.status, 503);
    let seen = scrape(&cluster.gateways[0]).await;
    for (reason, count) in [("400", 1.0), ("1008", 1.0), ("503", 1.0)] {
        assert_eq!(seen.of("connections_refused_total", &[("reason", reason)]), count, "{reason}");
    }
    assert_eq!(seen.sum("connections_refused_total"), 3.0);
    assert_eq!(seen.of("handshake_limit_hits_total", &[("limit", "max_connections")]), 1.0);
    assert_eq!(seen.sum("handshake_limit_hits_total"), 1.0);
    assert_eq!(seen.sum("connections"), 3.0);
    drop(third);
    reaches(&cluster.gateways[0], "connections", &[("dialect", "plain")], 1.0).await;

    // Without a broker and with another one: a gap, and a position that is of no use.
    cluster.broker.kill().await;
    reaches(&cluster.gateways[0], "link_up", &[], 0.0).await;
    cluster.start_broker_again().await;
    let gap = [("reason", "epoch_changed")];
    let seen = reaches(&cluster.gateways[0], "gaps_total", &gap, 1.0).await;
    assert_eq!((seen.of("link_up", &[]), seen.of("link_connects_total", &[])), (1.0, 2.0));
    drop((plain, v1));
    reaches(&cluster.gateways[0], "connections", &[("dialect", "v1")], 0.0).await;
    let foreign = "0123456789abcdef-1";
    drop(not_recovered(&cluster, Protocol::V1, foreign, "epoch_changed").await);
    drop(not_recovered(&cluster, Protocol::V1, "yesterday", "malformed").await);
    let seen = scrape(&cluster.gateways[0]).await;
    assert_eq!(seen.of("resumes_total", &[("result", "epoch_changed")]), 1.0);
    assert_eq!(seen.of("resumes_total", &[("result", "malformed")]), 1.0);
    assert_eq!(seen.sum("resumes_total"), 2.0);
}
