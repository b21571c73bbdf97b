//! What load balancers ask, and orchestrators.

use campanile_messages::{FromBroker, ToBroker};

use crate::harness::{Act, Broker, Publisher, accept, accepted, get, reserved_port, until};

const LIVE: &str = "/health/live";
const READY: &str = "/health/ready";

fn ask(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

async fn becomes(publisher: &Publisher, status: u16, word: &str) {
    let mut client = publisher.client().await;
    for _ in 0..4_000 {
        client.send(get(READY)).await;
        let answer = client.answer().await;
        if answer.brief() == (status, word) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it never says {word}");
}

#[actix::test]
async fn readiness_follows_the_link_and_the_disk() {
    let (port, addr) = reserved_port();
    let mut flag = None;
    let publisher = Publisher::start_with(addr, |config| flag = Some(config.health.clone()));
    assert_eq!(publisher.get(READY).await.brief(), (503, "starting"));
    assert_eq!(publisher.get(LIVE).await.brief(), (200, "ok"));
    let broker = Broker::start_at(port, |_| Act::Die);
    becomes(&publisher, 200, "ok").await;
    let health = flag.expect("a flag");
    health.set_disk_waits(true);
    assert_eq!(publisher.get(READY).await.brief(), (503, "disk"));
    health.set_disk_waits(false);
    assert_eq!(publisher.get(READY).await.brief(), (200, "ok"));
    drop(broker);
    becomes(&publisher, 503, "no_broker").await;
    assert_eq!(publisher.get(LIVE).await.brief(), (200, "ok"));
    health.drain();
    assert_eq!(publisher.get(READY).await.brief(), (503, "draining"));
}

#[actix::test]
async fn readiness_follows_what_the_broker_says_of_its_disk() {
    // Each push makes the broker say something of its disk, or end the link.
    let broker = Broker::start(|message| {
        let ToBroker::Publish { number, content, .. } = message else { return Act::Nothing };
        let disk = |is_waiting| vec![FromBroker::Disk { is_waiting }, accepted(*number)];
        match &content.as_bytes()[..] {
            b"stuck" => Act::SayAll(disk(true)),
            b"free" => Act::SayAll(disk(false)),
            _ => Act::DieAfter(disk(true)),
        }
    });
    let publisher = Publisher::start(broker.addr);
    becomes(&publisher, 200, "ok").await;
    for _ in 0..2 {
        // It is said to load balancers only: pushes are taken as ever.
        assert_eq!(publisher.get("/?content=stuck").await.status, 200);
        becomes(&publisher, 503, "disk").await;
        assert_eq!(publisher.get("/?content=free").await.status, 200);
        becomes(&publisher, 200, "ok").await;
    }
    // The next link says nothing of a disk.
    assert_eq!(publisher.get("/?content=lost").await.status, 200);
    until(|| broker.hellos().len() == 2).await;
    becomes(&publisher, 200, "ok").await;
}

#[actix::test]
async fn health_checks_may_use_get_head_and_options() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    until(|| !broker.hellos().is_empty()).await;
    becomes(&publisher, 200, "ok").await;
    for path in [LIVE, READY] {
        assert_eq!(publisher.send(ask("GET", path)).await.brief(), (200, "ok"));
        assert_eq!(publisher.send(ask("OPTIONS", path)).await.brief(), (200, "ok"));
        let mut client = publisher.client().await;
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        client.send(head).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = publisher.send(ask("POST", path)).await;
        assert_eq!(answer.status, 405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
    }
    assert_eq!(publisher.send(ask("GET", "/health")).await.status, 404);
}

#[actix::test]
async fn checks_of_haproxy_and_nginx_are_200() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for check in [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "GET /health/live HTTP/1.0\r\n\r\n",
        "GET /health/live HTTP/1.0\r\nHost: upstream_servers\r\nConnection: close\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        let mut client = publisher.client().await;
        client.send(check).await;
        let answer = client.rest().await;
        assert!(answer[8..].starts_with(" 200 "), "{check}: {answer}");
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn health_checks_may_come_from_anywhere() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for header in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"] {
        let request = format!("GET {LIVE} HTTP/1.1\r\nHost: evil.example\r\n{header}\r\n\r\n");
        assert_eq!(publisher.send(request).await.brief(), (200, "ok"));
    }
}
