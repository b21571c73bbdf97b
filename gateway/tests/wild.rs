//! Requests as clients in the wild send them, over raw sockets: libraries and polyfills with their
//! defaults, proxies and load balancers, web pages of other sites, and hostile peers.

mod harness;
#[path = "wild/health.rs"]
mod health;
#[path = "wild/strangers.rs"]
mod strangers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_edge::AllowOrigins;
use campanile_harness::client::raw::stream::{self, Stream};
use campanile_harness::client::raw::{Client, FIN, TEXT, frame, request};
use campanile_harness::link::{Publisher, group};
use campanile_harness::{DEADLINE, bind};
use campanile_messages::Audience;
use serde_json::json;

use harness::{Gateway, broker};

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

fn answer(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut client = Client::raw(address);
    client.send(request);
    client.response()
}

fn get(target: &str, headers: &[&str]) -> Vec<u8> {
    stream::request(target, headers)
}

#[track_caller]
fn assert_greeted(gateway: SocketAddr, request: &[u8]) {
    let mut client = Client::raw(gateway);
    client.send(request);
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(!head.contains("Sec-WebSocket-Protocol"), "{head}");
    let greeting = client.recv();
    assert_eq!(greeting.first, FIN | TEXT);
    assert!(greeting.payload.starts_with(b"workerID:"), "{greeting:?}");
}

/// Expects a refusal as a message, and returns the code in it.
#[track_caller]
fn refused_by_message(gateway: SocketAddr, request: &[u8]) -> String {
    let begun = Instant::now();
    let mut client = Client::raw(gateway);
    client.send(request);
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nSec-WebSocket-Protocol: campanile.v1\r\n"), "{head}");
    let error = client.json();
    assert_eq!(error["type"], "error");
    let message = error["message"].as_str().expect("a sentence");
    let close = client.recv();
    let (code, reason) = close.closing();
    assert_eq!(code, 1008);
    assert!(message.starts_with(reason) && !reason.is_empty(), "{message:?} {reason:?}");
    client.expect_end();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    error["code"].as_str().expect("a word").to_owned()
}

#[test]
fn a_target_in_absolute_form_opens_a_websocket() {
    let gateway = Gateway::start(|_| {});
    for scheme in ["HTTP", "ws", "WSS", "hTTps"] {
        for rest in ["/?group=a", "?group=a", ""] {
            let target = format!("{scheme}://localhost{rest}");
            assert_greeted(gateway.address, &request(&target, &[]));
        }
    }
}

#[test]
fn a_handshake_with_a_body_is_refused_with_a_sentence() {
    let gateway = Gateway::start(|_| {});
    for (headers, body, sentence) in [
        ("Transfer-Encoding: chunked", "0\r\n\r\n", "Transfer-Encoding is not accepted"),
        ("transfer-encoding: identity", "", "Transfer-Encoding is not accepted"),
        ("Content-Length: 4", "body", "Content-Length must be 0"),
        ("Content-Length: 0\r\nContent-Length: 9", "", "Content-Length must be 0"),
    ] {
        // A malformed handshake is answered in HTTP, whatever it offers.
        for offered in [&[headers][..], &[headers, V1]] {
            let request = [&request("/", offered)[..], body.as_bytes()].concat();
            let (status, _, said) = answer(gateway.address, &request);
            assert_eq!(status, 400, "{headers}");
            assert!(said.contains(sentence), "{said}");
        }
    }
    assert_greeted(gateway.address, &request("/", &["Content-Length: 0"]));
}

#[test]
fn one_unknown_subprotocol_gets_the_plain_dialect() {
    let gateway = Gateway::start(|_| {});
    let long = "x".repeat(10_000);
    for offered in ["", ",", "arduino", "base64url.bearer.c2VjcmV0", "\u{e9}\u{1f514}", &long] {
        let header = format!("Sec-WebSocket-Protocol: {offered}");
        assert_greeted(gateway.address, &request("/", &[&header]));
    }
    for refused in ["campanile.v2", "campanile.publish.v1.json", "mqtt, wamp"] {
        let header = format!("Sec-WebSocket-Protocol: {refused}");
        let (status, _, body) = answer(gateway.address, &request("/", &[&header]));
        assert_eq!(status, 400, "{refused}");
        assert!(body.contains("accepted: campanile.v1, or none"), "{body}");
    }
}

#[test]
fn configured_parameters_are_ignored_and_unknown_ones_refused() {
    let gateway = Gateway::start(|config| {
        config.ignored_params = vec!["token".to_owned(), "utm source".to_owned()];
    });
    let query = "?group=a&_=1699&_x=%zz&token=%zz&token=x&utm+source=y";
    assert_greeted(gateway.address, &request(&format!("/{query}"), &[]));
    Stream::open(gateway.address, &format!("/events{query}"), &[]).synced();
    for target in ["/?tokens=x", "/?Token=x", "/?x_=1"] {
        let (status, _, body) = answer(gateway.address, &request(target, &[]));
        assert_eq!(status, 400, "{target}");
        assert!(body.contains("unknown parameter") && body.contains("--ignore-params"), "{body}");
    }
}

#[test]
fn an_ignored_parameter_is_never_read_even_if_it_is_known() {
    let channel = broker();
    let gateway = Gateway::start_on(channel, |config| {
        config.ignored_params = vec!["group".to_owned()];
        config.max_groups = 1;
    });
    let gateway = gateway.until_ready();
    let mut publisher = Publisher::connect(channel);
    let mut client = Client::open(gateway.address);
    let mut grouped = Client::open_with(gateway.address, &request("/?group=a&group=b&group=", &[]));
    for client in [&mut client, &mut grouped] {
        assert!(client.recv().payload.starts_with(b"workerID:"));
    }
    publisher.publish(group("a"), "for a");
    publisher.publish(Audience::Everyone, "for everyone");
    grouped.expect(TEXT, "for everyone");
}

#[test]
fn a_final_refusal_is_a_message_where_v1_is_offered() {
    let gateway = Gateway::start(|config| {
        config.allow_origins = "https://app.example".parse().expect("a list");
    });
    let groups: String = (0..101).map(|i| format!("group={i}&")).collect();
    for (target, header, code) in [
        ("/?topic=a", "A: b", "unknown_parameter"),
        ("/?group=", "A: b", "invalid_group"),
        ("/?group=%zz", "A: b", "bad_request"),
        (&*format!("/?{groups}"), "A: b", "too_many_groups"),
        ("/", "Origin: https://evil.example", "origin_not_allowed"),
        ("/", "Origin: https://app.example\r\nOrigin: null", "origin_not_allowed"),
        ("ws://evil.example/", "A: b", "host_not_allowed"),
        ("/socket", "A: b", "not_found"),
    ] {
        let refused = refused_by_message(gateway.address, &request(target, &[V1, header]));
        assert_eq!(refused, code, "{target} {header}");
        let (status, _, _) = answer(gateway.address, &request(target, &[header]));
        assert!([400, 403, 404].contains(&status), "{target} {header} {status}");
    }
    // A malformed handshake is refused in HTTP.
    for (replace, with, status) in [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 426),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short", 400),
        ("GET", "POST", 405),
    ] {
        let request = String::from_utf8(request("/?topic=a", &[V1])).expect("ASCII");
        let request = request.replacen(replace, with, 1);
        assert_eq!(answer(gateway.address, request.as_bytes()).0, status, "{with}");
    }
}

#[test]
fn a_refused_v1_client_that_keeps_sending_holds_no_seat() {
    let gateway = Gateway::start(|config| config.max_connections = 1);
    let mut client = Client::raw(gateway.address);
    let said = frame(FIN | TEXT, br#"{"type":"join","group":"a"}"#);
    client.send(&[request("/?topic=a", &[V1]), said.clone()].concat());
    client.read_head();
    assert_eq!(client.json()["code"], "unknown_parameter");
    let begun = Instant::now();
    while client.try_send(&said).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(4), "the connection was not cut");
        std::thread::sleep(Duration::from_millis(20));
    }
    loop {
        let mut next = Client::raw(gateway.address);
        next.send(&request("/", &[]));
        if next.read_head().starts_with("HTTP/1.1 101 ") {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "the seat is free");
    }
}

#[test]
fn a_client_that_offers_v1_gets_503_in_http_without_a_broker() {
    let nobody = Gateway::start_on(bind().1, |_| {});
    assert_eq!(answer(nobody.address, &request("/", &[V1])).0, 503);
    assert_eq!(refused_by_message(nobody.address, &request("/?a", &[V1])), "unknown_parameter");
}

#[test]
fn a_polyfill_resumes_with_its_own_parameter() {
    let channel = broker();
    let gateway = Gateway::start_on(channel, |_| {}).until_ready();
    let mut publisher = Publisher::connect(channel);
    let mut first = Stream::open(gateway.address, "/events?group=a", &[]);
    first.synced();
    for number in 0..10 {
        publisher.publish(group("a"), ["content", "more"][number % 2]);
    }
    let seen: Vec<_> = (0..10).map(|_| first.message()).collect();
    drop(first);
    let [old, newer] = [&seen[2].0, &seen[6].0];
    let header = format!("Last-Event-ID: {newer}");
    for (target, headers, from) in [
        (format!("/events?group=a&lastEventId={old}"), &[][..], 3),
        (format!("/events?group=a&Last-Event-ID={old}"), &[], 3),
        (format!("/events?lastEventID={newer}&since={old}&group=a"), &[], 7),
        (format!("/events?group=a&lastEventId={old}&lastEventId={newer}"), &[], 7),
        (format!("/events?evs_buffer_size_limit=262144&group=a&evs_last_event_id={newer}"), &[], 7),
        // The header overrides the parameter, and an empty header counts as absent.
        (format!("/events?group=a&lastEventId={old}"), &[&*header], 7),
        (format!("/events?group=a&lastEventId={newer}"), &["Last-Event-ID:"], 7),
        (format!("/events?group=a&lastEventId=&since={newer}"), &["Last-Event-ID:"], 7),
        (format!("/events?group=a&lastEventId={old}"), &[&*header, &*header], 7),
    ] {
        let mut stream = Stream::open(gateway.address, &target, headers);
        assert_eq!(stream.synced()["recovered"], true, "{target} {headers:?}");
        for expected in &seen[from..] {
            assert_eq!(stream.message(), *expected, "{target} {headers:?}");
        }
    }
    let two = [&*header, &format!("Last-Event-ID: {old}")];
    let mut torn = Stream::open(gateway.address, "/events?group=a", &two);
    let sync = torn.synced();
    assert_eq!((&sync["recovered"], &sync["reason"]), (&json!(false), &json!("malformed")));
}

#[test]
fn a_byte_order_mark_before_a_message_is_skipped() {
    let gateway = Gateway::start(|_| {});
    let mut client = Client::open_v1(gateway.address, "/");
    assert_eq!(client.json()["type"], "welcome");
    client.send(&frame(FIN | TEXT, "\u{feff}{\"type\":\"ping\"}".as_bytes()));
    assert_eq!(client.json(), json!({ "type": "pong" }));
}

#[test]
fn incomplete_heads_of_1500_clients_keep_nobody_out() {
    let gateway = Gateway::start(|config| config.handshake_limit = Duration::from_secs(3));
    let starts = [&b""[..], b"G", b"GET / HTTP/1.1\r\nHost: loc", b"GET /?group=%25%25%"];
    let begun = Instant::now();
    let mut half: Vec<_> = (0..1_500)
        .map(|i| {
            let mut client = Client::raw(gateway.address);
            client.send(starts[i % starts.len()]);
            client
        })
        .collect();
    assert_greeted(gateway.address, &request("/?group=a", &[]));
    for client in &mut half {
        assert_eq!(client.response().0, 408);
    }
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    assert_greeted(gateway.address, &request("/?group=a", &[]));
}

#[test]
fn a_refusal_is_short_and_has_no_control_characters() {
    let gateway = Gateway::start(|config| config.allow_origins = AllowOrigins::Only(vec![]));
    let [long, escapes] = ["x".repeat(12_000), "%1b%0d%0aSet-Cookie:+a=b%0d%0a%0d%0a".to_owned()];
    let percents = "%25".repeat(4_000);
    for (target, header) in [
        (format!("/?{escapes}{long}"), "A: b".to_owned()),
        (format!("/?{percents}=1"), "A: b".to_owned()),
        (format!("/?group={percents}"), "A: b".to_owned()),
        (format!("/{escapes}{long}"), "A: b".to_owned()),
        ("/".to_owned(), format!("Origin: https://{long}")),
        ("/".to_owned(), "Origin: https://a\u{1f4a9}\u{202e}\t.example".to_owned()),
        (format!("http://{long}/"), "A: b".to_owned()),
        ("http://a%0d%0ab/".to_owned(), "A: b".to_owned()),
    ] {
        for headers in [&[&*header][..], &[&*header, V1]] {
            let mut client = Client::raw(gateway.address);
            client.send(&request(&target, headers));
            let head = client.read_head();
            assert!(head.len() < 500 && !head.contains("Set-Cookie"), "{head}");
            client.shut_down();
            if head.starts_with("HTTP/1.1 101 ") {
                let message = client.json()["message"].as_str().expect("a sentence").to_owned();
                assert!(message.len() < 1_500 && !message.contains(char::is_control), "{message}");
            } else {
                assert!(head.starts_with("HTTP/1.1 40"), "{head}");
                let begun = Instant::now();
                client.until_over();
                assert!(begun.elapsed() < Duration::from_secs(5));
            }
        }
    }
}
