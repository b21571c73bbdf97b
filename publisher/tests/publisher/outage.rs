//! A broker that is not there, does not answer, or goes: 503 only if nothing was sent.

use std::time::Duration;

use campanile_messages::ToBroker;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;

use crate::harness::{Act, Broker, Publisher, accept, get, post, reserved_port, until, welcome};

const SHORT: Duration = Duration::from_millis(300);

#[actix::test]
async fn without_a_broker_a_push_is_503_and_never_sent_later() {
    let (port, addr) = reserved_port();
    let publisher = Publisher::start_with(addr, |config| config.broker_wait = SHORT);
    let start = Instant::now();
    let answer = publisher.get("/?content=early").await;
    assert!(start.elapsed() >= SHORT);
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.body.starts_with("the broker could not be reached for 0.3 s"), "{answer:?}");

    let broker = Broker::start_at(port, accept);
    until_ok(&publisher, "/?content=late").await;
    assert!(broker.contents().iter().all(|content| content == "late"));
}

/// A push may be answered 503 until the link is back.
async fn until_ok(publisher: &Publisher, target: &str) {
    let deadline = Instant::now() + crate::harness::DEADLINE;
    loop {
        let answer = publisher.get(target).await;
        if answer.status == 200 {
            return;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(Instant::now() < deadline, "no link in time");
    }
}

#[actix::test]
async fn pushes_that_wait_for_a_broker_arrive_in_order() {
    let (port, addr) = reserved_port();
    let publisher = Publisher::start(addr);
    let mut clients = Vec::new();
    for n in 0..20 {
        let mut client = publisher.client().await;
        client.send(get(&format!("/?content={n}"))).await;
        // One worker takes them one by one; its own answer shows that it was here.
        assert_eq!(publisher.get("/nowhere").await.status, 404);
        clients.push(client);
    }
    let broker = Broker::start_at(port, accept);
    for client in &mut clients {
        assert_eq!(client.answer().await.brief(), (200, "ok"));
    }
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(broker.contents(), expected);
}

#[actix::test]
async fn a_push_whose_caller_went_away_while_it_waited_is_not_sent() {
    let (port, addr) = reserved_port();
    let publisher = Publisher::start(addr);
    let mut gone = publisher.client().await;
    gone.send(get("/?content=gone")).await;
    assert_eq!(publisher.get("/nowhere").await.status, 404);
    drop(gone);
    assert_eq!(publisher.get("/nowhere").await.status, 404);

    let broker = Broker::start_at(port, accept);
    assert_eq!(publisher.get("/?content=stayed").await.brief(), (200, "ok"));
    assert_eq!(broker.contents(), ["stayed"]);
}

#[actix::test]
async fn a_caller_that_closes_its_side_gets_its_answer_at_once() {
    let (port, addr) = reserved_port();
    let publisher = Publisher::start(addr);
    let mut client = publisher.client().await;
    client.send(get("/?content=early")).await;
    client.stream.shutdown().await.expect("half-closed");
    let start = Instant::now();
    let answer = client.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("nothing was sent"), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(4), "it waited for the limit");

    let broker = Broker::start_at(port, accept);
    until_ok(&publisher, "/?content=linked").await;
    let mut client = publisher.client().await;
    client.send(get("/?content=half-closed")).await;
    client.stream.shutdown().await.expect("half-closed");
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert_eq!(broker.contents(), ["linked", "half-closed"]);
}

#[actix::test]
async fn a_silent_broker_makes_a_push_504() {
    let broker = Broker::start(|_| Act::Nothing);
    let publisher = Publisher::start_with(broker.addr, |config| config.confirm_limit = SHORT);
    let start = Instant::now();
    let answer = publisher.get("/?content=hi").await;
    assert!(start.elapsed() >= SHORT);
    assert_eq!(answer.status, 504);
    assert!(answer.body.starts_with("the broker did not answer within 0.3 s"), "{answer:?}");
    assert!(answer.body.contains("it is unknown whether"), "{answer:?}");
    assert!(answer.body.contains("repeat with the same id"), "{answer:?}");
    assert_eq!(answer.header("retry-after"), None);
    let answer = publisher.get("/?content=psst&to_worker_id=3&to_connection_id=7").await;
    let sentence = "to_worker_id is 3: the gateway of this worker did not confirm within 0.3 s: it \
                    is unknown whether the content was delivered; a push to one connection has no \
                    id, so a repeat may deliver it twice\n";
    assert_eq!(answer.brief(), (504, sentence));
    assert_eq!(broker.contents(), ["hi", "psst"]);
}

#[actix::test]
async fn a_broker_that_was_stuck_gets_no_push_that_was_503() {
    const PUSHES: usize = 24;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let publisher = Publisher::start_with(addr, |config| {
        config.broker_wait = SHORT;
        config.confirm_limit = SHORT * 2;
    });
    let (link, _) = listener.accept().await.expect("a link");
    let mut link = welcome(link).await.expect("a hello");

    let body = "x".repeat(1 << 20);
    let mut clients = Vec::new();
    for _ in 0..PUSHES {
        let mut client = publisher.client().await;
        client.send(post("/", "", &body)).await;
        clients.push(client);
    }
    let (mut unsent, mut unknown) = (0, 0);
    for client in &mut clients {
        match client.answer().await.status {
            503 => unsent += 1,
            504 => unknown += 1,
            status => panic!("{status}"),
        }
    }
    assert!(unsent > 0 && unknown > 0, "{unsent} {unknown}");

    let mut arrived = 0;
    while arrived < unknown {
        let frame = link.next().await.expect("no reset").expect("a frame");
        let message = ToBroker::decode(frame).expect("a message");
        arrived += usize::from(message != ToBroker::Heartbeat);
    }
    // What was answered 503 is not behind them: the next push is.
    let mut client = publisher.client().await;
    client.send(get("/?content=next")).await;
    loop {
        let frame = link.next().await.expect("no reset").expect("a frame");
        match ToBroker::decode(frame).expect("a message") {
            ToBroker::Heartbeat => {}
            ToBroker::Publish { content, .. } => {
                assert_eq!(content, "next".into());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[actix::test]
async fn the_publisher_finds_a_broker_that_comes_back() {
    let broker = Broker::start(accept);
    let addr = broker.addr;
    let publisher = Publisher::start(addr);
    assert_eq!(publisher.get("/?content=1").await.status, 200);
    drop(broker);
    let again = TcpSocket::new_v4().expect("a socket");
    // The old link lingers in the kernel.
    again.set_reuseaddr(true).expect("an option");
    until(|| again.bind(addr).is_ok()).await;
    let broker = Broker::start_at(again, accept);
    until_ok(&publisher, "/?content=2").await;
    assert_eq!(broker.contents().last().map(String::as_str), Some("2"));
}
