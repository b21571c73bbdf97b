//! The publish stream.

pub mod client;
mod ending;
mod room;

use std::time::Duration;

use campanile_messages::ToBroker;
use client::Stream;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    Act, Broker, Publisher, accept, accepted, get, post, reserved_port, silent_at_first, until,
};

fn receipt(number: u64) -> Value {
    let position = format!("000000000000e0c4-{number}");
    let receipt =
        json!({ "position": position, "durability": "disk", "gateways": 2, "matched": 120 });
    json!({ "status": 200, "receipt": receipt })
}

fn item(content: impl Into<String>) -> Value {
    json!({ "content": content.into() })
}

#[actix::test]
async fn items_are_answered_in_their_order() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut stream = Stream::open(&publisher, None).await;
    for number in 0..1_000 {
        stream.send(&item(number.to_string())).await;
    }
    for number in 1..=1_000 {
        assert_eq!(stream.answer().await, receipt(number));
    }
    let contents: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    assert!(broker.contents() == contents);
}

#[actix::test]
async fn messagepack_goes_both_ways() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut stream = Stream::open(&publisher, Some("campanile.publish.v1.msgpack")).await;
    stream.send(&item("hi")).await;
    stream.send(&json!({ "content": "hi", "to": { "worker": 3, "connection": 7 } })).await;
    stream.send(&json!({})).await;
    stream.send_raw(Message::binary(&b"\x81\xa7content\xc4\x01\xff"[..])).await;
    assert_eq!(stream.answer().await, receipt(1));
    assert_eq!(stream.answer().await, json!({ "status": 200, "receipt": { "written": 1 } }));
    assert_eq!(stream.answer().await["status"], 400);
    assert_eq!(stream.answer().await, receipt(3));
    assert_eq!(broker.contents(), ["hi", "hi", "\u{fffd}"]);
}

#[actix::test]
async fn a_message_that_is_not_an_item_gets_an_error_in_place() {
    // The first item is answered after the second, so that what stands between them has to wait.
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number: 1, .. } => Act::Nothing,
        ToBroker::Publish { number: 2, .. } => Act::SayAll(vec![accepted(2), accepted(1)]),
        _ => accept(message),
    });
    let publisher = Publisher::start(broker.addr);
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&item("a")).await;
    for text in ["", "{", "[]", "{\"content\":\"\"}", "\u{feff}{}"] {
        stream.send_raw(Message::text(text)).await;
    }
    stream.send(&item("b")).await;
    assert_eq!(stream.answer().await, receipt(1));
    for _ in 0..5 {
        let answer = stream.answer().await;
        assert_eq!(answer["status"], 400);
        assert!(answer["error"].is_string());
    }
    assert_eq!(stream.answer().await, receipt(2));
    stream.send(&item("c")).await;
    assert_eq!(stream.answer().await, receipt(3));
}

#[actix::test]
async fn a_wrong_item_of_a_stream_harms_no_other() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut json = Stream::open(&publisher, None).await;
    let deep = format!("{{\"content\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let wrong = [
        r#"{"content":"\ud83d"}"#,
        r#"{"content":1e999}"#,
        r#"{"content":"a","content":"a"}"#,
        r#"{"content_base64":"YQ"}"#,
        &deep,
    ];
    for (text, number) in wrong.into_iter().zip(1..) {
        json.send_raw(Message::text(text)).await;
        json.send_raw(Message::text("\u{feff}{\"content\":\"good\"}")).await;
        assert_eq!(json.answer().await["status"], 400, "{text}");
        assert_eq!(json.answer().await, receipt(number));
    }
    let mut packed = Stream::open(&publisher, Some("campanile.publish.v1.msgpack")).await;
    let deep = [&b"\x81\xa7content"[..], &[0x91; 10_000], b"\x00"].concat();
    let wrong = [
        &b"\x81\xa7content\xa1\xed"[..],
        b"\x81\xa7content\xcb\x7f\xf0\0\0\0\0\0\0",
        b"\x82\xa7content\xa1a\xa7content\xa1a",
        b"\x81\xaecontent_base64\xa2YQ",
        &deep,
    ];
    for (bytes, number) in wrong.into_iter().zip(6..) {
        packed.send_raw(Message::binary(bytes.to_vec())).await;
        packed.send(&item("good")).await;
        assert_eq!(packed.answer().await["status"], 400, "{bytes:?}");
        assert_eq!(packed.answer().await, receipt(number));
    }
    assert_eq!(broker.contents(), ["good"; 10]);
}

#[actix::test]
async fn a_stream_with_a_full_window_is_not_read() {
    let broker = Broker::start(|_| Act::Nothing);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_stream_items = 10;
        config.confirm_limit = Duration::from_millis(300);
    });
    let mut stream = Stream::open(&publisher, None).await;
    for number in 0..25 {
        stream.send(&item(number.to_string())).await;
    }
    broker.has_received(10).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(broker.received().len(), 10, "it was read on");
    for _ in 0..25 {
        assert_eq!(stream.answer().await["status"], 504);
    }
    assert_eq!(broker.contents().len(), 25);
}

#[actix::test]
async fn a_window_is_bounded_in_bytes_unless_it_is_empty() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number: 3, .. } => Act::Say(accepted(3)),
        ToBroker::Publish { number: 4, .. } => Act::Say(accepted(4)),
        _ => Act::Nothing,
    });
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_stream_bytes = 2_000;
        config.confirm_limit = Duration::from_secs(1);
    });
    let mut stream = Stream::open(&publisher, None).await;
    // Two of these fill it: the third waits until the first two have their answers, which are 504.
    for _ in 0..3 {
        stream.send(&item("x".repeat(1_000))).await;
    }
    assert_eq!(stream.answer().await["status"], 504);
    assert_eq!(stream.answer().await["status"], 504);
    assert_eq!(stream.answer().await, receipt(3));
    stream.send(&item("x".repeat(100_000))).await;
    assert_eq!(stream.answer().await, receipt(4));
}

#[actix::test]
async fn a_stream_whose_answers_are_not_read_is_not_read() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| config.max_stream_items = 100);
    let mut stream = Stream::open(&publisher, None).await;
    let text = item("x".repeat(64)).to_string();
    let mut sent = 0u64;
    // Ends when both directions are full of what the kernels and the publisher hold at most.
    while timeout(Duration::from_secs(1), stream.send_raw(Message::text(text.clone())))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 1_000_000, "it reads for ever");
    }
    let received = broker.received().len() as u64;
    assert!(received < sent, "{received} of {sent}");
    // What was cut off in the middle is completed by the client, which flushes as it reads.
    for number in 1..=sent {
        assert_eq!(stream.answer().await, receipt(number));
    }
}

#[actix::test]
async fn contents_over_the_budget_are_503_in_their_place() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number: 3, .. } => Act::SayAll((1..=3).map(accepted).collect()),
        ToBroker::Publish { number: 4.., .. } => accept(message),
        _ => Act::Nothing,
    });
    // Two items of 512 bytes fit into the 1,200 of one address.
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 1_000;
        config.max_pending_bytes = 1_600;
    });
    let mut first = Stream::open(&publisher, None).await;
    let mut second = Stream::open(&publisher, None).await;
    let mut third = Stream::open(&publisher, None).await;
    first.send(&item("a")).await;
    broker.has_received(1).await;
    second.send(&item("a")).await;
    broker.has_received(2).await;
    third.send(&item("a")).await;
    let refused = third.answer().await;
    assert_eq!(refused["status"], 503);
    let error = refused["error"].as_str().expect("a text");
    assert!(error.starts_with("too much content from your address is on its way"), "{error}");
    assert_eq!(publisher.get("/?content=b").await.status, 200);
    assert_eq!(first.answer().await, receipt(1));
    assert_eq!(second.answer().await, receipt(2));
    // Nothing of it is kept.
    third.send(&item("x".repeat(1_000))).await;
    assert_eq!(third.answer().await, receipt(4));
}

#[actix::test]
async fn an_outage_is_503_unless_the_item_was_sent() {
    let (port, addr) = reserved_port();
    let publisher = Publisher::start_with(addr, |config| {
        config.broker_wait = Duration::from_millis(100);
    });
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&item("a")).await;
    stream.send(&item("b")).await;
    assert_eq!(stream.answer().await["status"], 503);
    assert_eq!(stream.answer().await["status"], 503);

    let broker = Broker::start_at(port, silent_at_first());
    until(|| !broker.hellos().is_empty()).await;
    stream.send(&item("c")).await;
    stream.send(&item("d")).await;
    broker.has_received(2).await;
    broker.cut();
    assert_eq!(stream.answer().await, receipt(1));
    assert_eq!(stream.answer().await, receipt(2));
    assert_eq!(broker.numbers(), [1, 2, 1]);
    broker.lose_memory();
}

#[actix::test]
async fn a_broker_that_lost_its_log_is_504() {
    let broker = Broker::start(silent_at_first());
    let publisher = Publisher::start(broker.addr);
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&item("a")).await;
    broker.has_received(1).await;
    broker.lose_memory();
    broker.cut();
    assert_eq!(stream.answer().await["status"], 504);
}

#[actix::test]
async fn fragments_are_one_item_and_pings_are_answered_between_them() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut stream = Stream::open(&publisher, None).await;
    stream.send_bytes(b"\x01\x8b\0\0\0\0{\"content\":").await;
    stream.send_bytes(b"\x89\x82\0\0\0\0hi").await;
    stream.send_bytes(b"\x80\x84\0\0\0\0\"a\"}").await;
    assert_eq!(stream.next().await, Some(Message::Pong(b"hi".to_vec().into())));
    assert_eq!(stream.answer().await, receipt(1));
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn handshake(more: &str) -> String {
    format!(
        "GET /stream HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    )
}

#[actix::test]
async fn other_sites_and_plain_requests_open_no_stream() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let origin = |origin: &str| handshake(&format!("{KEY}Origin: {origin}\r\n"));
    let with = |more: &str| handshake(&format!("{KEY}{more}"));
    for (request, status, said) in [
        (
            origin("https://evil.example"),
            403,
            "pages of the origin \"https://evil.example\" may not",
        ),
        (origin("null"), 403, "pages of the origin \"null\" may not push"),
        (origin("http://localhost:3000"), 101, ""),
        (with("Sec-WebSocket-Protocol: campanile.publish.v1.json\r\n"), 101, ""),
        (
            with("Sec-WebSocket-Protocol: campanile.v1\r\n"),
            400,
            "the subprotocol is \"campanile.v1\"",
        ),
        (handshake(""), 400, "the websocket handshake is broken: Sec-WebSocket-Key"),
        (handshake("Sec-WebSocket-Key: x\r\n"), 400, "the websocket handshake is broken"),
        (with("Sec-WebSocket-Protocol: \r\n"), 101, ""),
        (
            with("").replace("HTTP/1.1", "HTTP/1.0"),
            400,
            "the websocket handshake is broken: a websocket opens with HTTP/1.1",
        ),
        (
            with("").replace("Version: 13", "Version: 8"),
            426,
            "the websocket handshake is broken: Sec-WebSocket-Version must be 13",
        ),
        (
            with("").replace("Connection: Upgrade", "Connection: keep-alive"),
            400,
            "the websocket handshake is broken: a websocket needs the header Connection: Upgrade",
        ),
        (
            with("").replace("Upgrade: websocket", "Upgrade: h2c"),
            400,
            "the websocket handshake is broken: a websocket needs the header Upgrade: websocket",
        ),
        (with("").replace("Upgrade: websocket", "Upgrade: h2c, websocket"), 101, ""),
        (get("/stream"), 426, "/stream is a websocket"),
        (get("/stream?x=1"), 400, "the URL has the parameters \"x=1\": /stream takes none"),
        (
            String::from_utf8(post("/stream", "", "x")).expect("a text"),
            405,
            "the method \"POST\" is not supported here: use GET",
        ),
    ] {
        let answer = publisher.send(request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.starts_with(said), "{answer:?}");
        let version = answer.header("sec-websocket-version");
        assert_eq!(version, (status == 426).then_some("13"), "{answer:?}");
    }
}

#[actix::test]
async fn what_waits_for_a_caller_that_is_gone_is_not_sent() {
    let (port, addr) = reserved_port();
    let publisher = Publisher::start(addr);
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&item("a")).await;
    stream.ping_pong().await;
    drop(stream);
    // The publisher takes note of the end before it answers another connection's request.
    sleep(Duration::from_millis(100)).await;
    let broker = Broker::start_at(port, accept);
    assert_eq!(publisher.get("/?content=b").await.status, 200);
    assert_eq!(broker.contents(), ["b"]);
}
