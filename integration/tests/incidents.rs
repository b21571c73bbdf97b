//! Whatever peers do at will, the log has few lines about it, and says how often it happened.

use std::net::TcpStream;

use campanile_harness::{HttpConnection, Process, eventually};

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
