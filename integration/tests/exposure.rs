//! Safe by default: what a service without authentication does, and where.

use std::io::Write as _;
use std::net::SocketAddr;

use campanile_harness::{
    Cluster, Process, Signal, Websocket, command, exchange, handshake, output_of,
};

/// Runs a `campanile` that must not start, and returns its only line.
fn refused(args: &[&str]) -> String {
    let output = output_of(&mut command(args));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.code().is_some_and(|code| code != 0), "{args:?}: {said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 1, "{args:?}: {said}");
    lines[0].to_owned()
}

#[test]
fn a_service_without_authentication_does_not_start_off_loopback() {
    for (service, key) in [
        ("broker", "[broker] secret_file"),
        ("gateway", "[[tokens.keys]], [tokens] jwks_url or [guests] groups"),
        ("publisher", "[[keys]]"),
    ] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let alone = refused(&[service, "--listen", address]);
            let flag = format!("--{service}-listen");
            let mut in_up = vec!["up"];
            let others = ["broker", "gateway", "publisher"].map(|name| format!("--{name}-listen"));
            for other in others.iter().filter(|other| **other != flag) {
                in_up.extend([other, "127.0.0.1:0"]);
            }
            in_up.extend([&*flag, address]);
            let in_up = refused(&in_up);
            for (line, prefix) in [(alone, ""), (in_up, &*format!("{service}-"))] {
                for part in [
                    &*format!("--{prefix}listen {address}"),
                    &format!("--{prefix}open ([{service}] open = true)"),
                    key,
                ] {
                    assert!(line.contains(part), "{part:?} is not in: {line}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_service_that_is_meant_to_be_open_starts_and_says_so() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"[publisher]\nopen = true\n").expect("it takes the text");
    let file = file.path().to_str().expect("UTF-8");
    let mut by_variable = command(&["broker", "--listen=0.0.0.0:0"]);
    by_variable.env("CAMPANILE_BROKER_OPEN", "true");
    for process in [
        Process::start(&["broker", "--listen=0.0.0.0:0", "--open"]),
        Process::start(&["gateway", "--listen=0.0.0.0:0", "--open"]),
        Process::start(&["publisher", "--listen=0.0.0.0:0", "--open"]),
        Process::start(&["publisher", "--listen=0.0.0.0:0", "--config", file]),
        Process::run("broker by a variable", by_variable),
    ] {
        let line = process.said("anybody who reaches its address may do anything").await;
        assert!(line.contains("WARN"), "{line}");
    }
}

#[test]
fn a_switch_that_is_off_opens_nothing() {
    let mut broker = command(&["broker", "--listen=0.0.0.0:0"]);
    let output = output_of(broker.env("CAMPANILE_BROKER_OPEN", "false"));
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--open"), "{output:?}");
}

#[tokio::test]
async fn on_loopback_it_starts_and_says_that_it_is_open() {
    for address in ["127.0.0.1:0", "127.8.9.10:0", "localhost:0", "[::ffff:127.0.0.1]:0"] {
        for service in ["broker", "gateway", "publisher"] {
            let mut process = Process::start(&[service, "--listen", address]);
            let line = process.said("anybody who reaches its address may do anything").await;
            assert!(line.contains("INFO") && line.contains(service), "{line}");
            process.kill().await;
        }
    }
}

#[tokio::test]
async fn up_says_who_is_open() {
    let mut up = Process::start(&[
        "up",
        "--broker-listen=127.0.0.1:0",
        "--gateway-listen=0.0.0.0:0",
        "--gateway-open",
        "--publisher-listen=127.0.0.1:0",
    ]);
    let line = up.said("anybody who reaches them may do anything").await;
    assert!(line.ends_with(": broker, gateway, publisher"), "{line}");
    up.said("  push ").await;
    assert_eq!(up.count("  open       http://"), 0, "the page is for loopback");
    up.signal(Signal::TERM);
    assert!(up.ended().await.success());
}

#[tokio::test]
async fn up_shows_where_a_token_and_a_key_belong() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let hash = "0".repeat(64);
    let text = format!(
        "[guests]\ngroups = ['news']\n[[keys]]\nname = 'a'\nsha256 = '{hash}'\nscopes = ['read']\n"
    );
    file.write_all(text.as_bytes()).expect("it takes the text");
    let up = Process::start(&[
        "up",
        "--config",
        file.path().to_str().expect("UTF-8"),
        "--broker-listen=127.0.0.1:0",
        "--gateway-listen=127.0.0.1:0",
        "--publisher-listen=127.0.0.1:0",
    ]);
    let line = up.said("  listen  ").await;
    assert!(line.ends_with("/events?group=news' -H 'Authorization: Bearer TOKEN'"), "{line}");
    let line = up.said("  push  ").await;
    assert!(line.ends_with("/?content=hello' -H 'Authorization: Bearer KEY'"), "{line}");
}

/// What only a proxy adds.
const BY_PROXY: [&str; 4] = [
    "X-Forwarded-For: 203.0.113.7",
    "Forwarded: for=203.0.113.7",
    "x-real-ip: 203.0.113.7",
    "Via: 1.1 proxy",
];

/// The answer to a request with one more header.
async fn asked(address: SocketAddr, request: &str, header: &str) -> (u16, String) {
    let request = request.replacen("\r\n\r\n", &format!("\r\n{header}\r\n\r\n"), 1);
    let answer = exchange(address, request.as_bytes()).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_proxy_on_the_same_host_does_not_open_the_cluster() {
    let cluster = Cluster::of(1).start().await;
    let (gateway, publisher) = (cluster.gateway_addresses[0], cluster.push[0].address);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = "POST /?to_group=news HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\
                Connection: close\r\nContent-Type: text/plain\r\n\r\nhi";
    for header in BY_PROXY {
        for (address, request, way_out) in [
            (gateway, handshake("/"), "tokens.keys"),
            (gateway, get("/"), "tokens.keys"),
            (gateway, get("/events"), "tokens.keys"),
            (gateway, get("/campanile.js"), "tokens.keys"),
            (gateway, get("/position"), "tokens.keys"),
            (publisher, get("/?content=hi"), "[[keys]]"),
            (publisher, post.to_owned(), "[[keys]]"),
            (publisher, handshake("/stream"), "[[keys]]"),
            (publisher, get("/position"), "[[keys]]"),
        ] {
            let (status, body) = asked(address, &request, header).await;
            assert_eq!(status, 403, "{header} {request}{body}");
            for part in [way_out, "--open", header.split(':').next().expect("a name")] {
                assert!(body.to_lowercase().contains(&part.to_lowercase()), "{part} {body}");
            }
        }
        for address in [gateway, publisher] {
            let (status, body) = asked(address, &get("/health/ready"), header).await;
            assert_eq!(status, 200, "{header} {body}");
        }
    }
    // Without such a header it is the same as before.
    assert_eq!(exchange(publisher, get("/?content=hi").as_bytes()).await.status, 200);
    Websocket::plain(gateway, &[]).await;
}

#[tokio::test]
async fn an_open_cluster_takes_what_a_proxy_passes_on() {
    let cluster = Cluster::of(1).gateway("--open").publisher("--open").start().await;
    let (gateway, publisher) = (cluster.gateway_addresses[0], cluster.push[0].address);
    let push = "GET /?content=hi HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for header in BY_PROXY {
        assert_eq!(asked(gateway, &handshake("/"), header).await.0, 101, "{header}");
        assert_eq!(asked(publisher, push, header).await.0, 200, "{header}");
    }
    // A page that made its name point here is still refused: browsers reach an open loopback address.
    let rebound = |request: &str| request.replace("localhost", "evil.example");
    assert_eq!(exchange(gateway, rebound(&handshake("/")).as_bytes()).await.status, 403);
    assert_eq!(exchange(publisher, rebound(push).as_bytes()).await.status, 403);
}

#[tokio::test]
async fn the_page_is_there_on_loopback_and_elsewhere_if_somebody_says_so() {
    let cluster = Cluster::of(0).start().await;
    let broker = cluster.broker_address.to_string();
    let status = async |flags: &[&str]| {
        let gateway = Process::start(&[&["gateway", "--broker", &broker][..], flags].concat());
        let port = gateway.address("the gateway listens").await.port();
        gateway.said("the gateway takes connections").await;
        let mut statuses = Vec::new();
        let mut sentence = String::new();
        for path in ["/", "/page.css", "/page.js", "/words.js", "/campanile.js", "/position"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let answer = exchange(([127, 0, 0, 1], port).into(), request.as_bytes()).await;
            if path == "/" {
                sentence = answer.body;
            }
            statuses.push(answer.status);
        }
        let websocket = exchange(([127, 0, 0, 1], port).into(), handshake("/").as_bytes()).await;
        assert_eq!(websocket.status, 101, "{flags:?}");
        (statuses, sentence)
    };
    let (all, none) = ([200; 6], [404, 404, 404, 404, 200, 200]);
    assert_eq!(status(&["--listen=127.0.0.1:0"]).await.0, all);
    assert_eq!(status(&["--listen=0.0.0.0:0", "--open", "--page=on"]).await.0, all);
    for flags in [&["--listen=127.0.0.1:0", "--page=off"][..], &["--listen=0.0.0.0:0", "--open"]] {
        let (statuses, sentence) = status(flags).await;
        assert_eq!(statuses, none, "{flags:?}");
        assert!(sentence.contains("--page on"), "{sentence}");
    }
}

#[tokio::test]
async fn a_broker_with_a_secret_listens_anywhere_and_is_not_open() {
    let mut secret = tempfile::NamedTempFile::new().expect("a file");
    writeln!(secret, "{:032x}", rand::random::<u128>()).expect("it takes the text");
    let file = secret.path().to_str().expect("UTF-8");
    let broker = Process::start(&["broker", "--listen=0.0.0.0:0", "--secret-file", file]);
    broker.said("the broker listens").await;
    assert_eq!(broker.count("is open"), 0, "{:?}", broker.log());
    let settings = format!("[broker]\nlisten = \"0.0.0.0:0\"\nsecret_file = {file:?}\n");
    let mut with_settings = tempfile::NamedTempFile::new().expect("a file");
    with_settings.write_all(settings.as_bytes()).expect("it takes the text");
    let broker =
        Process::start(&["broker", "--config", with_settings.path().to_str().expect("UTF-8")]);
    broker.said("the broker listens").await;
}

#[tokio::test]
async fn a_hangup_neither_opens_nor_closes_a_service() {
    let key = "[[keys]]\nname = \"shop\"\nscopes = [\"everyone\"]\nsha256 = \
               \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n";
    for (first, then, said) in [
        (key, "", "the publisher is not open and would be open"),
        ("", key, "the publisher is open and would be not open"),
    ] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), first).expect("it takes the text");
        let path = file.path().to_str().expect("UTF-8");
        let publisher = Process::start(&["publisher", "--listen=127.0.0.1:0", "--config", path]);
        let address = publisher.address("the publisher listens").await;
        let request = b"GET /position?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let before = exchange(address, request).await.status;
        std::fs::write(file.path(), then).expect("it takes the text");
        publisher.signal(Signal::HUP);
        let line = publisher.said("the settings stay as they were").await;
        assert!(line.contains(said), "{line}");
        assert_eq!(exchange(address, request).await.status, before);
        assert_eq!(before == 401, !first.is_empty(), "{before}");
    }
}
