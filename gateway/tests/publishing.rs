//! What clients publish: how it is answered, what is refused, and what happens without a broker.

mod harness;
#[path = "tokens/issuer.rs"]
#[allow(dead_code, reason = "these tests need only tokens that are valid")]
mod issuer;
#[path = "publishing/users.rs"]
mod users;

use std::sync::Arc;
use std::time::Duration;

use campanile_gateway::{ClientRates, GatewayConfig, GatewayLimits};
use campanile_harness::client::raw::{CLOSE, Client, FIN, TEXT, frame, request};
use campanile_harness::link::group;
use campanile_harness::link::script::{Link, Script, at};
use campanile_messages::link::Refusal;
use campanile_messages::{Address, ConnectionId, Content, FromBroker, ToBroker, WorkerId};
use serde_json::{Value, json};
use tokio::sync::watch;

use harness::Gateway;

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

/// As many publishes as a connection may have without an answer.
const MAX_UNANSWERED: usize = 64;

fn start(change: impl FnOnce(&mut GatewayConfig)) -> (Script, Gateway, Link) {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, change);
    let link = script.accept(at(7), None);
    (script, gateway.until_ready(), link)
}

/// So many publishes per second, and ten times as many at once.
fn rate(publishes: u32) -> watch::Receiver<Arc<GatewayLimits>> {
    let rates = ClientRates::default().with_publishes(publishes);
    GatewayLimits { rates, ..GatewayLimits::default() }.fixed()
}

/// A client that has received its welcome, and its connection.
#[track_caller]
fn welcomed(mut client: Client) -> (Client, u64) {
    let welcome = client.json();
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    (client, welcome["connection"].as_u64().expect("a number"))
}

#[track_caller]
fn client(gateway: &Gateway, target: &str) -> (Client, u64) {
    welcomed(Client::open_v1(gateway.address, target))
}

fn publish(content: &str, more: Value) -> Value {
    let mut publish = json!({ "type": "publish", "group": "news", "content": content });
    let more = more.as_object().expect("fields").clone();
    publish.as_object_mut().expect("an object").extend(more);
    publish
}

/// The next answer to a publish, after which events and positions are passed over.
#[track_caller]
fn answer(client: &mut Client) -> Value {
    loop {
        let said = client.json();
        if said["type"] == "published" || said["type"] == "error" {
            return said;
        }
    }
}

#[track_caller]
fn refusal(client: &mut Client, publish: &Value) -> String {
    client.say(publish);
    let said = answer(client);
    assert_eq!((&said["type"], &said["group"]), (&json!("error"), &Value::Null), "{said}");
    assert_eq!(said["ref"], publish["ref"], "{said}");
    said["code"].as_str().expect("a code").to_owned()
}

#[test]
fn a_publish_reaches_everyone_in_the_group_and_its_sender() {
    let gateway = Gateway::start(|_| {});
    let (mut sender, _) = client(&gateway, "/?group=news");
    let (mut other, _) = client(&gateway, "/?group=news");
    sender.say(&publish("hi", json!({ "ref": "1" })));
    let (mut event, mut published) = (sender.json(), sender.json());
    if event["type"] == "published" {
        std::mem::swap(&mut event, &mut published);
    }
    assert_eq!(published["ref"], "1", "{published}");
    assert_eq!(published["position"], event["id"], "{event}");
    assert_eq!(
        event,
        json!({ "type": "event", "id": event["id"], "to": { "group": "news" }, "content": "hi" })
    );
    assert_eq!(other.json(), event);
}

#[test]
fn without_echo_the_sender_is_left_out() {
    let gateway = Gateway::start(|_| {});
    let (mut sender, _) = client(&gateway, "/?group=news");
    let (mut other, _) = client(&gateway, "/?group=news");
    sender.say(&publish("silent", json!({ "echo": false })));
    sender.say(&publish("heard", json!({})));
    let heard: Vec<_> = std::iter::from_fn(|| Some(sender.json()))
        .filter(|said| said["type"] != "position")
        .take(3)
        .map(|said| said["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(heard.iter().flatten().collect::<Vec<_>>(), ["heard"]);
    assert_eq!(other.json()["content"], "silent");
    assert_eq!(other.json()["content"], "heard");
}

#[test]
fn the_broker_gets_a_publish_as_a_publisher_sends_it() {
    let (script, gateway, _link) = start(|_| {});
    let (mut sender, connection) = client(&gateway, "/");
    let binary =
        json!({ "type": "publish", "group": "news", "content_base64": "/w==", "echo": false });
    sender.say(&binary);
    let mut link = script.accept_publisher(at(7));
    assert_eq!(link.unanswered, 1);
    let expected = ToBroker::Publish {
        number: 1,
        unanswered: 1,
        id: None,
        count_within_millis: None,
        audience: group("news"),
        except: Some(Address { worker: WorkerId(0), connection: ConnectionId(connection) }),
        content: Content::Binary(vec![0xff].into()),
        from: None,
    };
    assert_eq!(link.recv(), expected);
    link.accept(1, 8);
    let published = json!({ "type": "published", "position": "0000000000000001-8" });
    assert_eq!(sender.json(), published);
}

#[test]
fn a_gateway_whose_clients_do_not_publish_has_one_link() {
    let (script, gateway, _link) = start(|_| {});
    let (mut sender, _) = client(&gateway, "/?group=news");
    sender.say(&json!({ "type": "ping" }));
    assert_eq!(sender.json()["type"], "pong");
    assert!(!script.has_newcomer());
    sender.say(&publish("hi", json!({})));
    let mut link = script.accept_publisher(at(7));
    assert_eq!(link.published(), (1, "hi".to_owned()));
}

#[test]
fn a_publish_that_cannot_be_read_says_what_is_wrong() {
    let gateway = Gateway::start(|_| {});
    let (mut sender, _) = client(&gateway, "/");
    for (publish, code) in [
        (json!({ "type": "publish", "content": "hi", "ref": "a" }), "invalid_group"),
        (
            json!({ "type": "publish", "group": "a\n", "content": "hi", "ref": "a" }),
            "invalid_group",
        ),
        (json!({ "type": "publish", "group": "news", "ref": "b" }), "malformed"),
        (publish("hi", json!({ "content_base64": "aGk=", "ref": "c" })), "malformed"),
        (
            json!({ "type": "publish", "group": "news", "content_base64": "?", "ref": "d" }),
            "malformed",
        ),
        (publish("hi", json!({ "id": "", "ref": "e" })), "malformed"),
        (publish("hi", json!({ "id": "k", "ref": "f" })), "no_user"),
        (json!({ "type": "publish", "content": 7 }), "malformed"),
        (publish("hi", json!({ "echo": "no" })), "malformed"),
        (publish("hi", json!({ "content_type": "text" })), "malformed"),
        (json!({ "type": "join", "group": "news", "content": "hi" }), "malformed"),
    ] {
        assert_eq!(refusal(&mut sender, &publish), code, "{publish}");
    }
    sender.say(&publish("hi", json!({ "ref": "x".repeat(65) })));
    assert_eq!(answer(&mut sender)["code"], "malformed");
    sender.say(&publish("hi", json!({ "ref": "x".repeat(64) })));
    assert_eq!(answer(&mut sender)["type"], "published");
}

#[test]
fn a_strangers_page_may_listen_and_not_publish() {
    let gateway = Gateway::start(|_| {});
    let open = |headers: &[&str]| {
        let headers = [&[V1], headers].concat();
        welcomed(Client::open_with(gateway.address, &request("/?group=news", &headers))).0
    };
    let mut stranger = open(&["Origin: https://evil.example"]);
    assert_eq!(refusal(&mut stranger, &publish("evil", json!({ "ref": "1" }))), "not_allowed");
    let mut nameless = open(&["Sec-Fetch-Site: cross-site"]);
    assert_eq!(refusal(&mut nameless, &publish("evil", json!({}))), "not_allowed");
    let mut own = open(&["Origin: http://localhost:3000", "Sec-Fetch-Site: same-site"]);
    own.say(&publish("mine", json!({})));
    assert_eq!(answer(&mut own)["type"], "published");
    assert_eq!(stranger.json()["content"], "mine");
}

#[test]
fn a_listed_page_may_publish() {
    let gateway = Gateway::start(|config| {
        config.allow_origins = "https://app.example".parse().expect("a list");
    });
    let headers = [V1, "Origin: https://app.example"];
    let (mut page, _) = welcomed(Client::open_with(gateway.address, &request("/", &headers)));
    page.say(&publish("hi", json!({})));
    assert_eq!(answer(&mut page)["type"], "published");
}

#[test]
fn a_client_that_publishes_too_often_is_told_and_others_are_not() {
    let gateway = Gateway::start(|config| config.limits = rate(1));
    let (mut sender, _) = client(&gateway, "/?group=news");
    let (mut other, _) = client(&gateway, "/?group=news");
    for number in 0..100 {
        sender.say(&publish("x", json!({ "ref": number.to_string(), "echo": false })));
    }
    let answers: Vec<_> = (0..100).map(|_| answer(&mut sender)).collect();
    let accepted = answers.iter().filter(|answer| answer["type"] == "published").count();
    assert!((10..30).contains(&accepted), "{accepted}");
    let limited = answers.iter().filter(|answer| answer["code"] == "rate_limited").count();
    assert_eq!(accepted + limited, 100);
    // The connection stays open, and others have a rate of their own.
    sender.say(&json!({ "type": "ping" }));
    other.say(&publish("calm", json!({})));
    assert_eq!(answer(&mut other)["type"], "published");
    while sender.json()["type"] != "pong" {}
}

#[test]
fn a_client_that_goes_on_to_publish_too_often_is_closed() {
    let gateway = Gateway::start(|config| config.limits = rate(1));
    let (mut sender, _) = client(&gateway, "/");
    for _ in 0..400 {
        // The gateway may have closed the connection already.
        let text = publish("x", json!({})).to_string();
        let _ = sender.try_send(&frame(FIN | TEXT, text.as_bytes()));
    }
    loop {
        let received = sender.recv();
        if received.first == FIN | CLOSE {
            assert_eq!(received.closing().0, 4429);
            return;
        }
    }
}

#[test]
fn what_a_connection_has_unanswered_is_bounded() {
    let (script, gateway, _link) = start(|config| config.limits = rate(1_000));
    let (mut sender, _) = client(&gateway, "/");
    for number in 0..=MAX_UNANSWERED {
        sender.say(&publish(&number.to_string(), json!({ "ref": number.to_string() })));
    }
    let refused = answer(&mut sender);
    assert_eq!((&refused["code"], &refused["ref"]), (&json!("busy"), &json!("64")), "{refused}");
    let mut link = script.accept_publisher(at(7));
    for number in 0..MAX_UNANSWERED as u64 {
        assert_eq!(link.published(), (number + 1, number.to_string()));
        link.accept(number + 1, number + 8);
        let published = answer(&mut sender);
        assert_eq!(published["ref"], number.to_string(), "{published}");
    }
    sender.say(&publish("more", json!({})));
    assert_eq!(link.published().1, "more");
}

#[test]
fn what_a_gateway_has_under_way_is_bounded() {
    let (script, gateway, _link) = start(|config| config.max_pending_bytes = 40 << 10);
    let (mut one, _) = client(&gateway, "/");
    let (mut other, _) = client(&gateway, "/");
    let large = "x".repeat(30 << 10);
    one.say(&publish(&large, json!({})));
    let mut link = script.accept_publisher(at(7));
    assert_eq!(link.published(), (1, large.clone()));
    assert_eq!(refusal(&mut other, &publish(&large, json!({ "ref": "1" }))), "busy");
    link.accept(1, 8);
    assert_eq!(answer(&mut one)["type"], "published");
    other.say(&publish(&large, json!({})));
    assert_eq!(link.published().0, 2);
}

#[test]
fn a_refusal_of_the_broker_has_its_code() {
    let (script, gateway, _link) = start(|_| {});
    let (mut sender, _) = client(&gateway, "/");
    sender.say(&publish("first", json!({})));
    let mut link = script.accept_publisher(at(7));
    link.published();
    link.accept(1, 8);
    answer(&mut sender);
    for (refusal, code) in [
        (Refusal::TooManyUnanswered, "busy"),
        (Refusal::IdsFull, "busy"),
        (Refusal::IdTaken, "id_taken"),
        (Refusal::ShuttingDown, "unavailable"),
    ] {
        sender.say(&publish("x", json!({ "ref": code })));
        let (number, _) = link.published();
        link.send(FromBroker::Refused { number, refusal });
        let said = answer(&mut sender);
        assert_eq!((&said["code"], &said["ref"]), (&json!(code), &json!(code)), "{said}");
    }
}

#[test]
fn a_link_that_breaks_loses_no_publish_and_repeats_none() {
    let (script, gateway, _link) = start(|_| {});
    let (mut sender, _) = client(&gateway, "/");
    for number in 1..=3 {
        sender.say(&publish(&number.to_string(), json!({ "ref": number.to_string() })));
    }
    let mut link = script.accept_publisher(at(7));
    assert_eq!(link.published(), (1, "1".to_owned()));
    assert_eq!(link.published(), (2, "2".to_owned()));
    link.accept(1, 8);
    assert_eq!(answer(&mut sender)["ref"], "1");
    drop(link);
    // What was handed over comes again under its number, to the same log only.
    let mut link = script.accept_publisher(at(9));
    assert_eq!(link.unanswered, 2);
    assert_eq!(link.published(), (2, "2".to_owned()));
    assert_eq!(link.published(), (3, "3".to_owned()));
    link.accept(2, 9);
    link.accept(3, 10);
    for number in ["2", "3"] {
        let published = answer(&mut sender);
        assert_eq!((&published["type"], &published["ref"]), (&json!("published"), &json!(number)));
    }
}

#[test]
fn a_broker_with_another_log_leaves_a_publish_unknown() {
    let (script, gateway, _link) = start(|_| {});
    let (mut sender, _) = client(&gateway, "/");
    sender.say(&publish("lost", json!({ "ref": "1" })));
    let mut link = script.accept_publisher(at(7));
    link.published();
    drop(link);
    let other_log = campanile_messages::Position { epoch: 2, sequence: 0 };
    let mut link = script.accept_publisher(other_log);
    let said = answer(&mut sender);
    assert_eq!((&said["code"], &said["ref"]), (&json!("unknown"), &json!("1")), "{said}");
    sender.say(&publish("new", json!({})));
    assert_eq!(link.published().1, "new");
}

#[test]
fn without_a_broker_or_an_answer_the_client_is_told_in_time() {
    let (script, gateway, _link) = start(|config| {
        config.broker_wait = Duration::from_millis(200);
        config.confirm_limit = Duration::from_millis(200);
    });
    let (mut sender, _) = client(&gateway, "/");
    assert_eq!(refusal(&mut sender, &publish("unsent", json!({ "ref": "1" }))), "unavailable");
    let mut link = script.accept_publisher(at(7));
    assert_eq!(refusal(&mut sender, &publish("unanswered", json!({ "ref": "2" }))), "unknown");
    assert_eq!(link.published().1, "unanswered", "the other was never sent");
}

#[test]
fn what_waits_for_a_client_that_is_gone_is_not_sent() {
    let (script, gateway, _link) = start(|_| {});
    let (mut gone, _) = client(&gateway, "/");
    let (mut stays, _) = client(&gateway, "/");
    gone.say(&publish("gone", json!({})));
    gone.say(&json!({ "type": "ping" }));
    assert_eq!(gone.json()["type"], "pong", "its publish is handed in");
    gone.send(&campanile_harness::client::raw::close(1000, b""));
    gone.expect_close(1000);
    stays.say(&publish("stays", json!({})));
    let mut link = script.accept_publisher(at(7));
    assert_eq!(link.published().1, "stays");
}
