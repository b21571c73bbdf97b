//! The client in JavaScript against a real cluster: in Node, and in a page of another origin, where
//! the browser's own `EventSource` is tested, too.

mod browser;
mod javascript_client;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use browser::{Page, with_page_of};
use campanile_harness::{
    Cluster, End, Mode, Proxy, PushApi, Signal, Towards, start_gateway, within,
};
use javascript_client::{JsClient, serve_blank_page};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Who an event is for, and what it says.
type Event = (Value, Value);

fn to_group(group: &str) -> Value {
    json!({ "group": group })
}

/// A caller that pushes one event after the other, each accepted before the next one.
struct Pushing {
    task: JoinHandle<Vec<Event>>,
    accepted: watch::Receiver<usize>,
    is_stopped: watch::Sender<bool>,
}

impl Pushing {
    /// Pushes to each group in turn, and to everyone.
    fn start(publisher: &PushApi, groups: &[String]) -> Self {
        let (publisher, groups) = (publisher.clone(), groups.to_vec());
        let (count, accepted) = watch::channel(0);
        let (is_stopped, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut events = Vec::new();
            while !*stopped.borrow() {
                let content = format!("push {}", events.len());
                let to = match groups.get(events.len() % (groups.len() + 1)) {
                    None => {
                        publisher.everyone(&content).await;
                        json!("everyone")
                    }
                    Some(group) => {
                        publisher.group(group, &content).await;
                        to_group(group)
                    }
                };
                events.push((to, json!(content)));
                count.send_replace(events.len());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            events
        });
        Self { task, accepted, is_stopped }
    }

    /// Waits until a number of further events are accepted.
    async fn some_more(&mut self) {
        let enough = *self.accepted.borrow() + 50;
        let accepted = self.accepted.wait_for(|accepted| *accepted >= enough);
        within("more pushes are accepted", accepted).await.expect("it pushes on");
    }

    /// All events, in the order of their acceptance.
    async fn stop(self) -> Vec<Event> {
        self.is_stopped.send_replace(true);
        within("the last push", self.task).await.expect("each push is accepted")
    }
}

fn number_of(cluster: &Cluster, gateway: SocketAddr) -> usize {
    let at = cluster.gateway_addresses.iter().position(|address| *address == gateway);
    at.expect("a gateway of this cluster")
}

async fn two_gateways() -> Cluster {
    Cluster::of(2).gateway("--drain 200ms").start().await
}

/// A state with the part of its details that is always the same.
fn state(note: &Value) -> String {
    let state = note["state"].as_str().expect("a word");
    match state {
        "open" => format!("open, recovered: {}", note["recovered"]),
        "waiting" | "closed" => format!("{state}, code: {}", note["code"]),
        _ => state.to_owned(),
    }
}

/// What a client of the group g must hear of while its gateways end in every way, one at a time and
/// both.
async fn survives_its_gateways(js: &JsClient<'_>, mut cluster: Cluster) {
    let first = js.opened(1).await;
    let groups = ["g", "not for it"].map(str::to_owned);
    let mut pushing = Pushing::start(&cluster.push[0], &groups);
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

    // Now both are gone: an attempt fails as well.
    cluster.gateways[drained].kill().await;
    js.lost(4).await;
    pushing.some_more().await;
    cluster.replace_gateway_that_ended(other).await;
    assert_eq!(js.opened(4).await, second);
    pushing.some_more().await;

    let mut pushed = pushing.stop().await;
    pushed.retain(|(to, _)| *to != to_group("not for it"));
    cluster.push[0].everyone("last").await;
    assert_eq!(js.events_until("last").await, pushed);
    assert_eq!(js.gaps().await, Vec::<Value>::new());

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
    // However many attempts that took.
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
async fn in_node_each_event_comes_once_and_in_order_while_gateways_end() {
    let cluster = two_gateways().await;
    let js = JsClient::in_node(&cluster.gateway_addresses, &json!({ "groups": ["g"] })).await;
    survives_its_gateways(&js, cluster).await;
}

#[tokio::test]
async fn in_a_page_of_another_origin_each_event_comes_once_and_in_order_while_gateways_end() {
    with_page_of(&serve_blank_page().await, async |page| {
        let cluster = two_gateways().await;
        let js =
            JsClient::in_page(page, &cluster.gateway_addresses, &json!({ "groups": ["g"] })).await;
        survives_its_gateways(&js, cluster).await;
    })
    .await;
}

#[tokio::test]
async fn a_gateway_without_its_broker_sends_its_clients_to_one_that_has_it() {
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
    let groups = ["g", "not for it"].map(str::to_owned);
    let mut pushing = Pushing::start(&cluster.push[0], &groups);
    pushing.some_more().await;

    let cut_off = usize::from(first == addresses[1]);
    links[cut_off].all(Mode::Cut(End::Reset));
    gateways[cut_off].said("no link to the broker, waiting").await;
    pushing.some_more().await;
    assert_eq!(js.opened(2).await, addresses[1 - cut_off]);
    pushing.some_more().await;

    let mut pushed = pushing.stop().await;
    pushed.retain(|(to, _)| *to != to_group("not for it"));
    cluster.push[0].everyone("last").await;
    assert_eq!(js.events_until("last").await, pushed);
    assert_eq!(js.gaps().await, Vec::<Value>::new());
    let states = js.states().await;
    let told: Vec<_> = states.iter().map(state).collect();
    let moved = ["connecting", "open, recovered: null", "waiting, code: 1013", "connecting"];
    assert_eq!(told, [&moved[..], &["open, recovered: true"]].concat());
    let reason = &states[2]["reason"];
    assert_eq!(*reason, json!("no link to the broker, try again later or elsewhere"));
}

#[tokio::test]
async fn a_broker_that_forgot_is_a_gap_for_who_stayed_and_for_who_comes_back() {
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

/// Waits until so many groups are wanted and confirmed.
async fn has_groups(js: &JsClient<'_>, wanted: usize) {
    js.until(&format!("{wanted} groups"), |notes| {
        let last = notes.iter().rev().find(|note| !note["groups"].is_null())?;
        (last["groups"] == json!({ "wanted": wanted, "confirmed": wanted })).then_some(())
    })
    .await;
}

#[tokio::test]
async fn groups_are_heard_from_their_join_to_their_leave_also_after_a_reconnect() {
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
    // The gateway does one after the other: it has done both.
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

/// What each audience was told, in order.
fn by_audience(events: Vec<Event>) -> BTreeMap<String, Vec<Value>> {
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (to, content) in events {
        told.entry(to.to_string()).or_default().push(content);
    }
    told
}

#[tokio::test]
async fn more_groups_than_fit_into_the_url_are_resumed_wherever_the_connection_is_lost() {
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
        // First what becomes of the next: the client may be back at once.
        proxy.new_ones(Mode::Truncate(Towards::Client, 300, End::Reset));
        proxy.live(Mode::Cut(End::Reset));
    }
    let mut losses = 1;
    js.lost(losses).await;
    for bytes in [300, 2_000, 8_000, 20_000, 35_000, 50_000, 70_000, 90_000] {
        pushing.some_more().await;
        for proxy in &proxies {
            // Most of them are of groups that catch up.
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

#[tokio::test]
async fn a_page_that_is_online_again_replaces_its_dead_connection_within_5_s() {
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

/// Opens the browser's own `EventSource`, and notes what it says as [`JsClient`] does.
async fn event_source<'a>(page: &'a Page, cluster: &Cluster) -> JsClient<'a> {
    let url = format!("http://{}/events?group=g", cluster.gateway_addresses[0]);
    let body = "window.notes = [];
        window.source = new EventSource(arguments[0]);
        source.onmessage = ({ data }) => notes.push({ event: data });
        source.addEventListener('sync', ({ data }) => notes.push({ sync: JSON.parse(data) }));
        source.addEventListener('gap', ({ data }) => notes.push({ gap: JSON.parse(data) }));";
    page.js(body, &[&url]).await;
    JsClient::Browser(page)
}

#[tokio::test]
async fn an_event_source_comes_back_by_itself_and_misses_nothing() {
    with_page_of(&serve_blank_page().await, async |page| {
        let mut cluster = Cluster::of(1).gateway("--drain 200ms").start().await;
        let source = event_source(page, &cluster).await;
        let synced = async |count: usize| {
            let what = format!("sync, {count} times");
            source
                .until(&what, |notes| {
                    let mut syncs = notes.iter().filter(|note| !note["sync"].is_null());
                    Some(syncs.nth(count - 1)?["sync"].clone())
                })
                .await
        };
        assert!(synced(1).await["recovered"].is_null());
        let mut pushing = Pushing::start(&cluster.push[0], &["g", "not for it"].map(str::to_owned));
        pushing.some_more().await;
        for (round, signal) in [(2, Signal::KILL), (3, Signal::TERM)] {
            cluster.gateways[0].signal(signal);
            cluster.gateways[0].ended().await;
            pushing.some_more().await;
            cluster.replace_gateway_that_ended(0).await;
            assert_eq!(synced(round).await["recovered"], true);
            pushing.some_more().await;
        }
        let mut pushed = pushing.stop().await;
        pushed.retain(|(to, _)| *to != to_group("not for it"));
        cluster.push[0].everyone("last").await;
        let heard = source.events_until("last").await;
        let contents = |events: Vec<Event>| events.into_iter().map(|(_, content)| content);
        assert!(contents(heard).eq(contents(pushed)), "not the same events");
        assert_eq!(source.gaps().await, Vec::<Value>::new());
    })
    .await;
}

#[tokio::test]
async fn a_page_that_a_gateway_refuses_stops_with_the_reason_and_an_outage_goes_on() {
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
