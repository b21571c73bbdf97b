//! Keys of publish streams.

use std::time::{Duration, Instant};

use campanile_edge::Rate;
use campanile_messages::ToBroker;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{KEY, key, set, start, start_with};
use crate::harness::{Act, Broker, Publisher, accept, until};
use crate::stream::client::Stream;

fn auth(key: &str) -> Value {
    json!({ "type": "auth", "key": key })
}

fn to_group(group: &str) -> Value {
    json!({ "content": group, "to": { "group": group } })
}

async fn open_with_key(publisher: &Publisher) -> Stream {
    Stream::open_with(publisher, "/stream", None, Some(&format!("Bearer {KEY}"))).await
}

#[actix::test]
async fn a_stream_takes_its_key_from_the_first_message() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    for subprotocol in [None, Some("campanile.publish.v1.msgpack")] {
        let mut stream = Stream::open(&publisher, subprotocol).await;
        // What follows the key need not wait for its answer.
        stream.send(&auth(KEY)).await;
        stream.send(&json!({ "content": "a".repeat(100_000) })).await;
        assert_eq!(stream.answer().await, json!({ "status": 200 }));
        assert_eq!(stream.answer().await["status"], 200);
        stream.send(&auth(KEY)).await;
        assert_eq!(stream.answer().await["status"], 400, "a key comes once");
    }
    assert_eq!(broker.contents().len(), 2);
}

#[actix::test]
async fn anything_else_first_closes_a_stream_with_4401() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    for first in [
        Message::text(json!({ "content": "a" }).to_string()),
        Message::text(auth("cpk_other").to_string()),
        Message::text(auth(&"k".repeat(3_000)).to_string()),
        Message::text(""),
        Message::binary(rmp_serde::to_vec(&auth(KEY)).expect("MessagePack")),
    ] {
        let mut stream = Stream::open(&publisher, None).await;
        stream.send_raw(first.clone()).await;
        stream.send(&json!({ "content": "behind" })).await;
        assert_eq!(stream.closed().await, Some(4401), "{first:?}");
    }
    let mut stream = Stream::open(&publisher, None).await;
    stream.send_raw(Message::text(auth(&"k".repeat(5_000)).to_string())).await;
    assert_eq!(stream.closed().await, Some(1009), "longer than any key");
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn a_stream_without_a_key_ends_after_five_seconds() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    let opened = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Stream::open(&publisher, None).await);
    }
    let mut known = Stream::open(&publisher, None).await;
    known.send(&auth(KEY)).await;
    for stream in &mut streams {
        assert_eq!(stream.closed().await, Some(4401));
    }
    assert!(opened.elapsed() >= Duration::from_secs(5));
    assert_eq!(known.answer().await, json!({ "status": 200 }));
    known.send(&json!({ "content": "a" })).await;
    assert_eq!(known.answer().await["status"], 200);
}

#[actix::test]
async fn a_wrong_key_in_the_handshake_is_401() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    let handshake = "GET /stream HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Version: 13\r\nAuthorization: Bearer cpk_other\r\n\r\n";
    let answer = publisher.send(handshake).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), Some(super::UNKNOWN_KEY));
    let target = format!("/stream?key={KEY}");
    let mut in_url = Stream::open_with(&publisher, &target, None, None).await;
    in_url.send(&json!({ "content": "a" })).await;
    assert_eq!(in_url.answer().await["status"], 200);
}

#[actix::test]
async fn scopes_are_checked_for_each_item_of_a_stream() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["group:chat/*"]);
    let mut stream = open_with_key(&publisher).await;
    for group in ["chat/1", "news", "chat/2"] {
        stream.send(&to_group(group)).await;
    }
    stream.send(&json!({ "content": "all" })).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(stream.answer().await["status"].as_u64());
    }
    assert_eq!(statuses, [Some(200), Some(403), Some(200), Some(403)]);
    assert_eq!(broker.contents(), ["chat/1", "chat/2"]);
}

#[actix::test]
async fn a_removed_key_ends_its_streams_within_a_second() {
    // Nothing is ever answered.
    let broker = Broker::start(|message| match message {
        ToBroker::Publish { .. } => Act::Nothing,
        _ => accept(message),
    });
    let other = || key("cpk_other", &["everyone"], None);
    let both = set([key(KEY, &["everyone"], None), other()]);
    let (publisher, keys) = start_with(&broker, both, |_| {});
    let mut removed = open_with_key(&publisher).await;
    let mut kept = Stream::open(&publisher, None).await;
    kept.send(&auth("cpk_other")).await;
    assert_eq!(kept.answer().await, json!({ "status": 200 }));
    removed.send(&json!({ "content": "a" })).await;
    until(|| broker.contents().len() == 1).await;
    let changed = Instant::now();
    keys.send_replace(set([other()]));
    assert_eq!(removed.closed().await, Some(4401));
    let took = changed.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    kept.ping_pong().await;
    kept.send(&json!({ "content": "b" })).await;
    until(|| broker.contents().len() == 2).await;
}

#[actix::test]
async fn keys_that_come_later_end_open_streams_without_one() {
    let broker = Broker::start(accept);
    let (publisher, keys) = start_with(&broker, set([]), |_| {});
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&json!({ "content": "a" })).await;
    assert_eq!(stream.answer().await["status"], 200);
    keys.send_replace(set([key(KEY, &["everyone"], None)]));
    assert_eq!(stream.closed().await, Some(4401));
}

#[actix::test]
async fn narrower_scopes_hold_for_open_streams_at_once() {
    let broker = Broker::start(accept);
    let (publisher, keys) = start_with(&broker, set([key(KEY, &["group:*"], None)]), |_| {});
    let mut stream = open_with_key(&publisher).await;
    stream.send(&to_group("news")).await;
    assert_eq!(stream.answer().await["status"], 200);
    keys.send_replace(set([key(KEY, &["group:chat/*"], None)]));
    stream.send(&to_group("news")).await;
    assert_eq!(stream.answer().await["status"], 403);
}

#[actix::test]
async fn a_stream_beyond_its_rate_waits_and_is_never_refused() {
    let broker = Broker::start(accept);
    let keys = set([key(KEY, &["everyone"], Some(Rate::new(50, 5)))]);
    let (publisher, _keys) =
        start_with(&broker, keys, |c| c.silence_limit = Duration::from_secs(1));
    let begun = Instant::now();
    let mut streams = [open_with_key(&publisher).await, open_with_key(&publisher).await];
    for stream in &mut streams {
        for number in 0..40 {
            stream.send(&json!({ "content": number.to_string() })).await;
        }
    }
    for stream in &mut streams {
        for _ in 0..40 {
            assert_eq!(stream.answer().await["status"], 200);
        }
    }
    // 80 items, of which 5 are the burst, at 50 in a second.
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(broker.contents().len(), 80);
}
