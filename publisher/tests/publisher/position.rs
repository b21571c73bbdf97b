//! `GET /position`: where the log ends, as the broker says after it was asked.

use std::time::Duration;

use campanile_messages::{FromBroker, Position, ToBroker};
use futures_util::future::join_all;

use crate::harness::{
    Act, Broker, EPOCH, Publisher, accept, accepted, get_json, get_with, reserved_port, until,
};

fn head(number: u64, sequence: u64) -> FromBroker {
    FromBroker::Head { number, head: Position { epoch: EPOCH, sequence } }
}

fn at(sequence: u64) -> String {
    Position { epoch: EPOCH, sequence }.to_string()
}

/// The log is a hundred further with each question.
fn tell(message: &ToBroker) -> Act {
    match *message {
        ToBroker::AskHead { number } => Act::Say(head(number, number * 100)),
        ref other => accept(other),
    }
}

fn questions(broker: &Broker) -> usize {
    let is_question = |message: &ToBroker| matches!(message, ToBroker::AskHead { .. });
    broker.received().iter().filter(|message| is_question(message)).count()
}

#[actix::test]
async fn a_position_is_a_line_or_json_and_not_cached() {
    let broker = Broker::start(tell);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.get("/position").await;
    assert_eq!(answer.brief(), (200, &*format!("{}\n", at(100))));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = publisher.send(get_json("/position")).await;
    assert_eq!(answer.brief(), (200, &*format!("{{\"position\":\"{}\"}}", at(200))));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[actix::test]
async fn callers_that_come_during_a_question_share_the_next_one() {
    let broker = Broker::start(|message| match *message {
        ToBroker::AskHead { number: 1 } => Act::Nothing,
        ToBroker::Publish { number, .. } => Act::SayAll(vec![accepted(number), head(1, 7)]),
        ref other => tell(other),
    });
    let publisher = Publisher::start(broker.addr);
    let first = async {
        let answer = publisher.get("/position").await;
        assert_eq!(answer.brief(), (200, &*format!("{}\n", at(7))));
    };
    let others = async {
        until(|| questions(&broker) == 1).await;
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = publisher.client().await;
            client.send(crate::harness::get("/position")).await;
            clients.push(client);
        }
        // Nearly all of them are read before this push, which ends the first question.
        assert_eq!(publisher.get("/?content=x").await.brief(), (200, "ok"));
        for answer in join_all(clients.iter_mut().map(|client| client.answer())).await {
            let position: Position = answer.body.trim().parse().expect("a position");
            assert!(position.sequence >= 200, "the first question was older: {position}");
        }
    };
    tokio::join!(first, others);
    assert!((2..10).contains(&questions(&broker)), "{} questions", questions(&broker));
}

#[actix::test]
async fn a_question_is_repeated_on_the_next_link() {
    let broker = Broker::start(|message| match *message {
        ToBroker::AskHead { number: 1 } => Act::Die,
        ref other => tell(other),
    });
    let publisher = Publisher::start(broker.addr);
    assert_eq!(publisher.get("/position").await.brief(), (200, &*format!("{}\n", at(200))));
}

#[actix::test]
async fn without_a_broker_a_position_is_503_or_504() {
    let wait = |config: &mut campanile_publisher::PublisherConfig| {
        config.broker_wait = Duration::from_millis(300);
    };
    let (_kept, nobody) = reserved_port();
    let publisher = Publisher::start_with(nobody, wait);
    let answer = publisher.get("/position").await;
    let sentence = "the broker could not be reached for 0.3 s: try again\n";
    assert_eq!(answer.brief(), (503, sentence));
    assert_eq!(answer.header("retry-after"), Some("1"));

    let broker = Broker::start(|_| Act::Nothing);
    let publisher = Publisher::start_with(broker.addr, wait);
    until(|| !broker.hellos().is_empty()).await;
    let answer = publisher.get("/position").await;
    let sentence = "the broker did not say within 0.3 s where the log ends: try again\n";
    assert_eq!(answer.brief(), (504, sentence));
}

#[actix::test]
async fn a_shutdown_answers_those_who_wait() {
    let broker = Broker::start(|_| Act::Nothing);
    let mut publisher = Publisher::start_with(broker.addr, |config| {
        config.shutdown_limit = Duration::from_secs(1);
    });
    let mut client = publisher.client().await;
    client.send(crate::harness::get("/position")).await;
    until(|| questions(&broker) == 1).await;
    publisher.stop();
    assert_eq!(client.answer().await.status, 503);
    publisher.ended().await.expect("an orderly end");
}

#[actix::test]
async fn only_a_plain_get_by_an_allowed_page_gets_a_position() {
    let broker = Broker::start(tell);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.get("/position?a=1").await;
    assert_eq!(answer.brief(), (400, "the URL has the parameters \"a=1\": /position takes none\n"));
    let post = "POST /position HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
    let answer = publisher.send(post).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, OPTIONS")));
    let answer = publisher.send(get_with("/position", "Origin: http://localhost:3000")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"));
    let answer = publisher.send(get_with("/position", "Origin: https://evil.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
