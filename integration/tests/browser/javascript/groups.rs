//! The groups of a JavaScript client.

use std::collections::BTreeMap;

use campanile_harness::{Cluster, End, Mode, Proxy, Towards};
use serde_json::{Value, json};

use super::client::JsClient;
use super::pushing::{Event, Pushing, to_group};
use super::two_gateways;

/// Waits until this many groups are wanted, and all are confirmed.
async fn has_groups(js: &JsClient<'_>, wanted: usize) {
    js.until(&format!("{wanted} groups"), |notes| {
        let last = notes.iter().rev().find(|note| !note["groups"].is_null())?;
        (last["groups"] == json!({ "wanted": wanted, "confirmed": wanted })).then_some(())
    })
    .await;
}

#[tokio::test]
async fn groups_are_heard_until_left_and_across_a_reconnect() {
    let mut cluster = Cluster::of(1).start().await;
    let mut js = JsClient::in_node(&cluster.gateway_addresses, &json!({ "groups": ["a"] })).await;
    js.opened(1).await;
    js.call("join", &["it's & más"]).await;
    has_groups(&js, 2).await;
    cluster.push[0].group("it's & más", "one").await;
    js.events_until("one").await;
    js.call("leave", &["a"]).await;
    has_groups(&js, 1).await;
    js.call("join", &["b"]).await;
    // The gateway does one after the other, so it has done both.
    has_groups(&js, 2).await;
    cluster.push[0].group("a", "unheard").await;
    cluster.push[0].group("b", "two").await;
    js.events_until("two").await;

    cluster.gateways[0].kill().await;
    for group in ["a", "b", "it's & más"] {
        cluster.push[0].group(group, &format!("missed by {group}")).await;
    }
    cluster.replace_gateway_that_ended(0).await;
    js.opened(2).await;
    has_groups(&js, 2).await;
    let open = js.states().await.pop().expect("it is open");
    let [worker, connection] =
        ["worker", "connection"].map(|part| open["address"][part].to_string());
    let own = [("to_worker_id", &*worker), ("to_connection_id", &connection)];
    cluster.push[0].ok(&[own[0], own[1], ("content", "for it alone")]).await;
    js.events_until("for it alone").await;
    let binary = Some("application/octet-stream");
    let answer = cluster.push[0].post(&[("to_group", "b")], binary, vec![0, 255, 128]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    cluster.push[0].everyone("last").await;
    let (b, more) = (to_group("b"), to_group("it's & más"));
    let expected = [
        (more.clone(), json!("one")),
        (b.clone(), json!("two")),
        (b.clone(), json!("missed by b")),
        (more, json!("missed by it's & más")),
        (json!("connection"), json!("for it alone")),
        (b, json!([0, 255, 128])),
    ];
    assert_eq!(js.events_until("last").await, expected);
    assert_eq!(js.gaps().await, Vec::<Value>::new());
}

/// The contents for each audience, in order.
fn by_audience(events: Vec<Event>) -> BTreeMap<String, Vec<Value>> {
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (to, content) in events {
        told.entry(to.to_string()).or_default().push(content);
    }
    told
}

#[tokio::test]
async fn more_groups_than_a_url_holds_are_resumed_after_any_loss() {
    let cluster = two_gateways().await;
    let proxies = [
        Proxy::to(cluster.gateway_addresses[0]).await,
        Proxy::to(cluster.gateway_addresses[1]).await,
    ];
    let gateways = proxies.each_ref().map(|proxy| proxy.address);
    let groups: Vec<_> = (0..60).map(|number| format!("{number:é>100}")).collect();
    let mut js = JsClient::in_node(&gateways, &json!({ "groups": groups })).await;
    js.opened(1).await;
    has_groups(&js, groups.len()).await;
    let mut pushing = Pushing::start(&cluster.push[0], &groups);
    pushing.some_more().await;
    for proxy in &proxies {
        // The mode of new connections comes first, because the client may be back at once.
        proxy.new_ones(Mode::Truncate(Towards::Client, 300, End::Reset));
        proxy.live(Mode::Cut(End::Reset));
    }
    let mut losses = 1;
    js.lost(losses).await;
    for bytes in [300, 2_000, 8_000, 20_000, 35_000, 50_000, 70_000, 90_000] {
        pushing.some_more().await;
        for proxy in &proxies {
            // Most of these bytes are those of groups that catch up.
            proxy.new_ones(Mode::Truncate(Towards::Client, bytes, End::Reset));
        }
        for _ in &proxies {
            js.call("connect", &[]).await;
            losses += 1;
            js.lost(losses).await;
        }
    }
    for proxy in &proxies {
        proxy.new_ones(Mode::Pass);
    }
    js.call("connect", &[]).await;
    has_groups(&js, groups.len()).await;
    let pushed = pushing.stop().await;
    for group in groups.iter().map(String::as_str).chain(["of nobody"]) {
        cluster.push[0].group(group, "nearly").await;
    }
    cluster.push[0].everyone("last").await;
    let mut heard = by_audience(js.events_until("last").await);
    for group in &groups {
        let last = heard.get_mut(&to_group(group).to_string()).and_then(Vec::pop);
        assert_eq!(last, Some(json!("nearly")), "{group}");
    }
    assert_eq!(heard, by_audience(pushed));
    assert_eq!(js.gaps().await, Vec::<Value>::new());
    for attempt in js.states().await.iter().filter(|note| note["state"] == "connecting") {
        let url = attempt["url"].as_str().expect("a URL");
        let in_url = url.matches("group=").count();
        assert!(url.len() <= 4_000 && (1..groups.len()).contains(&in_url), "{in_url}: {url}");
    }
}
