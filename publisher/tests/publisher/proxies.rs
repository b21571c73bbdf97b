//! Connections are counted for the address that they are from, behind proxies for the caller.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use campanile_edge::{AddressLimits, Exposure, PerAddress};
use campanile_publisher::{PublisherConfig, default_addresses, fixed_addresses};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::harness::{Act, Broker, DEADLINE, Publisher, accept, get};

/// A push.
const PUSH: &str = "/?content=hi";

async fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).expect("an address");
    socket.connect(to).await.expect("connects")
}

/// Everything up to the end of the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("in time");
    String::from_utf8(answer).expect("UTF-8")
}

async fn sent(last: u8, to: SocketAddr, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = connect_from(last, to).await;
    stream.write_all(bytes.as_ref()).await.expect("it is read");
    stream
}

/// The status of the first answer.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = [0; 12];
    timeout(DEADLINE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    str::from_utf8(&answer[9..]).expect("ASCII").parse().expect("a status")
}

fn limited(change: impl FnOnce(&mut AddressLimits)) -> impl FnOnce(&mut PublisherConfig) {
    |config| {
        let mut addresses = default_addresses();
        change(&mut addresses);
        config.addresses = fixed_addresses(addresses);
    }
}

#[actix::test]
async fn an_address_has_no_more_connections_than_its_limit() {
    let broker = Broker::start(accept);
    let two = limited(|addresses| addresses.max_connections = PerAddress::set(2));
    let publisher = Publisher::start_with(broker.addr, two);
    // One of them says nothing, and counts.
    let silent = connect_from(2, publisher.addr).await;
    let mut held = sent(2, publisher.addr, get(PUSH)).await;
    assert_eq!(status(&mut held).await, 200);
    let answer = rest(sent(2, publisher.addr, get(PUSH)).await).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 10\r\n"), "{answer}");
    assert!(answer.contains("--max-connections-per-address"), "{answer}");
    assert_eq!(status(&mut sent(3, publisher.addr, get(PUSH)).await).await, 200);
    drop(silent);
    let begun = Instant::now();
    while status(&mut sent(2, publisher.addr, get(PUSH)).await).await != 200 {
        assert!(begun.elapsed() < DEADLINE, "there is room");
    }
}

#[actix::test]
async fn loopback_has_no_limit_by_default() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut held = Vec::new();
    for _ in 0..520 {
        held.push(connect_from(2, publisher.addr).await);
    }
    assert_eq!(status(&mut sent(2, publisher.addr, get(PUSH)).await).await, 200);
}

#[actix::test]
async fn a_flood_from_one_address_does_not_keep_others_out() {
    let broker = Broker::start(accept);
    let few = limited(|addresses| addresses.max_connections = PerAddress::set(10));
    let publisher = Publisher::start_with(broker.addr, |config| {
        few(config);
        // Without a limit per address, the flood would take all of them.
        config.max_connections = 100;
    });
    let mut flood = Vec::new();
    for turn in 0..400 {
        flood.push(connect_from(2, publisher.addr).await);
        if turn % 20 == 0 {
            let begun = Instant::now();
            assert_eq!(status(&mut sent(3, publisher.addr, get(PUSH)).await).await, 200);
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }
}

#[actix::test]
async fn a_caller_behind_a_trusted_proxy_has_its_own_share() {
    // The broker answers nobody, so everything stays under way.
    let broker = Broker::start(|_| Act::Nothing);
    let trusting = limited(|addresses| {
        addresses.trusted_proxies = "127.0.0.2".parse().expect("a list");
        addresses.max_connections = PerAddress::set(3);
    });
    let publisher = Publisher::start_with(broker.addr, |config| {
        trusting(config);
        config.exposure = Exposure::Open;
        config.max_content_bytes = 1_000;
        config.max_pending_bytes = 4_000;
        config.max_batch_bytes = 1_000;
    });
    let push = |forwarded: &str| {
        let head = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n";
        format!("{head}X-Forwarded-For: {forwarded}\r\n\r\n{}", "x".repeat(1_000))
    };
    // Three quarters of the room are for one caller. The proxy may have any number of connections.
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(sent(2, publisher.addr, push("192.0.2.1")).await);
    }
    broker.has_received(3).await;
    for spoofed in ["192.0.2.1", "198.51.100.1, 192.0.2.1", "x,192.0.2.1:1"] {
        let mut refused = sent(2, publisher.addr, push(spoofed)).await;
        assert_eq!(status(&mut refused).await, 503, "{spoofed}");
    }
    held.push(sent(2, publisher.addr, push("192.0.2.2")).await);
    broker.has_received(4).await;
}

#[actix::test]
async fn a_proxy_header_says_whom_a_connection_is_from() {
    let broker = Broker::start(accept);
    let proxied = limited(|addresses| {
        addresses.trusted_proxies = "127.0.0.2".parse().expect("a list");
        addresses.max_connections = PerAddress::set(1);
    });
    let publisher = Publisher::start_with(broker.addr, |config| {
        proxied(config);
        config.proxy_protocol = true;
        config.head_limit = Duration::from_millis(500);
    });
    let from = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 1 2\r\n{}", get(PUSH));
    let mut held = sent(2, publisher.addr, from("192.0.2.1")).await;
    assert_eq!(status(&mut held).await, 200);
    assert_eq!(status(&mut sent(2, publisher.addr, from("192.0.2.1")).await).await, 503);
    assert_eq!(status(&mut sent(2, publisher.addr, from("192.0.2.2")).await).await, 200);
    let itself = format!("PROXY UNKNOWN\r\n{}", get("/health/live"));
    assert_eq!(status(&mut sent(2, publisher.addr, itself).await).await, 200);
    // A spoofed header, none, and one that never ends.
    assert_eq!(rest(sent(3, publisher.addr, from("192.0.2.3")).await).await, "");
    assert_eq!(rest(sent(2, publisher.addr, get(PUSH)).await).await, "");
    assert_eq!(rest(sent(2, publisher.addr, "PROXY TCP4 192.").await).await, "");
}

#[actix::test]
async fn a_proxy_header_at_an_open_publisher_is_refused_as_a_proxy() {
    let broker = Broker::start(accept);
    let local = Publisher::start(broker.addr);
    let open = Publisher::start_with(broker.addr, |config| config.exposure = Exposure::Open);
    let v2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02";
    for header in [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", &b"PROXY UNKNOWN\r\n"[..], v2] {
        let bytes = [header, get(PUSH).as_bytes()].concat();
        let answer = rest(sent(2, local.addr, &bytes).await).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(answer.contains("shows that a proxy passes this request on"), "{answer}");
        let answer = rest(sent(2, open.addr, &bytes).await).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("--proxy-protocol"), "{answer}");
    }
    assert_eq!(broker.contents(), [""; 0]);
}
