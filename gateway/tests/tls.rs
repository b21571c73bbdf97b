//! TLS of a gateway: what clients get over it, what garbage and silence get, and how certificates and
//! tickets change.

mod harness;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_edge::Secret;
use campanile_edge::tls::{Certificate, ServerConfig, Tickets, http_config};
use campanile_gateway::GatewayConfig;
use campanile_harness::DEADLINE;
use campanile_harness::client::raw::{
    Client, FIN, PING, PONG, Stream, TEXT, close, frame, request, stream,
};
use campanile_harness::link::script::{Script, at, event};
use campanile_harness::tls::{Authority, Issued};
use campanile_messages::Audience;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use tokio::sync::watch;

use harness::Gateway;

const V1: &str = "Sec-WebSocket-Protocol: campanile.v1";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

fn tickets(secrets: &[&str]) -> Arc<Tickets> {
    let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    Arc::new(Tickets::new("gateway", &secrets, || 1_800_000_000))
}

fn config(issued: &[&Issued], tickets: &Arc<Tickets>) -> Arc<ServerConfig> {
    let certificate = |issued: &&Issued| {
        let key = Secret::new(issued.key.clone());
        Certificate::from_pem(issued.chain.as_bytes(), &key).expect("a pair")
    };
    http_config(issued.iter().map(certificate).collect(), tickets.clone()).expect("a certificate")
}

/// An authority, and a gateway with its certificate for `localhost`.
struct Secure {
    authority: Authority,
    gateway: Gateway,
    settings: watch::Sender<Arc<ServerConfig>>,
}

impl Secure {
    fn start(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut secure = Self::start_on(harness::broker(), change);
        secure.gateway = secure.gateway.until_ready();
        secure
    }

    /// A gateway that waits for its broker.
    fn start_on(broker: SocketAddr, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let authority = Authority::new();
        let first = config(&[&authority.issue(&["localhost"])], &tickets(&[]));
        let (settings, tls) = watch::channel(first);
        let gateway = Gateway::start_on(broker, |config| {
            config.tls = Some(tls);
            change(config);
        });
        Self { authority, gateway, settings }
    }

    fn client(&self, config: &Arc<ClientConfig>) -> Client {
        Client::secure(self.gateway.address, config, "localhost")
    }

    fn open(&self, config: &Arc<ClientConfig>, request: &[u8]) -> Client {
        let mut client = self.client(config);
        client.send(request);
        client.upgraded();
        client
    }
}

#[track_caller]
fn assert_greeted(client: &mut Client) {
    let greeting = client.recv();
    assert!(greeting.payload.starts_with(b"workerID:"), "{greeting:?}");
}

#[test]
fn a_websocket_over_tls_is_greeted_answered_and_closed() {
    let secure = Secure::start(|_| {});
    for version in VERSIONS {
        let config = secure.authority.client(&[version]);
        let mut client = secure.open(&config, &request("/?group=news", &[V1]));
        assert_eq!(client.json()["type"], "welcome");
        assert_eq!(client.tls.as_ref().unwrap().protocol_version(), Some(version.version));
        client.send(&frame(FIN | PING, b"are you there"));
        client.expect(PONG, b"are you there");
        client.send(&close(1000, b""));
        // The end is a close_notify, without which the client would report a cut stream.
        client.expect_close(1000);
    }
}

#[test]
fn a_client_that_breaks_the_protocol_gets_its_code_over_tls() {
    let secure = Secure::start(|_| {});
    let mut client = secure.open(&secure.authority.client(&VERSIONS), &request("/", &[]));
    assert_greeted(&mut client);
    // What it still sends must not turn the end into a reset.
    let flood = frame(FIN | TEXT, &[b'x'; 10_000]);
    client.send(&[&[0xff, 0xff][..], &flood].concat());
    client.expect_close(1002);
}

#[test]
fn a_handshake_and_a_request_may_arrive_byte_by_byte() {
    let secure = Secure::start(|_| {});
    let config = secure.authority.client(&VERSIONS);
    let mut client = secure.client(&config);
    let tls = client.tls.as_mut().unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    for byte in hello {
        client.stream.write_all(&[byte]).unwrap();
    }
    client.send_chopped(&request("/?group=news", &[]), 7);
    client.upgraded();
    assert_greeted(&mut client);
    for byte in frame(FIN | PING, b"slow") {
        client.send(&[byte]);
    }
    client.expect(PONG, b"slow");
}

#[test]
fn events_of_every_size_arrive_in_order_over_tls() {
    let script = Script::new();
    let secure = Secure::start_on(script.address, |_| {});
    let link = script.accept(at(1), None);
    let Secure { gateway, authority, .. } = secure;
    let gateway = gateway.until_ready();
    for version in VERSIONS {
        let config = authority.client(&[version]);
        let mut client = Client::secure(gateway.address, &config, "localhost");
        client.send(&request("/", &[]));
        client.upgraded();
        assert_greeted(&mut client);
        let sizes = [1, 100, 16_382, 16_383, 16_384, 16_385, 100_000, 3, 40_000];
        let contents = sizes.map(|len| "x".repeat(len));
        let first = if version.version == TLS13.version { 2 } else { 100 };
        let events = contents.iter().zip(first..);
        // Together, so that several wait in the outbox, and then one at a time.
        link.send(events.map(|(content, sequence)| event(sequence, &Audience::Everyone, content)));
        contents.iter().for_each(|content| client.expect(TEXT, content));
        for (content, sequence) in contents.iter().zip(first + 50..) {
            link.publish(sequence, &Audience::Everyone, content);
            client.expect(TEXT, content);
        }
    }
}

#[test]
fn a_client_that_reads_nothing_is_closed_with_4001_over_tls() {
    let script = Script::new();
    let secure = Secure::start_on(script.address, |config| config.max_outbox_bytes = 100_000);
    let link = script.accept(at(1), None);
    let Secure { gateway, authority, .. } = secure;
    let gateway = gateway.until_ready();
    let mut client = Client::secure(gateway.address, &authority.client(&VERSIONS), "localhost");
    client.send(&request("/", &[]));
    client.upgraded();
    assert_greeted(&mut client);
    let content = "x".repeat(50_000);
    // Far more than the buffers of both kernels hold.
    (2..400).for_each(|sequence| link.publish(sequence, &Audience::Everyone, &content));
    let closing = loop {
        let frame = client.recv();
        if frame.first != FIN | TEXT {
            break frame;
        }
        assert_eq!(frame.payload.len(), content.len(), "no event is cut");
    };
    assert_eq!(closing.closing().0, 4001);
    client.expect_end();
}

#[test]
fn pages_event_streams_and_refusals_are_served_over_tls() {
    let secure = Secure::start(|_| {});
    let config = secure.authority.client(&VERSIONS);
    let answer = |request: &str| {
        let mut client = secure.client(&config);
        client.send(request.as_bytes());
        client.response()
    };
    let get = |path| answer(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let (status, head, page) = get("/page.js");
    assert_eq!(status, 200);
    assert!(head.contains(&format!("content-length: {}\r\n", page.len())), "{head}");
    assert_eq!(get("/health/ready").2, "ok\n");
    assert_eq!(get("/nowhere").0, 404);
    assert_eq!(answer("no request\r\n\r\n").0, 400);
    let mut client = secure.client(&config);
    client.send(&stream::request("/events?group=news", &[]));
    let mut stream = Stream::begin(client);
    assert!(stream.synced()["position"].is_string());
}

#[test]
fn plain_http_on_a_port_for_tls_gets_a_sentence() {
    let secure = Secure::start(|_| {});
    let mut client = Client::raw(secure.gateway.address);
    client.send(&request("/", &[]));
    let (status, _, body) = client.response();
    assert_eq!((status, &*body), (400, "this port speaks TLS: use https or wss\n"));
}

/// A record of TLS, as it is on the wire.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], &(payload.len() as u16).to_be_bytes()[..], payload].concat()
}

#[test]
fn garbage_and_old_versions_get_an_alert() {
    let secure = Secure::start(|_| {});
    let suites = [0, 4, 0xc0, 0x13, 0, 0x2f];
    let of_1_1 = [&[3, 2], &[7; 32][..], &[0], &suites, &[1, 0]].concat();
    let of_1_1 = [&[1, 0, 0, of_1_1.len() as u8][..], &of_1_1].concat();
    for garbage in [
        record(22, &of_1_1),
        record(22, &[0; 100]),
        record(23, b"data"),
        vec![0; 1_000],
        vec![0xff; 100_000],
        // A record that is too long.
        [22, 3, 1, 0xff, 0xff].to_vec(),
    ] {
        let mut client = Client::raw(secure.gateway.address);
        // The gateway may stop reading before the end.
        let _ = client.try_send(&garbage);
        let mut alert = Vec::new();
        client.stream.read_to_end(&mut alert).expect("an end, not a reset");
        let start = &garbage[..garbage.len().min(10)];
        assert_eq!((alert.first(), alert.len()), (Some(&21), 7), "{start:?}");
    }
}

#[test]
fn a_client_that_speaks_only_another_protocol_is_refused() {
    let secure = Secure::start(|_| {});
    let mut config = Arc::unwrap_or_clone(secure.authority.client(&VERSIONS));
    for (offered, agreed) in [
        (&[&b"h2"[..]][..], None),
        (&[b"h2", b"http/1.1"], Some(&b"http/1.1"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
    ] {
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut client = secure.client(&Arc::new(config.clone()));
        let sent = client.try_send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(sent.is_ok(), agreed.is_some());
        assert_eq!(client.tls.as_ref().unwrap().alpn_protocol(), agreed);
    }
}

/// The first message of a handshake, which nobody continues.
fn hello(secure: &Secure) -> Vec<u8> {
    let mut client = secure.client(&secure.authority.client(&VERSIONS));
    let mut hello = Vec::new();
    let tls = client.tls.as_mut().expect("it speaks TLS");
    tls.write_tls(&mut hello).expect("a vector");
    hello
}

#[test]
fn whoever_stalls_in_the_handshake_is_cut_at_its_limit() {
    let limit = Duration::from_millis(500);
    let secure = Secure::start(|config| config.handshake_limit = limit);
    let hello = hello(&secure);
    for sent in [&[][..], &hello[..1], &hello[..hello.len() - 1], &hello] {
        let begun = Instant::now();
        let mut client = Client::raw(secure.gateway.address);
        client.send(sent);
        client.until_over();
        assert!(begun.elapsed() >= limit, "{} bytes", sent.len());
        assert!(begun.elapsed() < DEADLINE / 2, "{} bytes", sent.len());
    }
    // The limit includes the head of the request.
    let begun = Instant::now();
    let mut client = secure.client(&secure.authority.client(&VERSIONS));
    client.send(b"GET / HTTP/1.1\r\n");
    assert_eq!(client.response().0, 408);
    assert!(begun.elapsed() >= limit);
}

#[test]
fn half_open_handshakes_do_not_keep_a_client_out() {
    let secure = Secure::start(|config| config.max_tls_handshakes = 2);
    let config = secure.authority.client(&VERSIONS);
    let hello = hello(&secure);
    let flood: Vec<_> = (0..5)
        .map(|_| {
            let mut client = Client::raw(secure.gateway.address);
            client.send(&hello);
            client
        })
        .collect();
    // Those who have sent nothing have no place at all.
    let _silent: Vec<_> = (0..50).map(|_| Client::raw(secure.gateway.address)).collect();
    let mut client = secure.open(&config, &request("/", &[]));
    assert_greeted(&mut client);
    drop(flood);
}

#[test]
fn a_cut_connection_frees_its_seat_without_a_close_notify() {
    let secure = Secure::start(|config| config.max_connections = 1);
    let config = secure.authority.client(&VERSIONS);
    let mut first = secure.open(&config, &request("/", &[]));
    assert_greeted(&mut first);
    let mut second = secure.client(&config);
    second.send(&request("/", &[]));
    assert_eq!(second.response().0, 503);
    for end in [Shutdown::Write, Shutdown::Both] {
        first.stream.shutdown(end).expect("a connected socket");
        let begun = Instant::now();
        first = loop {
            let mut next = secure.client(&config);
            next.send(&request("/", &[]));
            if next.read_head().starts_with("HTTP/1.1 101 ") {
                break next;
            }
            assert!(begun.elapsed() < DEADLINE, "the seat is still taken");
        };
    }
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let secure = Secure::start(|_| {});
    let old = secure.authority.client(&VERSIONS);
    let mut before = secure.open(&old, &request("/", &[]));
    assert_greeted(&mut before);
    let another = Authority::new();
    let new = config(&[&another.issue(&["localhost"])], &tickets(&[]));
    secure.settings.send(new).expect("the gateway lives");
    let mut after = secure.open(&another.client(&VERSIONS), &request("/", &[]));
    assert_greeted(&mut after);
    let fresh = secure.authority.client(&VERSIONS);
    let refused = secure.client(&fresh).try_send(b"x").expect_err("another authority");
    assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
    before.send(&frame(FIN | PING, b"still here"));
    before.expect(PONG, b"still here");
}

#[test]
fn a_client_gets_the_certificate_for_its_name() {
    let secure = Secure::start(|_| {});
    let issued = [["localhost"], ["a.example"], ["b.example"]].map(|n| secure.authority.issue(&n));
    let issued: Vec<_> = issued.iter().collect();
    secure.settings.send(config(&issued, &tickets(&[]))).expect("the gateway lives");
    let trusting = secure.authority.client(&VERSIONS);
    for (name, is_served) in
        [("localhost", true), ("a.example", true), ("b.example", true), ("c.example", false)]
    {
        let mut client = Client::secure(secure.gateway.address, &trusting, name);
        assert_eq!(client.try_send(&request("/", &[])).is_ok(), is_served, "{name}");
    }
}

#[test]
fn a_client_resumes_on_another_gateway_with_the_same_secret() {
    let gateways = [&["secret"][..], &["secret"], &["new", "secret"], &["another"]];
    let secure = gateways.map(|_| Secure::start(|_| {}));
    let authority = &secure[0].authority;
    for (gateway, secrets) in secure.iter().zip(gateways) {
        let own = config(&[&authority.issue(&["localhost"])], &tickets(secrets));
        gateway.settings.send(own).expect("the gateway lives");
    }
    let kind = |gateway: &Secure, config: &Arc<ClientConfig>| {
        let mut client = gateway.open(config, &request("/", &[]));
        assert_greeted(&mut client);
        client.tls.as_ref().unwrap().handshake_kind().unwrap()
    };
    let client = authority.client(&[&TLS13]);
    let kinds = [0, 0, 1, 2, 3].map(|index| kind(&secure[index], &client));
    use HandshakeKind::{Full, Resumed};
    assert_eq!(kinds, [Full, Resumed, Resumed, Resumed, Full]);
    let old = authority.client(&[&TLS12]);
    assert_eq!([kind(&secure[0], &old), kind(&secure[0], &old)], [Full, Full]);
}
