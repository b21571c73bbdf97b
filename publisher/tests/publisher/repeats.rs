//! A link that breaks before the broker has answered.

use std::time::Duration;

use campanile_messages::ToBroker;
use tokio::time::Instant;

use crate::harness::{
    Act, Broker, HttpConnection, Publisher, accept, get, get_json, post, silent_at_first, until,
};

#[actix::test]
async fn an_unanswered_push_is_repeated_and_answered_once() {
    let mut links = 0;
    let broker = Broker::start(move |message| {
        links += 1;
        if links < 4 { Act::Die } else { accept(message) }
    });
    let publisher = Publisher::start(broker.addr);
    let start = Instant::now();
    let mut client = publisher.client().await;
    client.send(get("/?content=first")).await;
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert!(start.elapsed() < Duration::from_secs(4), "it waited for the limit");
    client.send(get("/?content=second")).await;
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert_eq!(broker.contents(), ["first", "first", "first", "first", "second"]);
    assert_eq!(broker.numbers(), [1, 1, 1, 1, 2]);
    let same = broker.received()[..4].windows(2).all(|pair| pair[0] == pair[1]);
    assert!(same, "{:?}", broker.received());
    assert_eq!(broker.hellos(), [1, 1, 1, 1]);
}

#[actix::test]
async fn a_broker_that_lost_its_log_gets_no_repeats() {
    let broker = Broker::start(silent_at_first());
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client.send(get("/?content=old")).await;
    broker.has_received(1).await;
    broker.lose_memory();
    let start = Instant::now();
    broker.cut();
    let sentence = "the broker lost its log before it answered: it is unknown whether the content \
                    was delivered; repeat with the same id (without an id, a repeat may deliver it \
                    twice)\n";
    assert_eq!(client.answer().await.brief(), (504, sentence));
    assert!(start.elapsed() < Duration::from_secs(4), "it waited for the limit");
    let answer = publisher.send(get_json("/?content=new")).await;
    assert_eq!(answer.json()["position"], "000000000000e0c5-2");
    assert_eq!(broker.contents(), ["old", "new"]);
    assert_eq!(broker.numbers(), [1, 2]);
}

#[actix::test]
async fn a_push_to_one_connection_is_never_repeated() {
    let broker = Broker::start(silent_at_first());
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client.send(get("/?content=psst&to_worker_id=3&to_connection_id=7")).await;
    broker.has_received(1).await;
    let start = Instant::now();
    broker.cut();
    let answer = client.answer().await;
    assert_eq!(answer.status, 504);
    assert!(answer.body.starts_with("the link to the broker broke"), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(4), "it waited for the limit");
    assert_eq!(publisher.get("/?content=hi").await.brief(), (200, "ok"));
    assert_eq!(broker.contents(), ["psst", "hi"]);
    assert_eq!(broker.hellos()[1], 2);
}

/// Sends the pushes from `first` on, each on its own connection; the broker has each before the next.
async fn push_in_order(
    publisher: &Publisher,
    broker: &Broker,
    numbers: std::ops::Range<usize>,
    body: &str,
) -> Vec<HttpConnection> {
    let mut clients = Vec::new();
    for n in numbers {
        let mut client = publisher.client().await;
        client.send(post("/", "", format!("{n} {body}"))).await;
        broker.has_received(n + 1).await;
        clients.push(client);
    }
    clients
}

fn order(broker: &Broker) -> Vec<String> {
    let first_word = |content: String| content.split(' ').next().unwrap_or_default().to_owned();
    broker.contents().into_iter().map(first_word).collect()
}

#[actix::test]
async fn repeats_come_in_order_and_before_anything_new() {
    const SILENT: usize = 24;
    let mut pushes = 0;
    let broker = Broker::start(move |message| {
        pushes += 1;
        // The third one alone has its answer before the link breaks.
        if pushes <= SILENT && pushes != 3 { Act::Nothing } else { accept(message) }
    });
    let publisher = Publisher::start(broker.addr);
    // More than the link's own queue takes.
    let body = "x".repeat(100 << 10);
    let mut clients = push_in_order(&publisher, &broker, 0..SILENT, &body).await;
    assert_eq!(clients.remove(2).answer().await.brief(), (200, "ok"));
    broker.cut();
    let mut late = publisher.client().await;
    late.send(get("/?content=late")).await;
    clients.push(late);
    for client in &mut clients {
        assert_eq!(client.answer().await.brief(), (200, "ok"));
    }
    let again = (0..SILENT).filter(|n| *n != 2);
    let mut expected: Vec<String> = (0..SILENT).chain(again).map(|n| n.to_string()).collect();
    expected.push("late".to_owned());
    assert_eq!(order(&broker), expected);
    assert_eq!(broker.hellos(), [1, 1]);
}

#[actix::test]
async fn the_broker_learns_which_numbers_are_settled() {
    let broker = Broker::start(|message| match message {
        ToBroker::Publish { number: 1 | 3, .. } => Act::Nothing,
        message => accept(message),
    });
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.confirm_limit = Duration::from_secs(1);
    });
    let mut clients = push_in_order(&publisher, &broker, 0..4, "").await;
    let unanswered = || -> Vec<u64> {
        let told = |message: &ToBroker| match message {
            ToBroker::Publish { unanswered, .. } => *unanswered,
            other => panic!("{other:?}"),
        };
        broker.received().iter().map(told).collect()
    };
    assert_eq!(unanswered(), [1, 1, 1, 1]);
    assert_eq!(clients[0].answer().await.status, 504);
    assert_eq!(clients[2].answer().await.status, 504);
    broker.cut();
    until(|| broker.hellos().len() == 2).await;
    assert_eq!(broker.hellos(), [1, 5]);
    assert_eq!(publisher.get("/?content=next").await.brief(), (200, "ok"));
    assert_eq!(unanswered(), [1, 1, 1, 1, 5]);
}

#[actix::test]
async fn broken_links_do_not_prolong_the_wait_for_an_answer() {
    let broker = Broker::start(|_| Act::Die);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.confirm_limit = Duration::from_millis(700);
    });
    let start = Instant::now();
    let answer = publisher.get("/?content=hi").await;
    assert_eq!(answer.status, 504);
    assert!(answer.body.starts_with("the broker did not answer within 0.7 s"), "{answer:?}");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(2), "{took:?}");
    assert!(broker.numbers().len() > 1);
    assert!(broker.numbers().iter().all(|number| *number == 1));
}
