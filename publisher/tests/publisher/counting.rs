//! Callers that wait for what the gateways wrote, and how long they wait.

use std::time::Duration;

use campanile_messages::link::{Number, Tally};
use campanile_messages::{FromBroker, ToBroker};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    Act, Broker, Publisher, accept, accepted, accepted_counting, get, get_json, reserved_port,
    silent_at_first,
};

const SHORT: Duration = Duration::from_millis(400);

fn tally(number: Number, matched: u64, written: u64, too_slow: u64) -> FromBroker {
    FromBroker::Counted { number, tally: Tally { matched, written, too_slow } }
}

/// A broker that answers each publish with what `script` makes of its number.
fn broker(script: impl Fn(Number) -> Act + 'static) -> Broker {
    Broker::start(move |message| match *message {
        ToBroker::Publish { number, .. } => script(number),
        _ => Act::Nothing,
    })
}

fn within_millis(broker: &Broker) -> Vec<Option<u32>> {
    let within = |message: ToBroker| match message {
        ToBroker::Publish { count_within_millis, .. } => count_within_millis,
        other => panic!("{other:?}"),
    };
    broker.received().into_iter().map(within).collect()
}

fn receipt(matched: u64, written: u64, too_slow: u64, silent_gateways: u64) -> Value {
    json!({
        "position": "000000000000e0c4-1",
        "durability": "disk",
        "gateways": 2,
        "matched": matched,
        "written": written,
        "too_slow": too_slow,
        "silent_gateways": silent_gateways,
    })
}

#[actix::test]
async fn the_receipt_comes_with_the_last_count_and_has_the_sums() {
    let broker = broker(|number| {
        let counted = [tally(number, 100, 99, 1), tally(number, 20, 19, 1)];
        Act::SayAll([vec![accepted_counting(number, 2, 0)], counted.into()].concat())
    });
    let publisher = Publisher::start(broker.addr);
    let start = Instant::now();
    let answer = publisher.send(get_json("/?content=hi&wait=delivered")).await;
    assert_eq!(answer.json(), receipt(120, 118, 2, 0));
    assert!(start.elapsed() < Duration::from_secs(3), "it waited for the limit");
    assert_eq!(publisher.get("/?content=hi&wait=delivered").await.brief(), (200, "ok"));
    for given in within_millis(&broker) {
        assert!(given.is_some_and(|millis| (4_000..=4_750).contains(&millis)), "{given:?}");
    }
}

#[actix::test]
async fn nothing_is_counted_unless_the_caller_waits_for_it() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for target in ["/?content=hi", "/?content=hi&wait=accepted", "/?content=hi&timeout=1s"] {
        let answer = publisher.send(get_json(target)).await;
        assert_eq!(answer.json()["matched"], 120);
        assert_eq!(answer.json().get("written"), None);
    }
    assert_eq!(within_millis(&broker), [None; 3]);
}

#[actix::test]
async fn at_its_limit_the_receipt_has_the_counts_that_came() {
    let broker = broker(|number| {
        Act::SayAll(vec![accepted_counting(number, 2, 1), tally(number, 100, 99, 1)])
    });
    let publisher = Publisher::start(broker.addr);
    let start = Instant::now();
    let answer = publisher.send(get_json("/?content=hi&wait=delivered&timeout=400ms")).await;
    assert_eq!(answer.json(), receipt(120, 99, 1, 2));
    let took = start.elapsed();
    assert!(took >= SHORT && took < Duration::from_secs(3), "{took:?}");
    let given = within_millis(&broker)[0].expect("asked to count");
    assert!((200..=300).contains(&given), "{given}");
}

#[actix::test]
async fn a_broken_link_ends_the_wait_for_counts() {
    let broker = broker(|number| {
        Act::DieAfter(vec![accepted_counting(number, 2, 0), tally(number, 100, 99, 1)])
    });
    let publisher = Publisher::start(broker.addr);
    let start = Instant::now();
    let answer = publisher.send(get_json("/?content=hi&wait=delivered&timeout=30s")).await;
    assert_eq!(answer.json(), receipt(120, 99, 1, 1));
    assert!(start.elapsed() < Duration::from_secs(3), "it waited for the limit");
    assert_eq!(broker.numbers(), [1], "it was answered, so it is not said again");
}

#[actix::test]
async fn absent_gateways_are_silent_and_a_repeat_has_no_counts() {
    let broker = broker(|number| {
        Act::Say(if number == 1 { accepted_counting(number, 0, 2) } else { accepted(number) })
    });
    let publisher = Publisher::start(broker.addr);
    let start = Instant::now();
    let answer = publisher.send(get_json("/?content=hi&wait=delivered")).await;
    assert_eq!(answer.json(), receipt(0, 0, 0, 2));
    let answer = publisher.send(get_json("/?content=hi&wait=delivered&id=again")).await;
    assert_eq!(answer.json()["matched"], 120);
    assert_eq!(answer.json().get("written"), None);
    assert!(start.elapsed() < Duration::from_secs(3), "it waited for the limit");
}

#[actix::test]
async fn to_one_connection_both_waits_are_the_same() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for wait in ["accepted", "delivered"] {
        let target = format!("/?content=hi&to_worker_id=1&to_connection_id=2&wait={wait}");
        let answer = publisher.send(get_json(&target)).await;
        assert_eq!(answer.brief(), (200, r#"{"written":1}"#));
    }
}

#[actix::test]
async fn a_timeout_is_503_before_and_504_after_handing_over() {
    let (_port, addr) = reserved_port();
    let nowhere = Publisher::start(addr);
    let start = Instant::now();
    let answer = nowhere.get("/?content=hi&timeout=400ms").await;
    let took = start.elapsed();
    assert_eq!(answer.status, 503);
    assert!(answer.body.starts_with("the broker could not be reached for 0.4 s"), "{answer:?}");
    assert!(took >= SHORT && took < Duration::from_secs(3), "{took:?}");

    let silent = Broker::start(|_| Act::Nothing);
    let publisher = Publisher::start(silent.addr);
    for target in [
        "/?content=hi&timeout=400ms",
        "/?content=hi&timeout=400ms&wait=delivered",
        "/?content=hi&timeout=400ms&to_worker_id=1&to_connection_id=2",
    ] {
        let start = Instant::now();
        let answer = publisher.get(target).await;
        let took = start.elapsed();
        assert_eq!(answer.status, 504);
        assert!(answer.body.contains("within 0.4 s"), "{answer:?}");
        assert!(took >= SHORT && took < Duration::from_secs(3), "{took:?}");
    }
}

#[actix::test]
async fn a_timeout_is_for_all_links_together() {
    let broker = Broker::start(silent_at_first());
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client.send(get("/?content=hi&wait=delivered&timeout=2s")).await;
    broker.has_received(1).await;
    actix::clock::sleep(SHORT).await;
    broker.cut();
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    let given = within_millis(&broker);
    assert!(given[1] < given[0], "{given:?}");
}
