//! The JavaScript client against a real cluster: in Node, and in a page of another origin.

mod client;
mod event_source;
mod groups;
mod pushing;
mod secure;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_harness::{Cluster, End, Mode, Proxy, Signal, start_gateway};
use serde_json::{Value, json};

use crate::chromium::with_page_of;
use client::{JsClient, serve_blank_page};
use pushing::{Pushing, to_group};

fn number_of(cluster: &Cluster, gateway: SocketAddr) -> usize {
    let at = cluster.gateway_addresses.iter().position(|address| *address == gateway);
    at.expect("a gateway of this cluster")
}

async fn two_gateways() -> Cluster {
    Cluster::of(2).gateway("--drain 200ms").start().await
}

/// A state with those of its details that do not vary.
fn state(note: &Value) -> String {
    let state = note["state"].as_str().expect("a word");
    match state {
        "open" => format!("open, recovered: {}", note["recovered"]),
        "waiting" | "closed" => format!("{state}, code: {}", note["code"]),
        _ => state.to_owned(),
    }
}

/// Ends the pushes, and asserts that the client got each of them that is for a client of `g`, once and in
/// order.
async fn assert_heard_all_for_g(js: &JsClient<'_>, cluster: &Cluster, pushing: Pushing) {
    let pushed = pushing.stop_for_g().await;
    cluster.push[0].everyone("last").await;
    assert_eq!(js.events_until("last").await, pushed);
    assert_eq!(js.gaps().await, Vec::<Value>::new());
}

/// Ends the gateways in every way, one at a time and both, and asserts that a client of the group `g`
/// misses nothing.
async fn survives_its_gateways(js: &JsClient<'_>, mut cluster: Cluster) {
    let first = js.opened(1).await;
    let mut pushing = Pushing::start_for_g(&cluster.push[0]);
    pushing.some_more().await;

    let drained = number_of(&cluster, first);
    let other = 1 - drained;
    cluster.gateways[drained].signal(Signal::TERM);
    let second = js.opened(2).await;
    assert_eq!(number_of(&cluster, second), other);
    pushing.some_more().await;
    cluster.gateways[drained].ended().await;
    cluster.replace_gateway_that_ended(drained).await;

    cluster.gateways[other].kill().await;
    assert_eq!(js.opened(3).await, first);
    pushing.some_more().await;

    // Now both are gone, so an attempt fails, too.
    cluster.gateways[drained].kill().await;
    js.lost(4).await;
    pushing.some_more().await;
    cluster.replace_gateway_that_ended(other).await;
    assert_eq!(js.opened(4).await, second);
    pushing.some_more().await;

    assert_heard_all_for_g(js, &cluster, pushing).await;

    let notes = js.notes().await;
    let events = notes.iter().filter(|note| !note["event"].is_null());
    assert!(
        events.clone().all(|event| event["id"].is_string() && event["id"] == event["position"])
    );
    let states = js.states().await;
    let told: Vec<_> = states.iter().map(state).collect();
    let lost = ["waiting, code: 1006", "connecting"];
    let expected = [
        &["connecting", "open, recovered: null", "waiting, code: 1001", "connecting"][..],
        &["open, recovered: true"],
        &lost,
        &["open, recovered: true"],
    ]
    .concat();
    let (known, rest) = told.split_at(expected.len());
    assert_eq!(known, expected);
    // The number of attempts varies.
    let (open, attempts) = rest.split_last().expect("the last outage");
    assert_eq!(open, "open, recovered: true");
    assert!(attempts.chunks(2).all(|attempt| attempt == lost), "{attempts:?}");
    let delay = |note: &Value| note["delay"].as_f64().expect("milliseconds");
    for waiting in states.iter().filter(|note| note["state"] == "waiting") {
        let longest = if waiting["code"] == 1001 { 500.0 } else { 30_000.0 };
        assert!(delay(waiting) < longest, "{waiting}");
    }
}

#[tokio::test]
async fn node_gets_each_event_once_and_in_order_while_gateways_end() {
    let cluster = two_gateways().await;
    let js = JsClient::in_node(&cluster.gateway_addresses, &json!({ "groups": ["g"] })).await;
    survives_its_gateways(&js, cluster).await;
}

#[tokio::test]
async fn a_page_gets_each_event_once_and_in_order_while_gateways_end() {
    with_page_of(&serve_blank_page().await, async |page| {
        let cluster = two_gateways().await;
        let js =
            JsClient::in_page(page, &cluster.gateway_addresses, &json!({ "groups": ["g"] })).await;
        survives_its_gateways(&js, cluster).await;
    })
    .await;
}

#[tokio::test]
async fn a_gateway_without_a_broker_sends_its_clients_to_another() {
    let cluster = Cluster::of(0).start().await;
    let flags = ["--return-limit=1s", "--drain=200ms"].map(str::to_owned);
    let (mut links, mut gateways, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..2 {
        let link = Proxy::to(cluster.broker_address).await;
        let gateway = start_gateway(link.address, &flags);
        addresses.push(gateway.address("the gateway listens").await);
        gateway.said("the gateway takes connections").await;
        links.push(link);
        gateways.push(gateway);
    }
    let js = JsClient::in_node(&addresses, &json!({ "groups": ["g"] })).await;
    let first = js.opened(1).await;
    let mut pushing = Pushing::start_for_g(&cluster.push[0]);
    pushing.some_more().await;

    let cut_off = usize::from(first == addresses[1]);
    links[cut_off].all(Mode::Cut(End::Reset));
    gateways[cut_off].said("no link to the broker, waiting").await;
    pushing.some_more().await;
    assert_eq!(js.opened(2).await, addresses[1 - cut_off]);
    pushing.some_more().await;

    assert_heard_all_for_g(&js, &cluster, pushing).await;
    let states = js.states().await;
    let told: Vec<_> = states.iter().map(state).collect();
    let moved = ["connecting", "open, recovered: null", "waiting, code: 1013", "connecting"];
    assert_eq!(told, [&moved[..], &["open, recovered: true"]].concat());
    let reason = &states[2]["reason"];
    assert_eq!(*reason, json!("no link to the broker, try again later or elsewhere"));
}

#[tokio::test]
async fn a_broker_that_forgot_is_a_gap_live_and_after_a_reconnect() {
    let mut cluster = Cluster::of(1).start().await;
    let mut js = JsClient::in_node(&cluster.gateway_addresses, &json!({ "groups": ["g"] })).await;
    js.opened(1).await;
    cluster.push[0].group("g", "before").await;
    js.events_until("before").await;
    cluster.broker.kill().await;
    cluster.start_broker_again().await;
    let gap_number = async |js: &JsClient<'_>, number: usize| {
        let gaps = js.until("a gap", |notes| {
            let gaps: Vec<_> = notes.iter().map(|note| &note["gap"]).collect();
            gaps.iter().filter(|gap| !gap.is_null()).nth(number).map(|gap| (*gap).clone())
        });
        gaps.await
    };
    let gap = gap_number(&js, 0).await;
    assert_eq!((&gap["reason"], &gap["resuming"]), (&json!("epoch_changed"), &json!(false)));
    cluster.push[0].group("g", "after").await;
    js.events_until("after").await;

    cluster.gateways[0].kill().await;
    cluster.broker.kill().await;
    js.lost(1).await;
    cluster.start_broker_again().await;
    cluster.replace_gateway_that_ended(0).await;
    js.call("connect", &[]).await;
    js.opened(2).await;
    let gap = gap_number(&js, 1).await;
    assert_eq!((&gap["reason"], &gap["resuming"]), (&json!("epoch_changed"), &json!(true)));
    let states = js.states().await;
    let open = states.last().expect("it is open");
    let told = (open["recovered"].clone(), open["reason"].clone());
    assert_eq!(told, (json!(false), json!("epoch_changed")));
    cluster.push[0].group("g", "anew").await;
    let events = js.events_until("anew").await;
    assert_eq!(events, ["before", "after"].map(|content| (to_group("g"), json!(content))));
    assert_eq!(js.gaps().await.len(), 2);
}

#[tokio::test]
async fn a_page_that_is_online_again_reconnects_within_5_s() {
    with_page_of(&serve_blank_page().await, async |page| {
        let cluster = Cluster::of(1).start().await;
        let proxy = Proxy::to(cluster.gateway_addresses[0]).await;
        let js = JsClient::in_page(page, &[proxy.address], &json!({ "groups": ["g"] })).await;
        js.opened(1).await;
        cluster.push[0].group("g", "before").await;
        js.events_until("before").await;
        proxy.live(Mode::Swallow);
        cluster.push[0].group("g", "missed").await;
        let online = Instant::now();
        page.js("dispatchEvent(new Event('online'))", &[]).await;
        js.lost(1).await;
        assert!(online.elapsed() < Duration::from_secs(5), "{:?}", online.elapsed());
        js.opened(2).await;
        cluster.push[0].group("g", "last").await;
        let expected = ["before", "missed"].map(|content| (to_group("g"), json!(content)));
        assert_eq!(js.events_until("last").await, expected);
        assert_eq!(js.gaps().await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
async fn a_refused_page_stops_with_the_reason_but_an_outage_does_not() {
    with_page_of(&serve_blank_page().await, async |page| {
        let mut cluster = Cluster::of(1).start().await;
        let gateway = cluster.gateway_addresses[0];
        let js = JsClient::in_page(page, &[gateway], &json!({ "groups": ["g"] })).await;
        js.opened(1).await;
        let refused = format!(
            "window.refused = new client.constructor('ws://{gateway}/?grups=g', {{
                onState: (state, detail) => notes.push({{ refused: state, ...detail }}) }})"
        );
        page.js(&refused, &[]).await;
        let closed = js
            .until("a refusal", |notes| {
                notes.iter().find(|note| note["refused"] == "closed").cloned()
            })
            .await;
        assert_eq!(closed["code"], 1008);
        let reason = closed["reason"].as_str().expect("a sentence");
        assert!(reason.contains("grups"), "{reason}");
        cluster.gateways[0].kill().await;
        js.lost(2).await;
        cluster.replace_gateway_that_ended(0).await;
        js.opened(2).await;
        let states = js.notes().await;
        let tries = states.iter().filter(|note| note["refused"] == "connecting").count();
        assert_eq!(tries, 1, "a refusal is not tried again");
    })
    .await;
}
