//! How a stream ends, and with which close code.

use std::time::Duration;

use campanile_messages::ToBroker;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::client::Stream;
use super::{KEY, handshake, item, receipt};
use crate::harness::{Act, Broker, Publisher, accept, accepted, silent_at_first};

#[actix::test]
async fn a_shutdown_answers_what_was_taken_and_closes_1001() {
    let broker = Broker::start(silent_at_first());
    let mut publisher = Publisher::start(broker.addr);
    let mut stream = Stream::open(&publisher, None).await;
    let mut idle = Stream::open(&publisher, None).await;
    stream.send(&item("a")).await;
    broker.has_received(1).await;
    publisher.stop();
    assert_eq!(idle.closed().await, Some(1001));
    stream.send(&item("too late")).await;
    broker.cut();
    let answer = stream.answer().await;
    assert_eq!(answer, receipt(1), "{:?} {:?}", broker.hellos(), broker.numbers());
    assert_eq!(stream.closed().await, Some(1001));
    assert!(publisher.ended().await.is_ok());
    assert_eq!(broker.contents(), ["a", "a"]);
}

#[actix::test]
async fn a_silent_broker_does_not_delay_the_shutdown() {
    let broker = Broker::start(|_| Act::Nothing);
    let mut publisher = Publisher::start_with(broker.addr, |config| {
        config.shutdown_limit = Duration::from_millis(500);
    });
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&item("a")).await;
    broker.has_received(1).await;
    publisher.stop();
    assert_eq!(stream.answer().await["status"], 504);
    assert_eq!(stream.closed().await, Some(1001));
    assert!(publisher.ended().await.is_ok());
}

#[actix::test]
async fn an_unread_stream_delays_the_shutdown_up_to_the_limit() {
    let broker = Broker::start(accept);
    let mut publisher = Publisher::start_with(broker.addr, |config| {
        config.shutdown_limit = Duration::from_millis(500);
    });
    let mut stream = Stream::open(&publisher, None).await;
    let text = item("x".repeat(64)).to_string();
    while timeout(Duration::from_millis(300), stream.send_raw(Message::text(text.clone())))
        .await
        .is_ok()
    {}
    let start = Instant::now();
    publisher.stop();
    assert!(publisher.ended().await.is_ok());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[actix::test]
async fn a_close_is_answered_after_the_answers() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number: 1, .. } => Act::Nothing,
        ToBroker::Publish { .. } => Act::SayAll(vec![accepted(2), accepted(1)]),
        _ => Act::Nothing,
    });
    let publisher = Publisher::start(broker.addr);
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&item("a")).await;
    stream.send_raw(Message::Close(None)).await;
    broker.has_received(1).await;
    assert_eq!(publisher.get("/?content=b").await.status, 200);
    assert_eq!(stream.answer().await, receipt(1));
    assert_eq!(stream.closed().await, Some(1000));
}

#[actix::test]
async fn violations_close_with_their_codes_after_the_answers() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| config.max_content_bytes = 1_000);
    let large = "x".repeat(20_000);
    for (format, bad, code) in [
        (None, Message::binary(&b"{}"[..]), 1003),
        (Some("campanile.publish.v1.msgpack"), Message::text("{}"), 1003),
        (None, Message::text(large.clone()), 1009),
        (Some("campanile.publish.v1.msgpack"), Message::binary(large.clone()), 1009),
    ] {
        let mut stream = Stream::open(&publisher, format).await;
        stream.send(&item("a")).await;
        stream.send_raw(bad).await;
        assert_eq!(stream.answer().await["status"], 200);
        assert_eq!(stream.closed().await, Some(code));
    }
    for (frame, code) in [
        (&b"\x81\x81\0\0\0\0\xff"[..], 1007),
        (b"\x81\x02{}", 1002),
        (b"\xc1\x82\0\0\0\0{}", 1002),
        (b"\x80\x82\0\0\0\0{}", 1002),
    ] {
        let mut stream = Stream::open(&publisher, None).await;
        stream.send_bytes(frame).await;
        assert_eq!(stream.closed().await, Some(code), "{frame:?}");
    }
}

#[actix::test]
async fn only_a_caller_that_answers_no_pings_is_cut_off() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.silence_limit = Duration::from_secs(1);
    });
    let mut alive = Stream::open(&publisher, None).await;
    let mut silent = publisher.client().await;
    silent.send(handshake(KEY)).await;
    assert_eq!(silent.answer().await.status, 101);
    let reading = actix::spawn(async move { silent.rest().await });
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2_500) {
        // It answers pings as it reads.
        let _ = timeout(Duration::from_millis(100), alive.next()).await;
    }
    alive.send(&item("a")).await;
    assert_eq!(alive.answer().await["status"], 200);
    let rest = reading.await.expect("no panic");
    assert!(rest.ends_with("no answer to pings"), "{rest:?}");
}
