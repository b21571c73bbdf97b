//! Whatever peers do at will, the log has few lines about it, and says how often it happened.

use std::net::TcpStream;

use campanile_harness::client::raw::{Client, close};
use campanile_harness::{Cluster, HttpConnection, Process, Signal, Websocket, connect, eventually};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

/// What the log says of an incident: how many lines there are, and how many incidents they stand for.
fn told(process: &Process, incident: &str) -> (usize, u64) {
    let name = format!("incident={incident:?}");
    let lines: Vec<_> = process.log().into_iter().filter(|line| line.contains(&name)).collect();
    let left_out = |line: &String| {
        let count = line.split_once("left_out=").map(|(_, rest)| rest);
        let digits = count.and_then(|rest| rest.split(' ').next());
        digits.map_or(0, |digits| digits.parse::<u64>().expect("a number"))
    };
    let own = lines.iter().filter(|line| !line.contains("were left out")).count() as u64;
    (lines.len(), own + lines.iter().map(left_out).sum::<u64>())
}

#[tokio::test]
async fn refused_connections_make_few_lines_with_an_exact_count() {
    const REFUSED: u64 = 3_000;
    let args = ["gateway", "--listen=127.0.0.1:0", "--broker=127.0.0.1:1"];
    let gateway = Process::start(&[&args[..], &["--max-connections-per-address=1"]].concat());
    let address = gateway.address("the gateway listens").await;
    let _held = TcpStream::connect(address).expect("a listener");
    for _ in 0..REFUSED {
        TcpStream::connect(address).expect("a listener");
    }
    eventually("all are counted", async || {
        (told(&gateway, "too_many_connections").1 >= REFUSED).then_some(())
    })
    .await;
    let (lines, count) = told(&gateway, "too_many_connections");
    assert_eq!(count, REFUSED);
    assert!((5..100).contains(&lines), "{lines} lines");
    let line = gateway.said("incident=\"too_many_connections\"").await;
    assert!(line.contains(" INFO ") && line.contains("peer=127.0.0.1:"), "{line}");
}

#[tokio::test]
async fn refused_pushes_make_few_lines_with_an_exact_count() {
    const REFUSED: u64 = 1_000;
    let args = ["publisher", "--listen=127.0.0.1:0", "--broker=127.0.0.1:1"];
    let publisher = Process::start(&args);
    let address = publisher.address("the publisher listens").await;
    let mut caller = HttpConnection::connect(address).await;
    for _ in 0..REFUSED {
        caller.send(get("/?to_group=news")).await;
        assert_eq!(caller.answer().await.status, 400);
    }
    eventually("all are counted", async || {
        (told(&publisher, "bad_request").1 >= REFUSED).then_some(())
    })
    .await;
    let (lines, count) = told(&publisher, "bad_request");
    assert_eq!(count, REFUSED);
    assert!((5..100).contains(&lines), "{lines} lines");
    let line = publisher.said("not pushed").await;
    assert!(line.contains("error=\"content") || line.contains("error=\"parameter"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_one_line_with_its_peer_and_code() {
    let cluster = Cluster::of(1).gateway("--max-outbox 64KiB --workers 1").start().await;
    let gateway = &cluster.gateways[0];
    let stream = connect(cluster.gateway_addresses[0], Some(4096)).await;
    let peer = stream.local_addr().expect("connected");
    let named = "?user=4%22%20peer=2";
    let slow = Websocket::open_with(stream, named, Some("campanile.v1")).await.greeted().await;
    let content = "x".repeat(64 << 10);
    // More than an outbox and the kernel together hold.
    for _ in 0..200 {
        let answer = cluster.push[0].post(&[], Some("text/plain"), content.clone()).await;
        assert_eq!(answer.status, 200);
    }
    // It does not read before the gateway has written all that.
    eventually("the client is closed", async || {
        (cluster.push[0].receipt(&[("content", "probe")]).await.matched == 0).then_some(())
    })
    .await;
    assert_eq!(slow.closed().await.1, 4001);
    let line = gateway.said("incident=\"too_slow\"").await;
    let who = format!(r#" peer={peer} user="4\" peer=2" dialect="v1" code=4001 waiting_bytes="#);
    assert!(line.contains(&who), "{line}");
    let waiting = line.split_once("waiting_bytes=").expect("it is there").1;
    let waiting: usize = waiting.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!((1..=2 * (64 << 10)).contains(&waiting), "{line}");
    assert_eq!(gateway.count("incident="), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_end_is_no_incident_and_a_violation_is_one() {
    let mut cluster = Cluster::of(1).gateway("--drain 100ms").start().await;
    let address = cluster.gateway_addresses[0];
    let mut polite = Client::open(address);
    polite.recv();
    polite.send(&close(3000, b""));
    polite.expect_close(3000);
    let mut brief = Client::open(address);
    brief.recv();
    drop(brief);
    let mut wrong = Client::open_v1(address, "/");
    wrong.recv();
    wrong.send(b"\x81\x02hi");
    wrong.expect_close(1002);
    let line = cluster.gateways[0].said("incident=\"protocol_violated\"").await;
    let said = r#"dialect="v1" code=1002 reason="a frame from a client must be masked""#;
    assert!(line.contains(said), "{line}");
    let mut last = Client::open(address);
    last.recv();
    cluster.gateways[0].signal(Signal::TERM);
    last.expect_close(1001);
    cluster.gateways[0].ended().await;
    assert_eq!(cluster.gateways[0].count("incident="), 1);
}

#[tokio::test]
async fn a_health_check_is_no_incident() {
    let gateway = ["gateway", "--listen=127.0.0.1:0", "--broker=127.0.0.1:1"];
    let gateway = Process::start(&gateway);
    let address = gateway.address("the gateway listens").await;
    let mut check = HttpConnection::connect(address).await;
    check.send(get("/health/ready")).await;
    assert_eq!(check.last_answer().await.status, 503);
    let mut other = HttpConnection::connect(address).await;
    other.send(get("/nothing")).await;
    assert_eq!(other.last_answer().await.status, 404);
    gateway.said("incident=\"not_found\"").await;
    assert_eq!(gateway.count("incident="), 1);
}
