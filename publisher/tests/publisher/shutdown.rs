//! How a publisher ends.

use std::time::Duration;

use actix::Actor;
use campanile_channel::Watchdog;
use campanile_channel::client::hold;
use campanile_channel::publishing::{Push, Receipt, Target, WaitLimits};
use campanile_edge::Peer;
use campanile_messages::{Audience, InstanceId, ToBroker};
use campanile_publisher::budget::{Budget, Shares};
use campanile_publisher::courier::{Caller, Carry, Courier, Finish, LINK_QUEUE_BYTES, Presence};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::harness::{
    Act, Broker, DEADLINE, Publisher, accept, accepted_counting, get, reserved_port,
    silent_at_first, text,
};

#[actix::test]
async fn requests_under_way_are_answered_and_no_more_are_taken() {
    // The push waits for a broker, which comes only after the publisher was asked to stop.
    let (port, addr) = reserved_port();
    let mut publisher = Publisher::start(addr);
    let mut under_way = publisher.client().await;
    under_way.send(get("/?content=under+way")).await;
    assert_eq!(publisher.get("/nowhere").await.status, 404);

    publisher.stop();
    refuses(&publisher).await;
    let broker = Broker::start_at(port, accept);
    assert_eq!(under_way.answer().await.brief(), (200, "ok"));
    assert!(publisher.ended().await.is_ok());
    assert_eq!(broker.contents(), ["under way"]);
}

async fn refuses(publisher: &Publisher) {
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect(publisher.addr).await.is_ok() {
        assert!(Instant::now() < deadline, "it still accepts");
    }
}

#[actix::test]
async fn idle_connections_and_no_broker_do_not_delay_the_end() {
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
async fn a_silent_broker_delays_the_end_only_up_to_the_limit() {
    let broker = Broker::start(|_| Act::Nothing);
    let mut publisher = Publisher::start_with(broker.addr, |config| {
        config.shutdown_limit = Duration::from_millis(500);
    });
    let mut client = publisher.client().await;
    client.send(get("/?content=hi")).await;
    broker.has_received(1).await;
    let start = Instant::now();
    publisher.stop();
    let answer = client.answer().await;
    assert_eq!(answer.status, 504);
    assert!(answer.body.starts_with("the publisher ended before"), "{answer:?}");
    assert!(publisher.ended().await.is_ok());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[actix::test]
async fn a_shutdown_answers_with_the_counts_that_came() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number, .. } => Act::Say(accepted_counting(number, 1, 0)),
        _ => Act::Nothing,
    });
    let mut publisher = Publisher::start_with(broker.addr, |config| {
        config.shutdown_limit = Duration::from_millis(500);
    });
    let mut client = publisher.client().await;
    client.send(get("/?content=hi&wait=delivered&timeout=30s")).await;
    broker.has_received(1).await;
    publisher.stop();
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert!(publisher.ended().await.is_ok());
}

#[actix::test]
async fn a_shutdown_waits_for_answers_over_the_next_link() {
    let broker = Broker::start(silent_at_first());
    let mut publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client.send(get("/?content=hi")).await;
    broker.has_received(1).await;
    publisher.stop();
    refuses(&publisher).await;
    broker.cut();
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert!(publisher.ended().await.is_ok());
    assert_eq!(broker.numbers(), [1, 1]);
}

#[actix::test]
async fn a_courier_that_finishes_waits_for_answers_only() {
    let broker = Broker::start(silent_at_first());
    let limits = WaitLimits { broker_wait: DEADLINE, confirm_limit: DEADLINE };
    let (alive, _gone) = oneshot::channel();
    let courier = Courier::new(InstanceId(1), limits, alive, Watchdog::none().watch("")).start();
    let link = hold(
        courier.clone(),
        broker.addr.to_string().into(),
        LINK_QUEUE_BYTES,
        Watchdog::none().watch(""),
        async || {},
    );
    let link = actix::spawn(link);
    let carry = |content| {
        let push = Push::new(Target::Audience(Audience::Everyone), text(content));
        let (answer, answered) = oneshot::channel();
        let (presence, reserved) =
            (Presence::default(), Budget::new(Shares::of(0, 0, 0)).reserve(Peer::of(None)));
        courier.do_send(Carry { push, caller: Caller::Single { answer, presence, reserved } });
        answered
    };
    let handed_over = carry("handed over");
    broker.has_received(1).await;
    assert!(courier.send(Finish).await.expect("it lives"));
    let late = carry("late").await.expect("an answer").expect_err("refused");
    assert_eq!(late.to_string(), "the publisher is shutting down, nothing was sent: try again");
    broker.cut();
    let answer = timeout(DEADLINE, handed_over).await.expect("in time");
    assert!(matches!(answer, Ok(Ok(Receipt::Accepted(_)))), "{answer:?}");
    timeout(DEADLINE, link)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("a broker that is fit");
    assert!(!courier.connected());
    assert_eq!(broker.numbers(), [1, 1]);
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
async fn a_setting_out_of_range_is_an_error_at_the_start() {
    let (_port, addr) = reserved_port();
    let mut publisher = Publisher::start_with(addr, |config| config.workers = 0);
    let error = publisher.ended().await.expect_err("refused");
    assert_eq!(error.to_string(), "workers is 0, from 1 to 512 are accepted");
}
