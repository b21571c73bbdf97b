//! Pages of other sites, and hosts and proxies that an open gateway does not expect.

use campanile_edge::{AllowOrigins, Exposure};
use campanile_harness::client::raw::stream::Stream;
use campanile_harness::client::raw::{self, request};

use super::harness::Gateway;
use super::{V1, answer, assert_greeted, get, refused_by_message};

#[test]
fn websockets_need_an_allowed_origin_where_there_is_a_list() {
    let only: AllowOrigins = "https://app.example".parse().expect("a list");
    for (allow_origins, origin, is_allowed) in [
        (AllowOrigins::Local, "https://evil.example", true),
        (AllowOrigins::Any, "https://evil.example", true),
        (only.clone(), "https://app.example", true),
        (only.clone(), "http://localhost", true),
        (only.clone(), "https://evil.example", false),
        (only, "null", false),
        (AllowOrigins::Only(vec![]), "https://app.example", false),
    ] {
        let gateway = Gateway::start(|config| config.allow_origins = allow_origins.clone());
        let header = format!("Origin: {origin}");
        let request = request("/", &[&header]);
        if is_allowed {
            assert_greeted(gateway.address, &request);
        } else {
            let (status, _, body) = answer(gateway.address, &request);
            assert_eq!(status, 403, "{origin}");
            assert!(body.contains(&format!("{origin:?}")), "{body}");
            assert!(body.contains("--allow-origin"), "{body}");
        }
        // A client that is not a browser.
        assert_greeted(gateway.address, &raw::request("/", &[]));
    }
}

#[test]
fn a_foreign_host_gets_only_health_checks_on_loopback() {
    let gateway = Gateway::start(|config| {
        config.allow_hosts = "app.test".parse().expect("a list");
    });
    let as_host = |request: Vec<u8>, host: &str| {
        let request = String::from_utf8(request).expect("ASCII");
        request.replacen("Host: localhost", &format!("Host: {host}"), 1).into_bytes()
    };
    for host in ["evil.example", "evil.example:4236", "", "127.0.0.1.evil.example"] {
        for request in [request("/", &[]), get("/events", &[]), get("/", &[]), get("/x", &[])] {
            let (status, _, body) = answer(gateway.address, &as_host(request, host));
            assert_eq!(status, 403, "{host}");
            assert!(body.contains("--allow-host"), "{body}");
        }
        let check = as_host(get("/health/ready", &["Origin: https://evil.example"]), host);
        assert_eq!(answer(gateway.address, &check).0, 200);
    }
    for host in ["127.0.0.1:4236", "[::1]", "LOCALHOST:1", "app.test", "app.test:80"] {
        assert_greeted(gateway.address, &as_host(request("/", &[]), host));
        assert_eq!(answer(gateway.address, &as_host(get("/", &[]), host)).0, 200);
    }
    assert_eq!(answer(gateway.address, b"GET / HTTP/1.0\r\n\r\n").0, 200);
}

#[test]
fn a_proxy_and_a_foreign_host_are_refused_by_how_open_the_gateway_is() {
    for (exposure, foreign_host, by_proxy) in
        [(Exposure::Guarded, 200, 200), (Exposure::Open, 403, 200), (Exposure::Local, 403, 403)]
    {
        let gateway = Gateway::start(|config| config.exposure = exposure);
        let foreign = b"GET /campanile.js HTTP/1.1\r\nHost: app.example\r\n\r\n";
        assert_eq!(answer(gateway.address, foreign).0, foreign_host, "{exposure:?}");
        let forwarded = get("/campanile.js", &["X-Forwarded-For: 203.0.113.7"]);
        assert_eq!(answer(gateway.address, &forwarded).0, by_proxy, "{exposure:?}");
        let or_bad = if by_proxy == 403 { 403 } else { 400 };
        for header in
            [&b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"]
        {
            let proxied = [header, &get("/campanile.js", &[])].concat();
            assert_eq!(answer(gateway.address, &proxied).0, or_bad, "{exposure:?}");
        }
    }
    // A browser does not show its page the status, so the reason comes as a message.
    let gateway = Gateway::start(|_| {});
    let refused = refused_by_message(gateway.address, &request("/", &[V1, "Via: 1.1 proxy"]));
    assert_eq!(refused, "proxy_not_allowed");
}

#[test]
fn only_an_origin_that_is_listed_may_send_credentials() {
    const CREDENTIALS: &str = "\r\nAccess-Control-Allow-Credentials: true\r\n";
    let only: AllowOrigins = "https://app.example".parse().expect("a list");
    for (allow_origins, origin, may) in [
        (only.clone(), "https://app.example", true),
        (only, "https://evil.example", false),
        (AllowOrigins::Any, "https://app.example", false),
        (AllowOrigins::Local, "http://localhost:3000", false),
    ] {
        let gateway = Gateway::start(|config| config.allow_origins = allow_origins.clone());
        let from = format!("Origin: {origin}");
        let stream = Stream::open(gateway.address, "/events", &[&from]);
        let preflight = format!("OPTIONS /events HTTP/1.1\r\nHost: localhost\r\n{from}\r\n\r\n");
        let (status, preflight, _) = answer(gateway.address, preflight.as_bytes());
        assert_eq!(status, 204);
        let refused = answer(gateway.address, &get("/events?topic=a", &[&from])).1;
        for head in [&stream.head, &preflight, &refused] {
            assert_eq!(head.contains(CREDENTIALS), may, "{origin} {head}");
            let is_named = head.contains(&format!("Access-Control-Allow-Origin: {origin}\r\n"));
            assert!(is_named || !may, "{head}");
        }
    }
}
