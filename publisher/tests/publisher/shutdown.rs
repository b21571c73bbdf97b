//! How a publisher ends.

use std::time::Duration;

use campanile_messages::ToBroker;
use campanile_messages::link::Number;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{Act, Broker, Publisher, accept, get, reserved_port};

#[actix::test]
async fn requests_under_way_are_answered_and_no_more_are_taken() {
    // The push waits for a broker, which comes only after the publisher was told to stop.
    let (port, addr) = reserved_port();
    let mut publisher = Publisher::start(addr);
    let mut under_way = publisher.client().await;
    under_way.send(get("/?content=under+way")).await;
    assert_eq!(publisher.get("/nowhere").await.status, 404);

    publisher.stop();
    let mut refused = false;
    let deadline = Instant::now() + crate::harness::DEADLINE;
    while !refused && Instant::now() < deadline {
        refused = TcpStream::connect(publisher.addr).await.is_err();
    }
    assert!(refused, "it still accepts");
    let broker = Broker::start_at(port, accept);
    assert_eq!(under_way.answer().await.brief(), (200, "ok"));
    assert!(publisher.ended().await.is_ok());
    assert_eq!(broker.contents(), ["under way"]);
}

#[actix::test]
async fn idle_connections_and_a_missing_broker_do_not_hold_it() {
    let (_port, addr) = reserved_port();
    let mut publisher = Publisher::start(addr);
    let mut idle = publisher.client().await;
    idle.send(get("/nowhere")).await;
    assert_eq!(idle.answer().await.status, 404);
    let start = Instant::now();
    publisher.stop();
    assert!(publisher.ended().await.is_ok());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(idle.rest().await, "");
}

#[actix::test]
async fn a_silent_broker_does_not_hold_it_longer_than_its_limit() {
    let broker = Broker::start(|_| Act::Nothing);
    let mut publisher = Publisher::start_with(broker.addr, |config| {
        config.shutdown_limit = Duration::from_millis(500);
    });
    let mut client = publisher.client().await;
    client.send(get("/?content=hi")).await;
    broker.has_received(1).await;
    let start = Instant::now();
    publisher.stop();
    assert!(publisher.ended().await.is_ok());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[actix::test]
async fn half_a_body_is_answered_503_before_the_limit() {
    let broker = Broker::start(accept);
    let mut publisher = Publisher::start_with(broker.addr, |config| {
        config.shutdown_limit = Duration::from_secs(2);
    });
    let mut client = publisher.client().await;
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf").await;
    // One worker takes them one by one; its own answer shows that the other was here.
    assert_eq!(publisher.get("/nowhere").await.status, 404);
    publisher.stop();
    let sentence = "the publisher is shutting down, nothing was sent: try again\n";
    assert_eq!(client.answer().await.brief(), (503, sentence));
    assert!(publisher.ended().await.is_ok());
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn a_setting_out_of_range_is_told_and_nothing_starts() {
    let (_port, addr) = reserved_port();
    let mut publisher = Publisher::start_with(addr, |config| config.workers = 0);
    let error = publisher.ended().await.expect_err("refused");
    assert_eq!(error.to_string(), "workers is 0, from 1 to 512 are accepted");
}

#[actix::test]
async fn numbers_go_on_over_links_so_that_no_answer_is_taken_for_another() {
    let mut seen: Vec<Number> = Vec::new();
    let broker = Broker::start(move |message| {
        let ToBroker::Publish { number, .. } = *message else {
            return Act::Nothing;
        };
        seen.push(number);
        if seen.len() % 2 == 1 { Act::Die } else { accept(message) }
    });
    let publisher = Publisher::start(broker.addr);
    assert_eq!(publisher.get("/?content=1").await.status, 504);
    assert_eq!(publisher.get("/?content=2").await.status, 200);
    let numbers: Vec<Number> = broker
        .received()
        .iter()
        .filter_map(|message| match message {
            ToBroker::Publish { number, .. } => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(numbers, [1, 2]);
}
