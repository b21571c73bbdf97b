//! Clients behind proxies: whom each connection counts for, by `X-Forwarded-For` and by PROXY headers.

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use campanile_edge::{Exposure, PerAddress};
use campanile_gateway::GatewayLimits;
use campanile_harness::DEADLINE;
use campanile_harness::client::raw::{Client, request, stream};

use super::{ONE, OTHER, V1, greeted, refused_by_message, sent, start, status, until_open};

/// Expects the end of a connection that gets nothing.
#[track_caller]
fn assert_closed(mut client: Client) {
    match client.stream.read(&mut [0; 64]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}

#[test]
fn behind_a_trusted_proxy_the_client_is_counted() {
    let proxied = |limits: &mut GatewayLimits| {
        limits.addresses.trusted_proxies = "127.0.0.2".parse().expect("a list");
        limits.addresses.max_connections = PerAddress::set(2);
    };
    let gateway = start(proxied, |config| config.exposure = Exposure::Open);
    let from = |client: &str| request("/", &[&format!("X-Forwarded-For: {client}")]);
    let _held = [(); 2].map(|()| greeted(sent(&gateway, ONE, &from("192.0.2.1"))));
    assert_eq!(status(&gateway, ONE, &from("192.0.2.1")), 503);
    // What the client itself has sent is to the left of what the proxy knows.
    for spoofed in [
        "198.51.100.1, 192.0.2.1",
        "127.0.0.2,192.0.2.1:99",
        "x\r\nX-Forwarded-For: \
         ::ffff:192.0.2.1",
    ] {
        assert_eq!(status(&gateway, ONE, &from(spoofed)), 503, "{spoofed}");
    }
    let offers_v1 = request("/", &[V1, "X-Forwarded-For: 192.0.2.1"]);
    assert_eq!(refused_by_message(sent(&gateway, ONE, &offers_v1)), "too_many_connections");
    assert_eq!(status(&gateway, ONE, &from("192.0.2.2")), 101);
    // The proxy itself is not limited.
    let _proxy = [(); 5].map(|()| greeted(sent(&gateway, ONE, &request("/", &[]))));
    // Another address cannot speak for others, however much it says.
    let many = vec!["198.51.100.1"; 1_000].join(",");
    let _other = [(); 2].map(|()| greeted(sent(&gateway, OTHER, &from(&many))));
    assert_eq!(status(&gateway, OTHER, &from("198.51.100.2")), 503);
}

#[test]
fn a_flood_behind_a_proxy_leaves_room_for_its_other_clients() {
    let proxied = |limits: &mut GatewayLimits| {
        limits.addresses.trusted_proxies = "127.0.0.0/8".parse().expect("a list");
        limits.addresses.max_connections = PerAddress::set(1);
    };
    let gateway = start(proxied, |config| {
        config.exposure = Exposure::Open;
        config.max_connections = 300;
    });
    let from = |client: &str| request("/", &[V1, &format!("X-Forwarded-For: {client}")]);
    let welcomed = |client: &str| {
        let mut client = sent(&gateway, ONE, &from(client));
        client.upgraded();
        assert_eq!(client.json()["type"], "welcome");
        client
    };
    let _held = welcomed("192.0.2.1");
    // None of them reads its answer or leaves.
    let flood: Vec<_> = (0..250).map(|_| sent(&gateway, ONE, &from("192.0.2.1"))).collect();
    let others: Vec<_> = (2..100).map(|other| welcomed(&format!("192.0.2.{other}"))).collect();
    drop((flood, others));
}

#[test]
fn a_proxy_header_says_whom_a_connection_is_from() {
    let proxied = |limits: &mut GatewayLimits| {
        limits.addresses.trusted_proxies = "127.0.0.2".parse().expect("a list");
        limits.addresses.max_connections = PerAddress::set(1);
    };
    let gateway = start(proxied, |config| config.proxy_protocol = true);
    let v1 = |client: &str| {
        let header = format!("PROXY TCP4 {client} 127.0.0.1 4660 80\r\n").into_bytes();
        [header, request("/", &[])].concat()
    };
    let v2 = |client: [u8; 4]| {
        let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        [&start[..], &client, &[127, 0, 0, 1, 0x12, 0x34, 0, 80], &request("/", &[])].concat()
    };
    let _held = greeted(sent(&gateway, ONE, &v1("192.0.2.1")));
    assert_eq!(status(&gateway, ONE, &v1("192.0.2.1")), 503);
    assert_eq!(status(&gateway, ONE, &v2([192, 0, 2, 1])), 503);
    let _other = greeted(sent(&gateway, ONE, &v2([192, 0, 2, 2])));
    let mut chopped = Client::raw_from(ONE, gateway.address);
    chopped.send_chopped(&v2([192, 0, 2, 3]), 1);
    greeted(chopped);
    // A proxy that speaks for itself is not limited.
    for header in [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], b"PROXY UNKNOWN\r\n"] {
        let check = [header, &stream::request("/health/live", &[])].concat();
        let itself = [header, &request("/", &[])].concat();
        assert_eq!(status(&gateway, ONE, &check), 200);
        let _held = [(); 3].map(|()| greeted(sent(&gateway, ONE, &itself)));
    }
}

#[test]
fn a_proxy_header_is_required_and_taken_from_trusted_proxies_only() {
    let proxied = |limits: &mut GatewayLimits| {
        limits.addresses.trusted_proxies = "127.0.0.2".parse().expect("a list");
    };
    let gateway = start(proxied, |config| config.proxy_protocol = true);
    let header = b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\r\n";
    let request = request("/", &[]);
    for bytes in [
        request.clone(),
        [&b"PROXY TCP4 192.0.2.1\r\n"[..], &request].concat(),
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &request].concat(),
        b"\x16\x03\x01\x02\0\x01\0".to_vec(),
    ] {
        assert_closed(sent(&gateway, ONE, &bytes));
    }
    let spoofed = [&header[..], &request].concat();
    assert_closed(sent(&gateway, OTHER, &spoofed));
    // A client that sends a header of its own behind that of the proxy has sent no request.
    assert_eq!(status(&gateway, ONE, &[&header[..], header, &request].concat()), 400);
    // Where it is not asked for, it says that the service is behind a proxy, which must not be open.
    let open = start(|_| {}, |_| {});
    assert_eq!(status(&open, ONE, &spoofed), 403);
}

#[test]
fn a_proxy_header_that_never_ends_is_closed_in_time() {
    let proxied = |limits: &mut GatewayLimits| {
        limits.addresses.trusted_proxies = "127.0.0.0/8".parse().expect("a list");
    };
    let limit = Duration::from_millis(300);
    let gateway = start(proxied, |config| {
        config.proxy_protocol = true;
        config.handshake_limit = limit;
        config.max_connections = 3;
    });
    for start in [&b""[..], b"PROXY TCP4 192.0.2.1", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"] {
        let begun = Instant::now();
        assert_closed(sent(&gateway, ONE, start));
        assert!(begun.elapsed() >= limit && begun.elapsed() < DEADLINE);
    }
    // The time is for the whole header.
    let mut slow = sent(&gateway, ONE, b"PROXY TCP4 ");
    let begun = Instant::now();
    while slow.try_send(b"1").is_ok() {
        assert!(begun.elapsed() < DEADLINE, "the connection was not cut");
        std::thread::sleep(limit / 10);
    }
    // What was cut holds no seat.
    let header = b"PROXY UNKNOWN\r\n";
    until_open(&gateway, ONE, &[&header[..], &request("/", &[])].concat());
}

#[test]
fn a_proxy_header_and_its_request_have_one_time_limit() {
    let proxied = |limits: &mut GatewayLimits| {
        limits.addresses.trusted_proxies = "127.0.0.0/8".parse().expect("a list");
    };
    let limit = Duration::from_secs(2);
    let gateway = start(proxied, |config| {
        config.proxy_protocol = true;
        config.handshake_limit = limit;
    });
    let begun = Instant::now();
    let mut slow = sent(&gateway, ONE, b"PROXY UNKNOWN");
    std::thread::sleep(limit * 3 / 4);
    slow.send(b"\r\n");
    assert_eq!(slow.response().0, 408);
    let taken = begun.elapsed();
    assert!(taken >= limit && taken < limit * 3 / 2, "{taken:?}");
    // Whoever finds no room gets less time.
    let full = start(proxied, |config| {
        config.proxy_protocol = true;
        config.max_connections = 1;
    });
    let header = b"PROXY UNKNOWN\r\n";
    let _held = greeted(sent(&full, ONE, &[&header[..], &request("/", &[])].concat()));
    let begun = Instant::now();
    assert_closed(sent(&full, ONE, b"PROXY UNKNOWN"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
