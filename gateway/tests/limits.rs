//! The limits of addresses and of what clients say, with and without proxies in between.

mod harness;
#[allow(dead_code, reason = "it makes more tokens than are needed here")]
#[path = "tokens/issuer.rs"]
mod issuer;
#[path = "limits/proxies.rs"]
mod proxies;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_edge::PerAddress;
use campanile_gateway::{ClientRates, GatewayConfig, GatewayLimits};
use campanile_harness::DEADLINE;
use campanile_harness::client::raw::{
    BINARY, CLOSE, Client, FIN, PING, PONG, TEXT, frame, request, stream,
};
use serde_json::json;
use tokio::sync::watch;

use harness::Gateway;

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

/// The sources of clients that are counted separately.
const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn start(
    change: impl FnOnce(&mut GatewayLimits),
    more: impl FnOnce(&mut GatewayConfig),
) -> Gateway {
    let mut limits = GatewayLimits::default();
    change(&mut limits);
    Gateway::start(|config| {
        config.limits = limits.fixed();
        more(config);
    })
}

/// Sends bytes from an address, and returns the connection.
fn sent(gateway: &Gateway, from: Ipv4Addr, bytes: &[u8]) -> Client {
    let mut client = Client::raw_from(from, gateway.address);
    client.send(bytes);
    client
}

fn status(gateway: &Gateway, from: Ipv4Addr, bytes: &[u8]) -> u16 {
    sent(gateway, from, bytes).read_head()[9..12].parse().expect("a status")
}

/// Expects a websocket that is opened, and returns it after its greeting.
#[track_caller]
fn greeted(mut client: Client) -> Client {
    client.upgraded();
    assert_eq!(client.recv().first, FIN | TEXT);
    client
}

/// Expects a websocket that opens only to say a code, and is closed with 4429.
#[track_caller]
fn refused_by_message(mut client: Client) -> String {
    client.upgraded();
    let error = client.json();
    assert_eq!(error["type"], "error", "{error}");
    client.expect_close(4429);
    error["code"].as_str().expect("a word").to_owned()
}

/// Waits until a request from an address opens a websocket.
#[track_caller]
fn until_open(gateway: &Gateway, from: Ipv4Addr, bytes: &[u8]) {
    let begun = Instant::now();
    while status(gateway, from, bytes) != 101 {
        assert!(begun.elapsed() < DEADLINE, "there is room");
    }
}

#[test]
fn an_address_has_no_more_connections_than_its_limit() {
    let gateway = start(|limits| limits.addresses.max_connections = PerAddress::set(3), |_| {});
    let mut held: Vec<_> =
        (0..3).map(|_| greeted(sent(&gateway, ONE, &request("/", &[])))).collect();
    let (status_line, head, body) = sent(&gateway, ONE, &request("/", &[])).response();
    assert_eq!(status_line, 503);
    assert!(head.contains("\r\nRetry-After: 10\r\n"), "{head}");
    assert!(body.contains("at most 3 at a time") && body.contains("--max-connections-per-address"));
    let offers_v1 = sent(&gateway, ONE, &request("/", &[V1]));
    assert_eq!(refused_by_message(offers_v1), "too_many_connections");
    let (status_line, _, body) = sent(&gateway, ONE, &stream::request("/events", &[])).response();
    assert_eq!(status_line, 200);
    assert!(body.starts_with("retry: "), "{body}");
    // Health checks and other addresses are as before.
    assert_eq!(status(&gateway, ONE, &stream::request("/health/ready", &[])), 200);
    let _other = greeted(sent(&gateway, OTHER, &request("/", &[])));
    held.pop();
    until_open(&gateway, ONE, &request("/", &[]));
}

#[test]
fn a_silent_connection_counts_for_its_address() {
    let gateway = start(|limits| limits.addresses.max_connections = PerAddress::set(2), |_| {});
    let _silent = [(); 2].map(|()| Client::raw_from(ONE, gateway.address));
    assert_eq!(status(&gateway, ONE, &request("/", &[])), 503);
    assert_eq!(status(&gateway, OTHER, &request("/", &[])), 101);
}

#[test]
fn new_connections_of_an_address_have_a_rate() {
    let rate = PerAddress::set(1);
    let gateway = start(|limits| limits.addresses.max_arrivals_per_second = rate, |_| {});
    // In 10 s, there may be 10, and one more for each second that the test takes.
    let answers: Vec<_> = (0..60).map(|_| status(&gateway, ONE, &request("/", &[]))).collect();
    assert_eq!(answers[..10], [101; 10]);
    assert!(answers.iter().filter(|&&answer| answer == 429).count() > 30, "{answers:?}");
    let offers_v1 = sent(&gateway, ONE, &request("/", &[V1]));
    assert_eq!(refused_by_message(offers_v1), "rate_limited");
    assert_eq!(status(&gateway, OTHER, &request("/", &[])), 101);
}

#[test]
fn loopback_has_no_limit_by_default() {
    let gateway = start(|_| {}, |_| {});
    let answers = (0..600).map(|_| sent(&gateway, ONE, &request("/", &[])));
    let held: Vec<_> = answers.collect();
    held.into_iter().for_each(|client| drop(greeted(client)));
}

#[test]
fn a_full_gateway_says_so_by_message_where_v1_is_offered() {
    let gateway = start(|_| {}, |config| config.max_connections = 1);
    let _held = greeted(sent(&gateway, ONE, &request("/", &[])));
    assert_eq!(refused_by_message(sent(&gateway, ONE, &request("/", &[V1]))), "gateway_full");
    assert_eq!(status(&gateway, ONE, &request("/", &[])), 503);
}

#[test]
fn newcomers_wait_at_accept_and_none_is_dropped() {
    let gateway = start(|limits| limits.max_handshakes_per_second = 50, |_| {});
    let begun = Instant::now();
    let clients: Vec<_> = (0..80).map(|_| sent(&gateway, ONE, &request("/", &[]))).collect();
    clients.into_iter().for_each(|client| drop(greeted(client)));
    // Five come at once, and then one every 20 ms.
    assert!(begun.elapsed() >= Duration::from_millis(75 * 20), "{:?}", begun.elapsed());
    // A quiet gateway makes nobody wait.
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    greeted(sent(&gateway, ONE, &request("/", &[])));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn a_user_has_no_more_connections_than_the_limit() {
    let gateway = start(
        |limits| limits.max_connections_per_user = 2,
        |config| config.access = watch::channel(Arc::new(issuer::access())).1,
    );
    let of = |user: &str| {
        let token = issuer::token(json!({ "sub": user }), json!({}));
        format!("Authorization: Bearer {token}")
    };
    let open = |user: &str| request("/", &[&of(user)]);
    // However they come: as a websocket, as an event stream, from another address.
    let held = greeted(sent(&gateway, ONE, &open("42")));
    let events = stream::request("/events", &[&of("42")]);
    let mut listens = sent(&gateway, OTHER, &events);
    assert!(listens.read_head().contains("X-Accel-Buffering"));
    let (status_line, _, body) = sent(&gateway, ONE, &open("42")).response();
    assert_eq!(status_line, 503);
    assert!(body.contains("--max-connections-per-user"), "{body}");
    let (status_line, _, body) = sent(&gateway, ONE, &events).response();
    assert!(status_line == 200 && body.starts_with("retry: "), "{body}");
    let offers_v1 = sent(&gateway, ONE, &request("/", &[V1, &of("42")]));
    assert_eq!(refused_by_message(offers_v1), "too_many_connections");
    let mut with_first_message = sent(&gateway, ONE, &request("/", &[V1]));
    with_first_message.upgraded();
    let token = issuer::token(json!({ "sub": "42" }), json!({}));
    with_first_message.say(&json!({ "type": "auth", "token": token }));
    assert_eq!(with_first_message.json()["code"], "too_many_connections");
    with_first_message.expect_close(4429);
    assert_eq!(status(&gateway, ONE, &open("43")), 101);
    drop(held);
    until_open(&gateway, ONE, &open("42"));
}

fn with_rates(messages: u32, joins: u32) -> Gateway {
    // With no groups at once, the burst is that of 10 s.
    start(|limits| limits.rates = ClientRates::new(messages, joins, 0), |_| {})
}

#[test]
fn too_many_messages_are_refused_and_then_close_the_client() {
    let gateway = with_rates(1, 0);
    let mut client = Client::open_v1(gateway.address, "/");
    assert_eq!(client.json()["type"], "welcome");
    let begun = Instant::now();
    let ping = frame(FIN | TEXT, br#"{"type":"ping"}"#);
    client.send(&ping.repeat(500));
    let (mut pongs, mut errors) = (0, 0);
    let close = loop {
        let frame = client.recv();
        match frame.first {
            first if first == FIN | CLOSE => break frame,
            _ if frame.payload == br#"{"type":"pong"}"# => pongs += 1,
            _ => {
                let said: serde_json::Value = serde_json::from_slice(&frame.payload).expect("JSON");
                assert_eq!(
                    (&said["type"], &said["code"]),
                    (&json!("error"), &json!("rate_limited"))
                );
                errors += 1;
            }
        }
    };
    assert_eq!(close.closing(), (4429, "too many messages, connect again later"));
    let took = begun.elapsed().as_secs() as usize + 1;
    assert!((10..=10 + took).contains(&pongs), "{pongs}");
    assert!((100..=100 + took).contains(&errors), "{errors}");
}

#[test]
fn pings_and_messages_of_the_plain_dialect_are_limited_too() {
    let gateway = with_rates(1, 0);
    for (first, payload, answers) in
        [(FIN | PING, "are you there", 10), (FIN | TEXT, "{}", 0), (FIN | BINARY, "", 0)]
    {
        let mut client = greeted(sent(&gateway, ONE, &request("/", &[])));
        let begun = Instant::now();
        client.send(&frame(first, payload.as_bytes()).repeat(500));
        let mut answered = 0;
        let close = loop {
            let frame = client.recv();
            match frame.first {
                first if first == FIN | PONG => answered += 1,
                _ => break frame,
            }
        };
        assert_eq!(close.closing().0, 4429);
        let took = begun.elapsed().as_secs() as usize + 1;
        assert!((answers..=answers + took).contains(&answered), "{answered}");
    }
}

#[test]
fn too_many_joins_are_refused_with_their_group() {
    let gateway = with_rates(0, 1);
    let mut client = Client::open_v1(gateway.address, "/");
    assert_eq!(client.json()["type"], "welcome");
    let mut answer = |message: serde_json::Value| {
        client.say(&message);
        client.json()
    };
    for turn in 0..10 {
        let group = format!("g{turn}");
        assert_eq!(answer(json!({"type": "join", "group": group}))["type"], "joined");
        assert_eq!(answer(json!({"type": "leave", "group": group}))["type"], "left");
    }
    let mut refused = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) && refused < 5 {
        let said = answer(json!({"type": "join", "group": "more"}));
        if said["type"] == "error" {
            assert_eq!((&said["code"], &said["group"]), (&json!("rate_limited"), &json!("more")));
            refused += 1;
        }
    }
    assert_eq!(refused, 5);
    // Other messages are answered as before, and after a while, so is a join.
    assert_eq!(answer(json!({"type": "ping"}))["type"], "pong");
    let begun = Instant::now();
    while answer(json!({"type": "join", "group": "later"}))["type"] != "joined" {
        assert!(begun.elapsed() < DEADLINE, "the rate allows it");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_page_that_comes_back_joins_all_its_groups_at_once() {
    let gateway = start(|_| {}, |_| {});
    let mut client = Client::open_v1(gateway.address, "/");
    assert_eq!(client.json()["type"], "welcome");
    for turn in 0..100 {
        client.say(&json!({"type": "join", "group": format!("g{turn}")}));
    }
    for _ in 0..100 {
        assert_eq!(client.json()["type"], "joined");
    }
}

#[test]
fn clients_come_in_while_the_limits_change() {
    let (sender, limits) = watch::channel(Arc::new(GatewayLimits::default()));
    let gateway = Gateway::start(|config| config.limits = limits);
    let test = Arc::new(());
    let going = Arc::downgrade(&test);
    std::thread::spawn(move || {
        while going.upgrade().is_some() {
            sender.send_replace(Arc::default());
        }
    });
    for _ in 0..200 {
        greeted(sent(&gateway, ONE, &request("/", &[])));
    }
}
