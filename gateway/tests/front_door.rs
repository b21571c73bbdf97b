//! The port of a gateway: how it answers handshakes, requests for pages and anything else, and how long
//! it waits for clients that say nothing.

mod harness;
#[path = "front_door/waiting.rs"]
mod waiting;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use campanile_harness::client::raw::{Client, FIN, PING, PONG, TEXT, frame, header, request};
use campanile_harness::{DEADLINE, bind};

use harness::Gateway;

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";

const PAGE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends a request and reads the response up to the end of the connection.
fn answer(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut client = Client::raw(address);
    client.send(request);
    // A server that waits for a body now knows that there is none.
    client.shut_down();
    client.response()
}

#[track_caller]
fn assert_greeted(client: &mut Client) {
    let greeting = client.recv();
    assert_eq!(greeting.first, FIN | TEXT);
    assert!(greeting.payload.starts_with(b"workerID:"), "{greeting:?}");
}

#[test]
fn a_handshake_may_arrive_byte_by_byte_and_in_any_pieces() {
    let gateway = Gateway::start(|_| {});
    let request = request("/?group=news", &[]);
    for len in [1, 2, 3, 50] {
        let mut client = Client::raw(gateway.address);
        client.send_chopped(&request, len);
        client.upgraded();
        assert_greeted(&mut client);
    }
}

#[test]
fn frames_that_come_with_the_request_are_not_lost() {
    let gateway = Gateway::start(|_| {});
    let join = frame(FIN | TEXT, br#"{"type":"join","group":"early"}"#);
    let early = [request("/", &[V1]), join, frame(FIN | PING, b"early")].concat();
    let mut client = Client::open_with(gateway.address, &early);
    // The pong does not wait for the broker.
    let mut frames = [client.recv(), client.recv(), client.recv()];
    frames.sort_by_key(|frame| frame.payload.clone());
    assert_eq!((frames[0].first, &*frames[0].payload), (FIN | PONG, &b"early"[..]));
    assert_eq!(frames[1].payload, br#"{"type":"joined","group":"early"}"#);
    assert!(frames[2].payload.starts_with(br#"{"type":"welcome""#));
}

#[test]
fn the_welcome_comes_first_whatever_the_client_says_meanwhile() {
    let gateway = Gateway::start(|_| {});
    let say = |text: &str| frame(FIN | TEXT, text.as_bytes());
    let said = [say(r#"{"type":"ping"}"#), say(r#"{"type":"leave","group":"a"}"#), say("junk")];
    let early = [request("/?group=a", &[V1]), said.concat()].concat();
    let mut client = Client::open_with(gateway.address, &early);
    for kind in ["welcome", "pong", "left", "error"] {
        let text = String::from_utf8(client.recv().payload).unwrap();
        assert!(text.starts_with(&format!(r#"{{"type":"{kind}""#)), "{text} is no {kind}");
    }
}

#[test]
fn a_websocket_may_name_its_host_in_the_request_line() {
    let gateway = Gateway::start(|_| {});
    let target = format!("http://{}/?group=a", gateway.address);
    let mut client = Client::open_with(gateway.address, &request(&target, &[]));
    assert_greeted(&mut client);
}

#[test]
fn a_wrong_handshake_gets_an_error_that_says_what_is_wrong() {
    let gateway = Gateway::start(|_| {});
    let many: String = (0..101).map(|i| format!("group={i}&")).collect();
    let long = format!("/?group={}", "x".repeat(256));
    for (target, replace, with, status, sentence) in [
        ("/", "GET", "POST", 405, "method POST"),
        ("/", "HTTP/1.1", "HTTP/1.0", 400, "HTTP/1.1"),
        ("/", "Host: localhost\r\n", "", 400, "Host"),
        ("/", "Upgrade: websocket\r\n", "", 400, "Upgrade: websocket"),
        ("/", "Connection: Upgrade", "Connection: close", 400, "Connection: Upgrade"),
        ("/", "Version: 13", "Version: 8", 426, "must be 13"),
        ("/", "dGhlIHNhbXBsZSBub25jZQ==", "short", 400, "16 bytes in base64"),
        ("/", "Host", "Sec-WebSocket-Protocol: mqtt, wamp\r\nHost", 400, "campanile.v1, or none"),
        ("/?group=", "", "", 400, "must not be empty"),
        ("/?group=%0a", "", "", 400, "control characters"),
        ("/?group=%ff", "", "", 400, "is not UTF-8"),
        ("/?group=%zz", "", "", 400, "malformed percent escape"),
        ("/?topic=x", "", "", 400, "unknown parameter \"topic\""),
        (&format!("/?{many}"), "", "", 400, "at most 100 are accepted"),
        ("/?since=a&since=a", "", "", 400, "one position is accepted"),
        (&long, "", "", 400, "at most 255 bytes"),
    ] {
        let request = String::from_utf8(request(target, &[])).unwrap().replacen(replace, with, 1);
        let (answered, head, body) = answer(gateway.address, request.as_bytes());
        assert_eq!(answered, status, "{request}{body}");
        assert!(body.contains(sentence), "{sentence:?} is not in {body:?}");
        assert_eq!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), status == 426, "{head}");
        assert_eq!(head.contains("\r\nAllow: GET\r\n"), status == 405, "{head}");
    }
}

#[test]
fn a_head_that_is_too_large_or_never_ends_is_answered_431() {
    let gateway = Gateway::start(|_| {});
    let padding = format!("X-Padding: {}", "x".repeat(16 << 10));
    let many = vec!["X-Header: x"; 65];
    for request in [
        request("/", &[&padding]),
        request("/", &many),
        b"GET / HTTP/1.1\r\nX-Padding: ".iter().copied().chain([b'x'; 20 << 10]).collect(),
        [b"GET /", &[b'x'; 20 << 10][..]].concat(),
    ] {
        let (status, _, body) = answer(gateway.address, &request);
        assert_eq!(status, 431, "{body}");
    }
}

#[test]
fn a_head_that_does_not_arrive_in_time_is_answered_408() {
    let limit = Duration::from_millis(300);
    let gateway = Gateway::start(|config| config.handshake_limit = limit);
    for start in [&b""[..], b"GET / HTTP/1.1\r\nHost: te"] {
        let begun = Instant::now();
        let mut client = Client::raw(gateway.address);
        client.send(start);
        assert_eq!(client.response().0, 408);
        assert!(begun.elapsed() >= limit);
    }
    // The limit is for the whole head, not for the time between two bytes.
    let begun = Instant::now();
    let mut client = Client::raw(gateway.address);
    let mut trickle = client.stream.try_clone().unwrap();
    let trickling = std::thread::spawn(move || {
        for byte in b"GET / HTTP/1.1\r\n".iter().chain(&[b'x'; 1_000]) {
            if begun.elapsed() > Duration::from_secs(5) || trickle.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(begun.elapsed() < Duration::from_secs(3), "after {:?}", begun.elapsed());
    drop(client);
    trickling.join().unwrap();
}

#[test]
fn the_page_and_its_files_are_served_with_their_types() {
    let url = "http://push.example/?a=1&b=\"2\"";
    let gateway = Gateway::start(|config| config.publisher_url = Some(url.to_owned()));
    for (path, content_type, part) in [
        ("/", "text/html; charset=utf-8", "push.example/?a=1&amp;b=&quot;2&quot;\""),
        ("/?group=news", "text/html; charset=utf-8", "<title>Campanile</title>"),
        ("/page.css", "text/css; charset=utf-8", "{"),
        ("/page.js", "text/javascript; charset=utf-8", "from './campanile.js'"),
        ("/words.js", "text/javascript; charset=utf-8", "export function"),
        ("/campanile.js", "text/javascript; charset=utf-8", "export class Campanile {"),
    ] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, head, body) = answer(gateway.address, get.as_bytes());
        let headers = head.to_ascii_lowercase();
        assert_eq!(status, 200, "{path}");
        assert!(headers.contains(&format!("\r\ncontent-type: {content_type}\r\n")), "{head}");
        assert!(headers.contains("\r\nx-content-type-options: nosniff\r\n"), "{head}");
        let is_for_all = headers.contains("\r\naccess-control-allow-origin: *\r\n");
        assert_eq!(is_for_all, path == "/campanile.js", "{head}");
        assert!(body.contains(part), "{path}");
        assert!(!body.contains("{{publisher_url}}"), "{path}");

        let (status, of_head, nothing) =
            answer(gateway.address, get.replacen("GET", "HEAD", 1).as_bytes());
        let length = format!("\r\ncontent-length: {}\r\n", body.len());
        assert_eq!((status, &*nothing), (200, ""), "{path}");
        assert!(of_head.to_ascii_lowercase().contains(&length), "{of_head}");
    }
}

#[test]
fn a_request_for_neither_page_nor_websocket_is_answered() {
    let gateway = Gateway::start(|_| {});
    let h2c = "Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
               HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA";
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET //page.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("DELETE /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("OPTIONS /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 405),
        // A body that never arrives.
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", 405),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            405,
        ),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /events?group=a HTTP/1.1\r\n\r\n", 200),
        ("GET /health/live HTTP/1.1\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n", 200),
        (&format!("GET / HTTP/1.1\r\n{h2c}\r\n\r\n"), 200),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        ("hello\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost test\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
    ] {
        let begun = Instant::now();
        let mut client = Client::raw(gateway.address);
        client.send(request.as_bytes());
        let mut head = client.read_head();
        if head.starts_with("HTTP/1.1 100") {
            head = client.read_head();
        }
        assert_eq!(head[9..12].parse(), Ok(status), "{request}{head}");
        client.shut_down();
        client.until_over();
        assert!(begun.elapsed() < Duration::from_secs(5), "{request} {:?}", begun.elapsed());
    }
}

#[test]
fn a_websocket_anywhere_but_at_the_root_is_answered_404() {
    let gateway = Gateway::start(|_| {});
    for target in ["/socket", "/page.js/x", "/events?group=a"] {
        let (status, _, body) = answer(gateway.address, &request(target, &[]));
        assert_eq!(status, 404, "{target}");
        assert!(body.contains("websockets are at /"), "{body}");
    }
}

#[test]
fn a_connection_that_got_the_page_gets_nothing_else() {
    let gateway = Gateway::start(|_| {});
    let (status, _, body) = answer(gateway.address, &[PAGE, &request("/", &[])].concat());
    assert_eq!(status, 200);
    assert!(body.ends_with("</html>\n") && !body.contains("HTTP/1.1 101"), "{body}");
}

#[test]
fn a_gateway_without_a_broker_serves_the_page_only() {
    let nobody = bind().1;
    let gateway = Gateway::start_on(nobody, |_| {});
    let (status, head, body) = answer(gateway.address, &request("/", &[]));
    assert_eq!(status, 503);
    assert!(head.contains("\r\nRetry-After: 1\r\n"), "{head}");
    assert_eq!(body, "this gateway has no link to its broker: try again, or try another\n");
    assert_eq!(answer(gateway.address, PAGE).0, 200);
}

#[test]
fn a_connection_over_the_limit_gets_503_until_one_leaves() {
    let gateway = Gateway::start(|config| config.max_connections = 2);
    let mut first = Client::open(gateway.address);
    // A connection counts from the start, not from its request.
    let second = Client::raw(gateway.address);
    assert_greeted(&mut first);
    let (status, head, body) = answer(gateway.address, &request("/", &[]));
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("\r\nRetry-After: 10\r\n"), "{head}");
    drop(second);
    let begun = Instant::now();
    loop {
        let mut third = Client::raw(gateway.address);
        third.send(&request("/", &[]));
        if third.read_head().starts_with("HTTP/1.1 101 ") {
            return assert_greeted(&mut third);
        }
        assert!(begun.elapsed() < DEADLINE, "the seat is free");
    }
}

#[test]
fn more_than_a_hundred_errors_are_closed_with_1008() {
    let gateway = Gateway::start(|_| {});
    let mut client = Client::open_with(gateway.address, &request("/", &[V1]));
    assert!(client.recv().payload.starts_with(br#"{"type":"welcome""#));
    client.send(&frame(FIN | TEXT, br#"{"type":"shout"}"#).repeat(150));
    for _ in 0..101 {
        let error = client.recv();
        assert!(
            error.payload.starts_with(br#"{"type":"error","code":"unknown_type""#),
            "{error:?}"
        );
    }
    client.expect_close(1008);
}

#[test]
fn a_message_over_64_kib_is_closed_with_1009() {
    let gateway = Gateway::start(|_| {});
    let mut client = Client::open_with(gateway.address, &request("/", &[V1]));
    assert!(client.recv().payload.starts_with(br#"{"type":"welcome""#));
    client.send(&frame(FIN | TEXT, &[b'x'; 64 << 10]));
    let error = client.recv();
    assert!(error.payload.starts_with(br#"{"type":"error","code":"malformed""#), "{error:?}");
    client.send(&header(FIN | TEXT, (64 << 10) + 1));
    client.expect_close(1009);
}

#[test]
fn a_shutdown_closes_every_client_with_1001_and_ends() {
    let gateway = Gateway::start(|_| {});
    let mut clients = [Client::open(gateway.address), Client::open(gateway.address)];
    clients.iter_mut().for_each(assert_greeted);
    let leaving = std::thread::spawn(move || {
        for client in &mut clients {
            client.expect_close(1001);
        }
    });
    drop(gateway);
    leaving.join().expect("each client was closed with 1001");
}
