//! `GET /events`, over raw sockets: the answer to every kind of request, and what a stream sends from
//! its first block to its end.

mod harness;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use campanile_edge::AllowOrigins;
use campanile_harness::client::raw::stream::{Stream, request};
use campanile_harness::client::raw::{self, Client};
use campanile_harness::link::script::{Script, at};
use campanile_harness::link::{Publisher, group};
use campanile_harness::{Block, DEADLINE, bind};
use campanile_messages::{Address, Audience, ConnectionId, Content, WorkerId};
use serde_json::{Value, json};

use harness::{Gateway, broker};

/// A gateway and a publisher on the same broker.
fn start() -> (Gateway, Publisher) {
    let channel = broker();
    (Gateway::start_on(channel, |_| {}).until_ready(), Publisher::connect(channel))
}

fn answer(gateway: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut client = Client::raw(gateway);
    client.send(request);
    client.response()
}

fn data(text: &str) -> Block {
    Block { data: Some(text.to_owned()), ..Block::default() }
}

#[track_caller]
fn assert_has(head: &str, line: &str) {
    assert!(head.contains(&format!("\r\n{line}\r\n")), "no {line:?} in {head}");
}

#[track_caller]
fn assert_has_no(head: &str, name: &str) {
    let name = format!("\r\n{name}:");
    assert!(!head.to_ascii_lowercase().contains(&name.to_ascii_lowercase()), "{head}");
}

#[test]
fn the_head_forbids_proxies_to_buffer_the_stream() {
    let gateway = Gateway::start(|_| {});
    let stream = Stream::open(gateway.address, "/events", &[]);
    for line in [
        "Content-Type: text/event-stream",
        "Cache-Control: no-cache, no-transform",
        "X-Accel-Buffering: no",
        "Connection: close",
        "Vary: Origin",
    ] {
        assert_has(&stream.head, line);
    }
    for name in ["Transfer-Encoding", "Content-Length", "Access-Control-Allow-Origin"] {
        assert_has_no(&stream.head, name);
    }
}

#[test]
fn each_client_gets_its_own_time_to_come_back() {
    let gateway = Gateway::start(|_| {});
    let open = |_| Stream::open(gateway.address, "/events", &[]).retry;
    let times: HashSet<_> = (0..20).map(open).collect();
    assert!(times.len() > 5, "{times:?}");
    assert!(times.iter().all(|time| (500..=3_000).contains(time)), "{times:?}");
}

#[test]
fn a_stream_carries_the_events_of_all_its_audiences() {
    let (gateway, mut publisher) = start();
    let mut stream = Stream::open(gateway.address, "/events?group=news&group=a+b", &[]);
    let sync = stream.synced();
    assert!(sync.get("recovered").is_none(), "{sync}");
    let (worker, connection) = (sync["worker"].as_u64(), sync["connection"].as_u64());
    let address = Address {
        worker: WorkerId(worker.expect("a number")),
        connection: ConnectionId(connection.expect("a number")),
    };
    publisher.publish(Audience::Everyone, "for everyone");
    publisher.publish(group("other"), "for others");
    publisher.publish(group("news"), "two\nlines, and an empty one\n");
    publisher.push(address, "psst");
    publisher.publish(group("a b"), " 종 ");
    publisher.publish(group("news"), Content::Binary(Bytes::from_static(b"\xff\0")));
    publisher.publish(group("news"), "a carriage\rreturn");

    let (first, text) = stream.message();
    assert_eq!(text, "for everyone");
    let (second, text) = stream.message();
    assert_eq!(text, "two\nlines, and an empty one\n");
    assert_eq!(stream.next(), data("psst"), "it has no position in the log");
    let (third, text) = stream.message();
    assert_eq!(text, " 종 ");
    let mut ids = vec![first, second, third];
    for base64 in ["/wA=", "YSBjYXJyaWFnZQ1yZXR1cm4="] {
        let block = stream.next();
        ids.extend(block.id.clone());
        let event = Some("binary".to_owned());
        assert_eq!(block, Block { event, id: block.id.clone(), ..data(base64) });
    }
    let epochs: HashSet<_> =
        ids.iter().map(|id| id.split_once('-').expect("a position").0).collect();
    let sequences: Vec<_> =
        ids.iter().map(|id| id.rsplit_once('-').expect("a position").1).collect();
    assert_eq!((epochs.len(), sequences), (1, vec!["1", "3", "4", "5", "6"]));
}

#[test]
fn a_client_that_comes_back_continues_after_its_last_event() {
    let (gateway, mut publisher) = start();
    let mut first = Stream::open(gateway.address, "/events?group=news", &[]);
    let begin = first.synced()["position"].clone();
    for content in ["one", "two", "three", "four"] {
        publisher.publish(group("news"), content);
    }
    let seen: Vec<_> = (0..4).map(|_| first.message()).collect();
    drop(first);
    let begin = begin.as_str().expect("a string");
    let last_id = |position: &str| format!("Last-Event-ID: {position}");
    for (since, header, from) in [
        (Some(begin), None, 0),
        (Some(&*seen[1].0), None, 2),
        (None, Some(&*seen[0].0), 1),
        // A browser keeps the URL of its first request.
        (Some(begin), Some(&*seen[2].0), 3),
        (Some(&*seen[2].0), Some(begin), 0),
        // A browser that has seen no id may send an empty one.
        (Some(&*seen[2].0), Some(""), 3),
        (Some(&*seen[3].0), None, 4),
    ] {
        let target = since.map_or("/events?group=news".to_owned(), |since| {
            format!("/events?since={since}&group=news")
        });
        let headers: Vec<_> = header.map(last_id).into_iter().collect();
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let mut stream = Stream::open(gateway.address, &target, &headers);
        let sync = stream.synced();
        assert_eq!(sync["recovered"], true, "{sync}");
        let position = header.filter(|header| !header.is_empty()).or(since);
        assert_eq!(sync["position"].as_str(), position);
        for missed in &seen[from..] {
            assert_eq!(stream.message(), *missed);
        }
        publisher.publish(Audience::Everyone, "live");
        assert_eq!(stream.message().1, "live", "{target} {headers:?}");
    }
}

#[test]
fn a_malformed_position_opens_the_stream_and_is_reported() {
    let (gateway, mut publisher) = start();
    for (target, header, reason) in [
        ("/events?since=", None, "malformed"),
        ("/events?since=7", None, "malformed"),
        ("/events", Some("Last-Event-ID: what is this"), "malformed"),
        ("/events?since=0000000000000001-0", Some("Last-Event-ID: 7"), "malformed"),
        ("/events?since=0000000000000001-0", None, "epoch_changed"),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let mut stream = Stream::open(gateway.address, target, &headers);
        let sync = stream.synced();
        assert_eq!((&sync["recovered"], &sync["reason"]), (&json!(false), &json!(reason)));
        publisher.publish(Audience::Everyone, "on");
        assert_eq!(stream.message().1, "on", "{target}");
    }
}

#[test]
fn a_wrong_request_gets_an_error_that_says_what_is_wrong() {
    let gateway = Gateway::start(|_| {});
    let many: String = (0..101).map(|i| format!("group={i}&")).collect();
    let websocket = String::from_utf8(raw::request("/events", &[])).expect("ASCII");
    for (request, status, sentence) in [
        ("POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405, "with GET"),
        ("HEAD /events HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, ""),
        ("GET /events?since=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "not UTF-8"),
        ("GET /events?group=%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "percent escape"),
        ("GET /events?group= HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "must not be empty"),
        ("GET /events?group=%0a HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "control characters"),
        (
            "GET /events?topic=a HTTP/1.1\r\nHost: localhost\r\n\r\n",
            400,
            "unknown parameter \"topic\"",
        ),
        ("GET /events?since=a&since=b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "more than once"),
        (
            &format!("GET /events?{many} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            400,
            "more than 100 groups",
        ),
        ("GET /events/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "event streams are at /events"),
        (&websocket, 404, "websockets are at /"),
    ] {
        let (answered, head, body) = answer(gateway.address, request.as_bytes());
        assert_eq!(answered, status, "{request}{body}");
        assert!(body.contains(sentence), "{sentence:?} is not in {body:?}");
        assert_eq!(head.contains("\r\nAllow: GET\r\n"), status == 405, "{head}");
    }
}

#[test]
fn a_page_of_an_allowed_origin_may_read_and_another_may_not() {
    let only = "https://a.example, http://b.example:8080".parse().expect("origins");
    for (allow_origins, origin, allowed) in [
        (AllowOrigins::Local, "http://localhost:3000", Some("http://localhost:3000")),
        (AllowOrigins::Local, "https://a.example", None),
        (AllowOrigins::Any, "https://a.example", Some("*")),
        (only, "http://b.example:8080", Some("http://b.example:8080")),
        (AllowOrigins::Only(vec![]), "http://localhost", None),
    ] {
        let gateway = Gateway::start(|config| config.allow_origins = allow_origins.clone());
        let from = format!("Origin: {origin}");
        let name = "Access-Control-Allow-Origin";
        let check = |head: &str| match allowed {
            Some(value) => assert_has(head, &format!("{name}: {value}")),
            None => assert_has_no(head, name),
        };
        check(&Stream::open(gateway.address, "/events", &[&from]).head);
        check(&answer(gateway.address, &request("/events?group=", &[&from])).1);
        let preflight = format!(
            "OPTIONS /events HTTP/1.1\r\nHost: localhost\r\n{from}\r\n\
             Access-Control-Request-Method: GET\r\n\r\n"
        );
        let (status, head, body) = answer(gateway.address, preflight.as_bytes());
        assert_eq!((status, &*body), (204, ""));
        assert_has(&head, "Access-Control-Allow-Methods: GET");
        assert_has_no(&head, "Content-Length");
        check(&head);
        // A request without an origin is answered, too.
        assert_has_no(&Stream::open(gateway.address, "/events", &[]).head, name);
    }
}

/// Checks the answer to a client that should come back: an `EventSource` gives up on any other.
#[track_caller]
fn assert_is_to_come_back((status, head, body): &(u16, String, String)) {
    assert_eq!(*status, 200, "{body}");
    let retry = body.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix("\n\n"));
    let millis: u32 = retry.and_then(|millis| millis.parse().ok()).expect("when to come back");
    // Each gets a random time, so that a refused crowd does not come back all at once.
    assert!((3_000..=8_000).contains(&millis), "{millis} ms");
    assert_has(head, "Content-Type: text/event-stream");
    assert_eq!(head.matches("Content-Type").count(), 1, "{head}");
    assert_has(head, "Access-Control-Allow-Origin: http://localhost");
}

const LOCAL: &str = "Origin: http://localhost";

#[test]
fn a_stream_ends_at_once_while_there_is_no_broker() {
    let gateway = Gateway::start_on(bind().1, |_| {});
    assert_is_to_come_back(&answer(gateway.address, &request("/events", &[LOCAL])));
    // A wrong request gets its own error first.
    assert_eq!(answer(gateway.address, &request("/events?group=", &[])).0, 400);
}

#[test]
fn a_full_gateway_ends_a_stream_at_once() {
    let gateway = Gateway::start(|config| config.max_connections = 1);
    let mut stream = Stream::open(gateway.address, "/events", &[]);
    stream.synced();
    assert_is_to_come_back(&answer(gateway.address, &request("/events?group=a", &[LOCAL])));
    assert_eq!(answer(gateway.address, &raw::request("/", &[])).0, 503);
    drop(stream);
    let begun = Instant::now();
    let request = request("/events", &[LOCAL]);
    loop {
        let mut client = Client::raw(gateway.address);
        client.send(&request);
        if client.read_head().contains("\r\nX-Accel-Buffering: no\r\n") {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "the seat is free");
    }
}

#[test]
fn a_quiet_stream_gets_comments_and_new_positions() {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, |config| {
        config.ping_after = Duration::from_millis(100);
        // The client cannot answer, so this limit does not apply to it.
        config.silence_limit = Duration::from_millis(300);
    });
    let link = script.accept(at(7), None);
    let gateway = gateway.until_ready();
    let mut stream = Stream::open(gateway.address, "/events?group=news", &[]);
    assert_eq!(stream.synced()["position"], at(7).to_string());
    let comment = Block { comment: true, ..Block::default() };
    assert_eq!(stream.next(), comment);
    assert_eq!(stream.next(), comment);
    link.publish(8, &group("news"), "eight");
    let begun = Instant::now();
    let next_event = |stream: &mut Stream| loop {
        match stream.next() {
            block if block == comment => assert!(begun.elapsed() < DEADLINE, "only comments"),
            block => return block,
        }
    };
    assert_eq!(next_event(&mut stream), Block { id: Some(at(8).to_string()), ..data("eight") });
    // The log has grown by events for others.
    link.send([campanile_messages::FromBroker::Mark { head: 20 }]);
    let moved = Block { id: Some(at(20).to_string()), ..Block::default() };
    assert_eq!(next_event(&mut stream), moved);
    assert_eq!(stream.next(), comment, "the position is sent once");
}

#[test]
fn a_drain_ends_every_stream_with_a_time_to_come_back() {
    let gateway = Gateway::start(|config| config.drain = Duration::from_millis(300));
    let mut streams: Vec<_> =
        (0..10).map(|_| Stream::open(gateway.address, "/events", &[])).collect();
    for stream in &mut streams {
        stream.synced();
    }
    let stopping = std::thread::spawn(move || drop(gateway));
    let mut times = HashSet::new();
    for mut stream in streams {
        let last = stream.next();
        assert_eq!(last, Block { retry: last.retry, ..Block::default() });
        times.insert(last.retry.expect("when to come back"));
        stream.client.expect_end();
    }
    assert!(times.len() > 2, "{times:?}");
    stopping.join().expect("the gateway ends");
}

#[test]
fn a_client_that_speaks_http_1_0_is_served() {
    let (gateway, mut publisher) = start();
    let mut stream = Stream::open_with(gateway.address, b"GET /events?group=a HTTP/1.0\r\n\r\n");
    stream.synced();
    publisher.publish(group("a"), "old");
    assert_eq!(stream.message().1, "old");
}

#[test]
fn bytes_that_follow_the_request_are_dropped() {
    let (gateway, mut publisher) = start();
    let more = [b'x'; 256 << 10];
    let mut stream =
        Stream::open_with(gateway.address, &[&request("/events", &[]), &more[..]].concat());
    stream.synced();
    let before = resident_bytes();
    for _ in 0..512 {
        stream.client.send(&more);
    }
    publisher.publish(Audience::Everyone, "still here");
    assert_eq!(stream.message().1, "still here");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more for 128 MiB that were sent");
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident = pages.split(' ').nth(1).expect("two numbers");
    resident.parse::<usize>().expect("a number") * 4096
}

#[test]
fn a_stream_that_does_not_read_is_ended_and_may_come_back() {
    let script = Script::new();
    let gateway = Gateway::start_on(script.address, |_| {});
    let link = script.accept(at(0), None);
    let gateway = gateway.until_ready();
    let mut slow = Stream::open(gateway.address, "/events", &[]);
    slow.synced();
    let content = "x".repeat(1 << 20);
    for sequence in 1..=40 {
        link.publish(sequence, &Audience::Everyone, &content);
    }
    let mut seen = 0;
    let last = loop {
        match slow.next() {
            Block { id: Some(id), data: Some(_), .. } => {
                seen += 1;
                assert_eq!(id, at(seen).to_string(), "no event is left out before the end");
            }
            last => break last,
        }
    };
    assert_eq!(last, Block { retry: last.retry, ..Block::default() });
    assert!(seen < 40);
    slow.client.expect_end();
    // It can resume where it was cut off, if it has not missed too much.
    let mut back =
        Stream::open(gateway.address, "/events", &[&format!("Last-Event-ID: {}", at(39))]);
    let sync: Value = back.synced();
    assert_eq!(sync["recovered"], true, "{sync}");
    assert_eq!(back.message().0, at(40).to_string());
}
