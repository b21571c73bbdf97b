//! Clients whose token comes in their first message.

use std::time::{Duration, Instant};

use campanile_gateway::GatewayLimits;
use campanile_harness::DEADLINE;
use campanile_harness::client::raw::{CLOSE, Client, FIN, PING, PONG, TEXT, frame, request};
use campanile_harness::link::{Publisher, group};
use campanile_messages::Audience;
use serde_json::json;

use super::harness::{Gateway, broker};
use super::issuer::{access, token};
use super::{V1, assert_refused, good, start, start_with};

fn auth(token: &str) -> serde_json::Value {
    json!({ "type": "auth", "token": token })
}

#[test]
fn a_token_in_the_first_message_is_answered_with_the_welcome() {
    let gateway = start();
    let mut client = Client::open_with(gateway.address, &request("/?group=news", &[V1]));
    client.send(&frame(FIN | PING, b"there?"));
    client.expect(PONG, b"there?");
    client.say(&auth(&good()));
    let welcome = client.json();
    assert_eq!((&welcome["type"], &welcome["user"]), (&json!("welcome"), &json!("42")));
    client.say(&json!({ "type": "join", "group": "chat/7" }));
    assert_eq!(client.json(), json!({ "type": "joined", "group": "chat/7" }));
}

#[test]
fn the_first_message_may_come_with_the_request_and_others_after_it() {
    let gateway = start();
    let say = |value: serde_json::Value| frame(FIN | TEXT, value.to_string().as_bytes());
    let all = [
        request("/", &[V1]),
        say(auth(&good())),
        say(json!({ "type": "join", "group": "news" })),
        say(json!({ "type": "ping" })),
    ];
    let mut client = Client::open_with(gateway.address, &all.concat());
    assert_eq!(client.json()["type"], "welcome");
    let mut answers = [client.json(), client.json()].map(|answer| answer["type"].clone());
    answers.sort_by_key(ToString::to_string);
    assert_eq!(answers, ["joined", "pong"]);
}

#[test]
fn a_first_message_that_is_no_valid_token_ends_the_connection() {
    let gateway = start();
    let expired = token(json!({ "exp": super::issuer::now() - 60 }), json!({}));
    for (first, code) in [
        (auth("junk").to_string(), "invalid_token"),
        (auth(&expired).to_string(), "expired"),
        (json!({ "type": "join", "group": "news" }).to_string(), "invalid_token"),
        (json!({ "type": "ping" }).to_string(), "invalid_token"),
        ("junk".to_owned(), "invalid_token"),
        (String::new(), "invalid_token"),
    ] {
        let mut client = Client::open_with(gateway.address, &request("/", &[V1]));
        client.send(&frame(FIN | TEXT, first.as_bytes()));
        assert_refused(&mut client, code, 4401);
    }
    let mut client = Client::open_with(gateway.address, &request("/?group=secret", &[V1]));
    client.say(&auth(&good()));
    assert_refused(&mut client, "not_allowed", 4403);
}

#[test]
fn a_first_message_is_small_and_what_follows_it_need_not_be() {
    let gateway = start();
    let text = |len| frame(FIN | TEXT, &vec![b' '; len]);
    let mut client = Client::open_with(gateway.address, &request("/", &[V1]));
    // The header is enough.
    client.send(&text(16_385)[..8]);
    client.expect_close(1009);
    let mut client = Client::open_with(gateway.address, &request("/", &[V1]));
    let first = frame(FIN | TEXT, auth(&good()).to_string().as_bytes());
    client.send(&[first, text(20_000)].concat());
    assert_eq!(client.json()["type"], "welcome");
    assert_eq!(client.json()["code"], "malformed");
    // Whoever shows a token before is not limited.
    let shown = request("/", &[&super::offer(&good())]);
    let mut client = Client::open_with(gateway.address, &shown);
    assert_eq!(client.json()["type"], "welcome");
    client.send(&text(20_000));
    assert_eq!(client.json()["code"], "malformed");
}

#[test]
fn a_client_without_a_token_hears_nothing_and_is_closed_in_time() {
    let channel = broker();
    let gateway = Gateway::start_on(channel, |config| {
        config.access = tokio::sync::watch::channel(std::sync::Arc::new(access())).1;
        config.auth_limit = Duration::from_millis(500);
    })
    .until_ready();
    let mut publisher = Publisher::connect(channel);
    let mut silent = Client::open_with(gateway.address, &request("/?group=news", &[V1]));
    let mut other =
        Client::open_with(gateway.address, &request("/?group=news", &[&super::offer(&good())]));
    assert_eq!(other.json()["type"], "welcome");
    for audience in [Audience::Everyone, group("news")] {
        publisher.publish(audience, "secret");
        assert_eq!(other.json()["content"], "secret");
    }
    // The next that it gets, and the last, is the reason.
    assert_refused(&mut silent, "invalid_token", 4401);
}

#[test]
fn clients_without_a_token_have_a_limit_of_their_own() {
    let gateway = start_with(access(), |config| {
        let limits = GatewayLimits { max_unauthenticated: 2, ..Default::default() };
        config.limits = limits.fixed();
    });
    let open = || Client::open_with(gateway.address, &request("/", &[V1]));
    let (mut first, _second) = (open(), open());
    let mut third = open();
    assert_refused(&mut third, "too_many_unauthenticated", 4429);
    // Whoever shows a token needs no place among them, and whoever sends it gives its place back.
    let shown = request("/", &[&super::offer(&good())]);
    assert_eq!(Client::open_with(gateway.address, &shown).json()["type"], "welcome");
    first.say(&auth(&good()));
    assert_eq!(first.json()["type"], "welcome");
    let mut next = open();
    next.say(&auth(&good()));
    assert_eq!(next.json()["type"], "welcome");
    drop(next);
    // A client that is gone gives its place back, too.
    drop(open());
    let deadline = Instant::now() + DEADLINE;
    let is_welcome = || {
        let mut client = open();
        client.say(&auth(&good()));
        client.json()["type"] == "welcome"
    };
    while !is_welcome() {
        assert!(Instant::now() < deadline, "its place is not given back");
    }
}

#[test]
fn a_shutdown_closes_clients_that_have_not_sent_their_token() {
    let gateway = start();
    let mut silent = Client::open_with(gateway.address, &request("/", &[V1]));
    silent.send(&frame(FIN | PING, b"."));
    silent.expect(PONG, b".");
    let stopping = std::thread::spawn(move || drop(gateway));
    let close = silent.recv();
    assert_eq!((close.first, close.closing().0), (FIN | CLOSE, 1001));
    drop(silent);
    stopping.join().expect("the gateway ends");
}
