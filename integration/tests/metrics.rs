//! What `/metrics` shows is what `docs/metrics.md` says, and the numbers are right.

#[path = "metrics/contract.rs"]
mod contract;
#[path = "tokens/issuer.rs"]
mod issuer;
#[path = "metrics/scrape.rs"]
mod scrape;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile_harness::client::raw::{Client, request};
use campanile_harness::tls::Files;
use campanile_harness::{
    Cluster, Feed, Frame, Hello, NO_GROUPS, Protocol, Websocket, exchange, handshake,
    not_recovered, open_feed,
};
use rustls::ALL_VERSIONS;
use serde_json::json;
use tempfile::TempDir;

use contract::assert_documented;
use issuer::{fresh, settings, token};
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

    let delays = after.of("link_delay_wall_seconds_count", &[]);
    assert!((1.0..=1_000.0).contains(&delays), "one in 10 ms: {delays}");

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
    let mut cluster = Cluster::of(1).gateway(&format!("--workers 1 {ADMIN}")).start().await;
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

    // Refused by a status and by a message. Health checks are not refused.
    assert_eq!(exchange(address, handshake("/?what=1").as_bytes()).await.status, 400);
    let refused = Client::open_v1(address, "/?what=1").json();
    assert_eq!(refused["code"], "unknown_parameter");
    let health = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(address, health.as_bytes()).await.status, 200);
    let seen = scrape(&cluster.gateways[0]).await;
    assert_eq!(seen.of("connections_refused_total", &[("reason", "400")]), 1.0);
    assert_eq!(seen.of("connections_refused_total", &[("reason", "1008")]), 1.0);
    assert_eq!(seen.sum("connections_refused_total"), 2.0);
    assert_eq!(seen.sum("handshake_limit_hits_total"), 0.0);
    assert_eq!(seen.sum("connections"), 2.0);

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

#[tokio::test]
async fn a_full_gateway_counts_whom_it_turns_away() {
    let flags = format!("--workers 1 --max-connections 1 {ADMIN}");
    let cluster = Cluster::of(1).gateway(&flags).start().await;
    let (gateway, address) = (&cluster.gateways[0], cluster.gateway_addresses[0]);
    let _only = cluster.client(0, &[]).await;
    for _ in 0..3 {
        assert_eq!(exchange(address, handshake("/").as_bytes()).await.status, 503);
    }
    let health = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(address, health.as_bytes()).await.status, 200);
    let seen = scrape(gateway).await;
    assert_eq!(seen.of("connections_refused_total", &[("reason", "503")]), 3.0);
    assert_eq!(seen.sum("connections_refused_total"), 3.0);
    assert_eq!(seen.of("handshake_limit_hits_total", &[("limit", "max_connections")]), 4.0);
    assert_eq!((seen.of("accepted_total", &[]), seen.sum("connections")), (5.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_connected_clients_are_counted_by_name() {
    let limits = "--max-groups 2 --max-message 1KiB --max-messages-per-second 2 \
                  --max-joins-per-second 1 --max-publishes-per-second 1";
    let cluster = Cluster::of(1).gateway(&format!("--workers 1 {limits} {ADMIN}")).start().await;
    let (gateway, address) = (&cluster.gateways[0], cluster.gateway_addresses[0]);
    let hits = [
        "max_groups",
        "max_joins_per_second",
        "max_message",
        "max_messages_per_second",
        "max_publishes_per_second",
    ];
    let mut expected = vec![0.0; hits.len()];
    let mut count = |limit: &str| {
        expected[hits.iter().position(|hit| *hit == limit).expect("a limit")] += 1.0;
    };
    let v1 = "Sec-WebSocket-Protocol: campanile.v1";
    let client = || {
        let mut client = Client::open_with(address, &request("/?group=a", &[v1]));
        assert_eq!(client.json()["type"], "welcome");
        client
    };

    // Too many groups: of a client that is there, and of those that come.
    let mut one = client();
    one.say(&json!({ "type": "join", "group": "b" }));
    assert_eq!(one.json()["type"], "joined");
    one.say(&json!({ "type": "join", "group": "c" }));
    assert_eq!(one.json()["code"], "too_many_groups");
    let refused = Client::open_v1(address, "/?group=a&group=b&group=c").json();
    assert_eq!(refused["code"], "too_many_groups");
    assert_eq!(
        exchange(address, handshake("/?group=a&group=b&group=c").as_bytes()).await.status,
        400
    );
    (0..3).for_each(|_| count("max_groups"));

    // What a client says too often. Ten seconds' worth may come at once, and until all has come, there is
    // room for a little more.
    let mut said = |saying: serde_json::Value, times: usize, limit: &str| {
        let mut client = client();
        for _ in 0..times {
            client.say(&saying);
        }
        let refused = (0..times).filter(|_| client.json()["code"] == "rate_limited").count();
        assert!(refused > 0, "{limit}");
        (0..refused).for_each(|_| count(limit));
    };
    said(json!({ "type": "ping" }), 30, "max_messages_per_second");
    said(json!({ "type": "join", "group": "a" }), 13, "max_joins_per_second");
    said(
        json!({ "type": "publish", "group": "a", "content": "x" }),
        13,
        "max_publishes_per_second",
    );

    // A message that is too large.
    let mut large = client();
    large.say(&json!({ "type": "publish", "group": "a", "content": "x".repeat(2_000) }));
    large.expect_close(1009);
    count("max_message");
    reaches(gateway, "client_limit_hits_total", &[("limit", "max_message")], 1.0).await;
    let seen = scrape(gateway).await;
    let of = |limit: &&str| seen.of("client_limit_hits_total", &[("limit", *limit)]);
    assert_eq!(hits.iter().map(of).collect::<Vec<_>>(), expected, "{hits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_handshakes_are_counted_by_what_became_of_them() {
    let files = Files::new(&["localhost"]);
    let flags = format!("--workers 1 {} {ADMIN}", files.flags());
    let cluster = Cluster::of(1).gateway(&flags).start().await;
    let (gateway, address) = (&cluster.gateways[0], cluster.gateway_addresses[0]);
    let mut client = Client::secure(address, &files.authority.client(ALL_VERSIONS), "localhost");
    client.send(&request("/", &[]));
    client.upgraded();
    let no_tls = exchange(address, handshake("/").as_bytes()).await;
    assert_eq!(no_tls.status, 400);
    reaches(gateway, "tls_handshakes_total", &[("result", "completed")], 1.0).await;
    reaches(gateway, "tls_handshakes_total", &[("result", "failed")], 1.0).await;
}

#[tokio::test]
async fn slow_readers_and_positions_that_are_too_far_back_are_counted() {
    let flags = format!("--workers 1 --max-outbox 64KiB --max-replay 64KiB {ADMIN}");
    let cluster = Cluster::of(1).gateway(&flags).start().await;
    let (gateway, push) = (&cluster.gateways[0], &cluster.push[0]);
    let mut slow = Websocket::with_small_buffer(cluster.gateway_addresses[0], &["g"]).await;
    let since = push.position(&[("to_group", "g"), ("content", "first")]).await;
    let content = "x".repeat(64 << 10);
    // More than its outbox and the kernel together hold for it.
    for _ in 0..128 {
        let answer = push.post(&[("to_group", "g")], Some("text/plain"), content.clone()).await;
        assert_eq!(answer.status, 200);
    }
    loop {
        match slow.next().await {
            Frame::Closed(4001, _) => break,
            Frame::Closed(code, _) => panic!("closed with {code}"),
            _ => {}
        }
    }
    drop(slow);
    let seen = reaches(gateway, "slow_closed_total", &[], 1.0).await;
    assert_eq!(seen.of("connections_closed_total", &[("code", "4001")]), 1.0);
    assert_eq!(seen.of("client_limit_hits_total", &[("limit", "max_outbox")]), 1.0);
    drop(not_recovered(&cluster, Protocol::V1, &since, "too_far").await);
    let seen = scrape(gateway).await;
    assert_eq!(seen.of("resumes_total", &[("result", "too_far")]), 1.0);
    assert_eq!(seen.sum("resumes_total"), 1.0);
}

#[tokio::test]
async fn each_token_is_counted_by_what_was_found_out() {
    let directory = TempDir::new().expect("a directory");
    let (file, key) = (directory.path().join("campanile.toml"), directory.path().join("key"));
    let secret = fresh();
    std::fs::write(&key, format!("{secret}\n")).expect("it can be written");
    std::fs::write(&file, settings(&key)).expect("it can be written");
    let flags = format!("--workers 1 --admin-open metrics {ADMIN} --config {}", file.display());
    let cluster = Cluster::of(1).gateway(&flags).start().await;
    let address = cluster.gateway_addresses[0];
    let with = |token: &str| {
        let token = URL_SAFE_NO_PAD.encode(token);
        let offer =
            format!("Sec-WebSocket-Protocol: campanile.v1, base64url.bearer.campanile.{token}");
        Client::open_with(address, &request("/?group=news", &[&offer]))
    };
    let good = token(&secret, json!({ "sub": "42" }));
    let mut client = with(&good);
    assert_eq!(client.json()["type"], "welcome");
    client.say(&json!({ "type": "auth", "token": good }));
    assert_eq!(client.json()["type"], "renewed");
    client.say(&json!({ "type": "auth", "token": token(&secret, json!({ "sub": "43" })) }));
    assert_eq!(client.json()["type"], "error");
    let expired = token(&secret, json!({ "exp": 1_000_000 }));
    let foreign = token(&fresh(), json!({}));
    for (token, code) in
        [(&*expired, "expired"), (&foreign, "invalid_token"), ("no token", "invalid_token")]
    {
        assert_eq!(with(token).json()["code"], code);
    }
    let revoked = token(&secret, json!({ "jti": "stolen" }));
    std::fs::write(&file, settings(&key) + "[tokens.deny]\njti = [\"stolen\"]\n")
        .expect("it can be written");
    cluster.gateways[0].reread().await;
    assert_eq!(with(&revoked).json()["code"], "invalid_token");
    let seen = scrape(&cluster.gateways[0]).await;
    for (result, count) in
        [("accepted", 1.0), ("renewed", 1.0), ("invalid", 3.0), ("expired", 1.0), ("revoked", 1.0)]
    {
        assert_eq!(seen.of("tokens_total", &[("result", result)]), count, "{result}");
    }
    assert_eq!(seen.of("connections_refused_total", &[("reason", "4401")]), 4.0);
    assert_eq!(seen.sum("connections"), 1.0);
}
