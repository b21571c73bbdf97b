//! How the gateway refuses a connection.

use campanile_harness::{Cluster, Process, Websocket, connect, exchange, handshake};

#[tokio::test]
async fn a_wrong_handshake_gets_the_right_4xx() {
    let cluster = Cluster::of(1).start().await;
    let gateway = cluster.gateway_addresses[0];
    for (replace, with, status, named) in [
        ("GET", "POST", 405, "GET"),
        ("HTTP/1.1", "HTTP/1.0", 400, "HTTP/1.1"),
        ("Host: localhost\r\n", "", 400, "Host"),
        ("Host: localhost\r\n", "Host: a\r\nHost: b\r\n", 400, "Host"),
        ("Upgrade: websocket\r\n", "", 400, "Upgrade"),
        ("Upgrade: websocket", "Upgrade: h2c", 400, "Upgrade"),
        ("Connection: Upgrade\r\n", "", 400, "Connection"),
        ("Connection: Upgrade", "Connection: keep-alive", 400, "Connection"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400, "Sec-WebSocket-Key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "no base64 at all", 400, "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, "Sec-WebSocket-Key"),
        ("Version: 13", "Version: 8", 426, "13"),
        ("Sec-WebSocket-Version: 13\r\n", "", 426, "13"),
        ("Upgrade: w", "Sec-WebSocket-Protocol: campanile.v2\r\nUpgrade: w", 400, "campanile.v1"),
        ("GET /", "GET /?group=", 400, "group"),
        ("GET /", "GET /?group=%ff", 400, "group"),
        ("GET /", "GET /?group=%zz", 400, "%25"),
        ("GET /", "GET /?group=a%0ab", 400, "group"),
        ("GET /", "GET /?groups=a", 400, "groups"),
        ("GET /", "GET /chat", 404, ""),
        ("GET /", "GET //", 404, ""),
    ] {
        let request = handshake("/");
        assert!(request.contains(replace), "{replace}");
        let request = request.replacen(replace, with, 1);
        let answer = exchange(gateway, request.as_bytes()).await;
        assert_eq!(answer.status, status, "{request}{answer:?}");
        assert!(answer.body.contains(named), "{request}{answer:?}");
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        }
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET"));
        }
    }
}

#[tokio::test]
async fn a_browser_without_a_websocket_gets_the_page() {
    let cluster = Cluster::of(1).start().await;
    let gateway = cluster.gateway_addresses[0];
    let answer = exchange(gateway, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("text/html")));
    let elsewhere = exchange(gateway, b"GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(elsewhere.status, 404);
}

#[tokio::test]
async fn too_large_a_head_is_431_and_no_head_is_400() {
    let cluster = Cluster::of(1).start().await;
    let gateway = cluster.gateway_addresses[0];
    let long = handshake("/").replace("localhost", &"g".repeat(20_000));
    assert_eq!(exchange(gateway, long.as_bytes()).await.status, 431);
    let many = handshake("/").replace("\r\n\r\n", &format!("{}\r\n\r\n", "\r\nA: b".repeat(100)));
    assert_eq!(exchange(gateway, many.as_bytes()).await.status, 431);
    assert_eq!(exchange(gateway, b"\x16\x03\x01\x02\x00\x01\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn too_many_groups_are_400_in_the_url_and_an_error_in_v1() {
    let cluster = Cluster::of(1).gateway("--max-groups 2").start().await;
    let request = handshake("/?group=a&group=b&group=c");
    let answer = exchange(cluster.gateway_addresses[0], request.as_bytes()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("2 groups"), "{answer:?}");

    let mut client = cluster.client_v1(0, &["a", "b"]).await;
    client.say(r#"{"type":"join","group":"c"}"#).await;
    assert_eq!(client.json().await["code"], "too_many_groups");
    client.leave("a").await;
    client.join("c").await;
    cluster.push[0].group("c", "hi").await;
    assert_eq!(client.json().await["content"], "hi");
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_503_until_another_leaves() {
    let cluster = Cluster::of(1).gateway("--max-connections 2").start().await;
    let gateway = cluster.gateway_addresses[0];
    let first = cluster.client(0, &[]).await;
    let _second = cluster.client(0, &[]).await;
    let answer = exchange(gateway, handshake("/").as_bytes()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    first.leave_for_good().await;
    campanile_harness::eventually("room for another client", async || {
        (exchange(gateway, handshake("/").as_bytes()).await.status == 101).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_never_had_a_broker_is_503_and_recovers() {
    let mut broker = Process::start(&["broker", "--listen", "127.0.0.1:0"]);
    let broker_address = broker.address("the broker listens").await;
    broker.kill().await;
    let gateway = campanile_harness::start_gateway(broker_address, &[]);
    let address = gateway.address("the gateway listens").await;
    let answer = exchange(address, handshake("/").as_bytes()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let seconds = answer.header("retry-after").and_then(|value| value.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}");
    // A request that is wrong in any case is still answered so.
    let wrong = exchange(address, handshake("/?group=").as_bytes()).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");

    let _broker = Process::start(&["broker", "--listen", &broker_address.to_string()]);
    gateway.said("the gateway takes connections").await;
    Websocket::plain(address, &[]).await;
}

#[tokio::test]
async fn a_client_that_never_sends_its_request_is_408() {
    let cluster = Cluster::of(1).gateway("--handshake-limit 300ms").start().await;
    let answer = exchange(cluster.gateway_addresses[0], b"GET / HT").await;
    assert_eq!(answer.status, 408, "{answer:?}");
}

#[tokio::test]
async fn a_client_that_breaks_a_rule_is_closed_with_its_code() {
    let cluster = Cluster::of(1).gateway("--max-message 1KiB").start().await;
    let mut bystander = cluster.client_v1(0, &[]).await;

    let mut large = cluster.client_v1(0, &[]).await;
    large.say(&"x".repeat(1_025)).await;
    assert_eq!(large.closed().await.1, 1009);

    let mut abusive = cluster.client_v1(0, &[]).await;
    for _ in 0..101 {
        abusive.say("nonsense").await;
    }
    assert_eq!(abusive.closed().await, (101, 1008));

    for (frame, code) in [
        // Unmasked, with reserved bits, with an unknown opcode, a fragmented ping, invalid UTF-8.
        (&[0x81, 1, b'x'][..], 1002),
        (&[0xf1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x09, 0x80, 0, 0, 0, 0], 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
    ] {
        let mut client = cluster.client_v1(0, &[]).await;
        client.say_bytes(frame).await;
        assert_eq!(client.closed().await.1, code, "{frame:x?}");
    }
    cluster.push[0].everyone("hi").await;
    assert_eq!(bystander.json().await["content"], "hi");
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_then_closed_with_1011() {
    let cluster = Cluster::of(1).gateway("--ping-after 500ms --silence-limit 1500ms").start().await;
    let gateway = cluster.gateway_addresses[0];
    let mut silent = Websocket::open(connect(gateway, None).await, &[], None).await.greeted().await;
    let mut answering = cluster.client(0, &[]).await;
    let answered = tokio::spawn(async move { answering.texts_until("last").await });
    let frames = silent.bytes_until_closed().await;
    assert!(frames.starts_with(&[0x89, 0]), "no ping: {frames:x?}");
    assert!(frames.windows(2).any(|code| code == 1011u16.to_be_bytes()), "{frames:x?}");
    cluster.push[0].everyone("last").await;
    assert_eq!(answered.await.expect("a client that answers stays"), [""; 0]);
}

#[tokio::test]
async fn an_unknown_subprotocol_is_logged_once_and_no_secret_is() {
    let offered = |name: &str| {
        let end = format!("\r\nSec-WebSocket-Protocol: {name}\r\n\r\n");
        handshake("/").replace("\r\n\r\n", &end)
    };
    for (name, logged, hidden) in [
        ("arduino", "offered=\"arduino\"", "nothing is hidden"),
        ("a\u{202e}b", "offered=\"a\\u{202e}b\"", "\u{202e}"),
        (
            "x-------------------------------end",
            "offered=\"x-------------------------------\"",
            "-end",
        ),
        ("base64url.bearer.campanile.c2VjcmV0", "offered=\"base64url.bearer.\"", "c2VjcmV0"),
    ] {
        let cluster = Cluster::of(1).gateway("--workers 1").start().await;
        for _ in 0..3 {
            let request = offered(name);
            let answer = exchange(cluster.gateway_addresses[0], request.as_bytes()).await;
            assert_eq!(answer.status, 101, "{answer:?}");
        }
        let line = cluster.gateways[0].said(logged).await;
        assert!(line.contains("INFO") && line.contains("unknown subprotocol"), "{line}");
        assert_eq!(cluster.gateways[0].count("unknown subprotocol"), 1);
        assert_eq!(cluster.gateways[0].count(hidden), 0, "{:?}", cluster.gateways[0].log());
    }
}

#[tokio::test]
async fn parameters_and_hosts_are_allowed_by_flags() {
    let flags = "--ignore-params token,utm --allow-host app.test,b.test:80";
    let cluster = Cluster::of(1).gateway(flags).start().await;
    let gateway = cluster.gateway_addresses[0];
    for (target, host, status) in [
        ("/?token=x&utm=y&_=1&group=a", "localhost", 101),
        ("/?tokens=x", "localhost", 400),
        ("/", "app.test:4236", 101),
        ("/", "b.test", 101),
        ("/", "b.test:81", 403),
        ("/", "evil.example", 403),
    ] {
        let request = handshake(target).replace("Host: localhost", &format!("Host: {host}"));
        let answer = exchange(gateway, request.as_bytes()).await;
        assert_eq!(answer.status, status, "{target} {host} {answer:?}");
    }
}
