//! The listener for operators, apart from the ports of clients and backends.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use campanile_harness::tls::Files;
use campanile_harness::{
    Answer, HttpConnection, Process, command, eventually, exchange, output_of, within,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::time::timeout;

const UP: [&str; 4] = [
    "up",
    "--broker-listen=127.0.0.1:0",
    "--gateway-listen=127.0.0.1:0",
    "--publisher-listen=127.0.0.1:0",
];

async fn ask(address: SocketAddr, line: &str, headers: &str) -> Answer {
    let host = if headers.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
    let request = format!("{line} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
    exchange(address, request.as_bytes()).await
}

async fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    ask(address, &format!("GET {path}"), headers).await
}

#[tokio::test]
async fn operators_are_answered_apart_from_clients() {
    let up = Process::start(&[&UP[..], &["--gateway-admin-listen=127.0.0.1:0"]].concat());
    let admin = up.address("operators are answered").await;
    eventually("it is ready", async || {
        (get(admin, "/health/ready", "").await.status == 200).then_some(())
    })
    .await;
    let metrics = get(admin, "/metrics", "").await;
    assert_eq!(metrics.status, 200, "{}", metrics.body);
    assert!(metrics.head.contains("text/plain; version=0.0.4"), "{}", metrics.head);
    let version = concat!("campanile_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n");
    assert!(metrics.body.contains(version), "{}", metrics.body);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let metrics = get(admin, "/metrics", accept).await;
    assert!(metrics.head.contains("application/openmetrics-text"), "{}", metrics.head);
    assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
    assert_eq!(get(admin, "/health/live", "").await.body, "ok\n");
    let nothing = get(admin, "/", "").await;
    assert_eq!(nothing.status, 404);
    for path in ["/console, /cluster, ", "/trace, /metrics, /health/live, /health/ready\n"] {
        assert!(nothing.body.contains(path), "{path} is not in {}", nothing.body);
    }
    assert_eq!(ask(admin, "POST /metrics", "Content-Length: 0\r\n").await.status, 405);
    assert_eq!(get(admin, "/metrics", "Host: evil.example\r\n").await.status, 403);
    assert_eq!(get(admin, "/metrics", "X-Forwarded-For: 192.0.2.7\r\n").await.status, 403);
    let line = up.said("  gateway ").await;
    let gateway = line.split_whitespace().nth(1).and_then(|address| address.parse().ok());
    let gateway = gateway.expect("the address of the gateway");
    assert_eq!(get(gateway, "/metrics", "").await.status, 404, "not on the port of clients");
}

#[tokio::test]
async fn where_there_are_keys_operators_need_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("campanile.toml");
    let entry = |name: &str, key: &str, scope: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, key).expect("it can be written");
        format!("[[keys]]\nname = {name:?}\nsecret_file = {path:?}\nscopes = [{scope:?}]\n")
    };
    let (reader, pusher) = ("cpk_reader-for-this-test-only", "cpk_pusher-for-this-test-only");
    let text = entry("ops", reader, "read") + &entry("shop", pusher, "everyone");
    std::fs::write(&file, text).expect("it can be written");
    let config = file.to_str().expect("UTF-8");
    for service in ["broker", "gateway", "publisher"] {
        let listen = "--listen=127.0.0.1:0";
        let args = [service, listen, "--admin-listen=127.0.0.1:0", "--config", config];
        let process = Process::start(&args);
        let admin = process.address("operators are answered").await;
        let with = |key: &str| format!("Authorization: Bearer {key}\r\n");
        let without = get(admin, "/metrics", "").await;
        assert_eq!(without.status, 401, "{service}");
        assert!(without.head.contains("www-authenticate: Bearer"), "{}", without.head);
        assert!(without.body.contains("the scope read"), "{}", without.body);
        assert_eq!(get(admin, "/metrics", &with("cpk_another")).await.status, 401);
        let refused = get(admin, "/metrics", &with(pusher)).await;
        assert_eq!(refused.status, 403);
        assert!(refused.body.contains("lacks the scope read"), "{}", refused.body);
        assert_eq!(get(admin, "/metrics", &with(reader)).await.status, 200);
        assert_eq!(get(admin, "/health/live", "").await.status, 200);
        assert!(process.log().iter().all(|line| !line.contains(reader) && !line.contains(pusher)));
    }
}

#[tokio::test]
async fn off_loopback_operators_need_keys_or_a_word() {
    let service = ["broker", "--listen=127.0.0.1:0", "--admin-listen=0.0.0.0:0"];
    let output = output_of(&mut command(&service));
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    for part in ["--admin-listen 0.0.0.0:0", "[[keys]]", "--admin-open", "[broker] admin_open"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    for (opened, status) in [("metrics", 200), ("health", 401), ("all", 200)] {
        let open = Process::start(&[&service[..], &["--admin-open", opened]].concat());
        let mut admin = open.address("operators are answered").await;
        admin.set_ip([127, 0, 0, 1].into());
        assert_eq!(get(admin, "/health/ready", "").await.status, 200, "{opened}");
        assert_eq!(get(admin, "/metrics", "Via: 1.1 proxy\r\n").await.status, status, "{opened}");
    }
}

#[tokio::test]
async fn a_default_address_that_is_taken_is_a_warning_and_a_named_one_an_error() {
    // If another process has it, it is taken as well.
    let taken = TcpListener::bind("127.0.0.1:2216");
    let mut by_default = command(&["broker", "--listen=127.0.0.1:0"]);
    by_default.env_remove("CAMPANILE_BROKER_ADMIN_LISTEN");
    let broker = Process::run("a broker with the default", by_default);
    let line = broker.said("there is no listener for operators").await;
    assert!(line.contains("WARN") && line.contains("127.0.0.1:2216"), "{line}");
    broker.said("anybody who reaches its address may do anything").await;
    let named = ["broker", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:2216"];
    let output = output_of(&mut command(&named));
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--admin-listen 127.0.0.1:2216: cannot listen there"), "{said}");
    drop(taken);
}

#[tokio::test]
async fn off_loopback_operators_are_answered_over_tls_if_the_service_speaks_it() {
    let files = Files::new(&["127.0.0.1"]);
    let flags = files.flags();
    let service: Vec<_> = ["publisher", "--listen=127.0.0.1:0", "--admin-open=metrics"]
        .into_iter()
        .chain(flags.split(' '))
        .collect();
    let ca = std::fs::read(files.path("ca.pem")).expect("it can be read");
    let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    let client = client.build().expect("a client");
    for (listen, scheme) in [("0.0.0.0:0", "https"), ("127.0.0.1:0", "http")] {
        let process = Process::start(&[&service[..], &["--admin-listen", listen]].concat());
        let port = process.address("operators are answered").await.port();
        let metrics = client.get(format!("{scheme}://127.0.0.1:{port}/metrics")).send().await;
        let metrics = metrics.expect("an answer");
        assert_eq!(metrics.status(), 200, "{listen}");
        assert!(metrics.text().await.expect("a body").contains("campanile_build_info"));
        let other = if scheme == "https" { "http" } else { "https" };
        let answer = client.get(format!("{other}://127.0.0.1:{port}/metrics")).send().await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 400), "{listen}");
    }
}

/// A connection from an address of this host.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> HttpConnection {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(IpAddr::from(from), 0)).expect("an address of this host");
    HttpConnection::over(socket.connect(to).await.expect("it connects"))
}

#[tokio::test]
async fn one_address_cannot_take_all_seats_of_the_operators() {
    let publisher = ["publisher", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let process = Process::start(&publisher);
    let admin = process.address("operators are answered").await;
    let head = |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: {admin}\r\n{more}\r\n");
    let live = head("GET /health/live", "");
    for request in [
        // A body that does not come, and a connection that is kept.
        head("POST /console/session", "Content-Length: 9\r\n"),
        head("POST /console/push", "Content-Length: 9\r\n"),
        live.clone(),
    ] {
        let mut idle = Vec::new();
        for _ in 0..300 {
            let mut connection = connect_from([127, 0, 0, 3], admin).await;
            // One beyond the share may be closed already.
            let _ = connection.stream.write_all(request.as_bytes()).await;
            idle.push(connection);
        }
        let mut other = connect_from([127, 0, 0, 4], admin).await;
        other.send(&live).await;
        assert_eq!(within("an answer", other.answer()).await.status, 200, "{request}");
    }
}

#[tokio::test]
async fn one_address_cannot_take_all_seats_with_what_is_not_tls() {
    let files = Files::new(&["127.0.0.1"]);
    let flags = files.flags();
    let publisher = ["publisher", "--listen=127.0.0.1:0", "--admin-listen=0.0.0.0:0"];
    let args: Vec<_> = publisher.into_iter().chain(flags.split(' ')).collect();
    let process = Process::start(&[&args[..], &["--admin-open=health"]].concat());
    let mut admin = process.address("operators are answered").await;
    admin.set_ip([127, 0, 0, 1].into());
    let ca = std::fs::read(files.path("ca.pem")).expect("it can be read");
    let ca = reqwest::Certificate::from_pem(&ca).expect("a certificate");
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    let client = client.local_address(IpAddr::from([127, 0, 0, 4])).build().expect("a client");
    // A connection whose handshake has failed is kept for 2 s, so that its peer can read why. With all seats, the
    // last of these would have to wait for three times as long.
    let mut failed = Vec::new();
    for _ in 0..900 {
        let mut connection = connect_from([127, 0, 0, 3], admin).await;
        let _ = connection.stream.write_all(&[0; 16]).await;
        failed.push(connection);
    }
    let live = client.get(format!("https://{admin}/health/live"));
    let answer = timeout(Duration::from_secs(4), live.send()).await;
    let answer = answer.expect("a seat within 4 s").expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_awaited_for_5_s() {
    let publisher = ["publisher", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
    let process = Process::start(&publisher);
    let admin = process.address("operators are answered").await;
    let late = async |path: &str| {
        let mut connection = HttpConnection::connect(admin).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 9\r\n\r\n");
        connection.send(head).await;
        let answer = connection.last_answer().await;
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{path}");
    };
    let both = async { tokio::join!(late("/console/session"), late("/console/push")) };
    within("two answers", both).await;
    // Who may not sign in from here is told so before.
    let mut connection = HttpConnection::connect(admin).await;
    let foreign = "Origin: https://evil.example\r\nContent-Length: 9\r\n";
    let request = format!("POST /console/session HTTP/1.1\r\nHost: {admin}\r\n{foreign}\r\n");
    connection.send(request).await;
    assert_eq!(connection.last_answer().await.status, 403);
}
