//! Many pushes with one request.

use std::time::Duration;

use campanile_messages::link::Refusal;
use campanile_messages::{FromBroker, ToBroker};
use serde_json::{Value, json};

use crate::harness::{
    Act, Answer, Broker, Publisher, accept, accepted, get, get_with, post, reserved_port,
    silent_at_first, until,
};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

fn batch(content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post("/batch", content_type, body)
}

fn receipt(number: u64) -> Value {
    let position = format!("000000000000e0c4-{number}");
    let receipt =
        json!({ "position": position, "durability": "disk", "gateways": 2, "matched": 120 });
    json!({ "status": 200, "receipt": receipt })
}

fn receipt_text(number: u64) -> String {
    format!(
        "{{\"status\":200,\"receipt\":{{\"position\":\"000000000000e0c4-{number}\",\"durability\":\
         \"disk\",\"gateways\":2,\"matched\":120}}}}"
    )
}

fn statuses(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let answers = answer.json();
    let answers = answers.as_array().expect("an array");
    answers.iter().map(|answer| answer["status"].as_u64().expect("a status")).collect()
}

#[actix::test]
async fn an_array_is_answered_with_an_array_in_its_order() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let body = json!([
        { "content": "a" },
        { "content": "b", "to": { "group": "news" } },
        { "content": "" },
        { "content": "c", "to": { "worker": 3, "connection": 7 } },
        { "content": "d", "to": { "team": "u" } },
        { "content_base64": "/wA=" },
    ]);
    for content_type in [JSON, "", "application/json; charset=utf-8"] {
        let answer = publisher.send(batch(content_type, body.to_string())).await;
        assert_eq!(statuses(&answer), [200, 200, 400, 200, 400, 200]);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let first = broker.numbers().len() as u64 - 3;
        assert_eq!(answer.json()[0], receipt(first));
        assert_eq!(answer.json()[3], json!({ "status": 200, "receipt": { "written": 1 } }));
        let error = answer.json()[4]["error"].as_str().expect("a text").to_owned();
        assert!(error.starts_with("\"team\" is not a field of to: leave"), "{error}");
    }
    assert_eq!(broker.contents()[..4], ["a", "b", "c", "\u{fffd}\0"]);
}

#[actix::test]
async fn lines_get_lines_and_a_malformed_one_harms_no_other() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let body = "{\"content\":\"a\"}\n\n{\"content\"\n{\"content\":\"b\"}\n";
    let answer = publisher.send(batch(LINES, body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(LINES));
    let lines: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0], &lines[2]), (&receipt(1), &receipt(2)));
    assert_eq!(lines[1]["status"], 400);
    assert_eq!(broker.contents(), ["a", "b"]);
}

#[actix::test]
async fn half_an_emoji_harms_only_its_item() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let body = r#"[{"content":"a"},{"content":"\ud83d"},{"content":"c"}]"#;
    let answer = publisher.send(batch(JSON, body)).await;
    assert_eq!(statuses(&answer), [200, 400, 200]);
    let error = answer.json()[1]["error"].as_str().expect("a text").to_owned();
    assert!(error.starts_with(r#"the item has "\\ud83d", half of a surrogate pair"#), "{error}");
    assert_eq!(broker.contents(), ["a", "c"]);
}

#[actix::test]
async fn a_byte_order_mark_before_a_batch_is_skipped() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.send(batch(JSON, "\u{feff}[{\"content\":\"a\"}]")).await;
    assert_eq!(answer.json(), json!([receipt(1)]));
    let lines = "\u{feff}{\"content\":\"b\"}\n{\"content\":\"c\"}\n";
    let answer = publisher.send(batch(LINES, lines)).await;
    assert_eq!(answer.body, format!("{}\n{}\n", receipt_text(2), receipt_text(3)));
    assert_eq!(broker.contents(), ["a", "b", "c"]);
}

#[actix::test]
async fn an_empty_batch_is_answered_with_nothing() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    assert_eq!(publisher.send(batch(JSON, "[]")).await.brief(), (200, "[]"));
    assert_eq!(publisher.send(batch(LINES, "")).await.brief(), (200, ""));
}

#[actix::test]
async fn thousands_are_handed_over_in_their_order() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let contents: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    let items: Vec<Value> = contents.iter().map(|content| json!({ "content": content })).collect();
    let answer = publisher.send(batch(JSON, json!(items).to_string())).await;
    let expected: Vec<Value> = (1..=2_000).map(receipt).collect();
    assert!(answer.json() == json!(expected));
    assert!(broker.contents() == contents);
}

#[actix::test]
async fn what_is_not_a_batch_is_refused_as_a_whole() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_batch_bytes = 1_000;
        config.max_batch_items = 3;
    });
    let four = r#"[{"content":"a"},{"content":"a"},{"content":"a"},{"content":"a"}]"#;
    let large = format!("[{{\"content\":\"{}\"}}]", "x".repeat(1_000));
    let with_id = |body: &str| {
        format!(
            "POST /batch HTTP/1.1\r\nHost: t\r\nIdempotency-Key: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    for (request, status, said) in [
        (
            batch(JSON, r#"[{"content":"a"},"#),
            400,
            "the batch is not JSON, and nothing of it was pushed",
        ),
        (batch("", r#"{"content":"a"}"#), 400, "the batch is {..}, and nothing of it was pushed"),
        (batch(JSON, b"[\xff]"), 400, "the batch is not UTF-8 from byte 1 on, and nothing of it"),
        (batch("text/plain", "[]"), 400, "the header Content-Type is \"text/plain\": a batch is"),
        (batch("application/x-www-form-urlencoded", "[]"), 400, "the header Content-Type is"),
        (post("/batch?to_group=a", JSON, "[]"), 400, "the URL has the parameters \"to_group=a\""),
        (with_id("[]"), 400, "the header Idempotency-Key is \"a\": a batch has no id"),
        (batch(JSON, four), 413, "the batch has more than 3 items, and nothing of it was pushed"),
        (
            batch(JSON, large),
            413,
            "the batch is too large, and nothing of it was pushed: at most 1000",
        ),
        (get("/batch").into(), 405, "the method \"GET\" is not supported here: use POST"),
    ] {
        let answer = publisher.send(request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.starts_with(said), "{answer:?}");
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
        }
    }
    let as_json = get_with("/batch", "Accept: application/json");
    assert!(publisher.send(as_json).await.json()["error"].is_string());
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn each_item_has_the_status_of_a_separate_request() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number: 2, .. } => {
            Act::Say(FromBroker::Refused { number: 2, refusal: Refusal::IdTaken })
        }
        ToBroker::Publish { number: 3, .. } => Act::Nothing,
        _ => accept(message),
    });
    let publisher = Publisher::start_with(broker.addr, |config| config.max_content_bytes = 100);
    let body = json!([
        { "content": "a", "id": "1" },
        { "content": "b", "id": "2" },
        { "content": "c", "timeout": "50ms" },
        { "content": "x".repeat(101) },
        { "content": "e" },
    ]);
    let answer = publisher.send(batch(JSON, body.to_string())).await;
    assert_eq!(statuses(&answer), [200, 409, 504, 413, 200]);
}

#[actix::test]
async fn without_a_broker_each_item_is_503_and_nothing_is_sent_later() {
    let (port, addr) = reserved_port();
    let publisher = Publisher::start_with(addr, |config| {
        config.broker_wait = Duration::from_millis(100);
    });
    let answer = publisher.send(batch(JSON, r#"[{"content":"a"},{"content":"b"}]"#)).await;
    assert_eq!(statuses(&answer), [503, 503]);
    let broker = Broker::start_at(port, accept);
    until(|| !broker.hellos().is_empty()).await;
    assert_eq!(statuses(&publisher.send(batch(JSON, r#"[{"content":"c"}]"#)).await), [200]);
    assert_eq!(broker.contents(), ["c"]);
}

#[actix::test]
async fn a_batch_outlives_its_link() {
    let broker = Broker::start(silent_at_first());
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client.send(batch(JSON, r#"[{"content":"a"},{"content":"b"}]"#)).await;
    broker.has_received(2).await;
    broker.cut();
    let answer = client.answer().await;
    assert_eq!(answer.json(), json!([receipt(1), receipt(2)]));
    assert_eq!(broker.numbers(), [1, 2, 1]);
}

#[actix::test]
async fn the_answer_comes_when_the_last_item_has_its_own() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number: 2, .. } => {
            Act::SayAll(vec![accepted(2), FromBroker::Heartbeat, accepted(1)])
        }
        _ => Act::Nothing,
    });
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.send(batch(JSON, r#"[{"content":"a"},{"content":"b"}]"#)).await;
    assert_eq!(answer.json(), json!([receipt(1), receipt(2)]));
}

#[actix::test]
async fn a_batch_over_the_budget_is_503_and_gives_its_room_back() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 1_000;
        config.max_pending_bytes = 5_000;
    });
    let items = |count| json!(vec![json!({ "content": "a" }); count]).to_string();
    let answer = publisher.send(batch(JSON, items(10))).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.starts_with("too much content from your address is on"), "{answer:?}");
    assert_eq!(broker.received(), []);
    for _ in 0..3 {
        assert_eq!(statuses(&publisher.send(batch(JSON, items(7))).await), [200; 7]);
    }
}

#[actix::test]
async fn a_slow_batch_is_408_and_nothing_is_published() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.body_limit = Duration::from_millis(300);
    });
    let head = "POST /batch HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-ndjson\r\n";
    let part = "Content-Length: 100\r\n\r\n{\"content\":\"a\"}\n";
    assert_eq!(publisher.send(format!("{head}{part}")).await.status, 408);
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn a_page_may_send_a_batch_where_it_may_push() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let preflight = "OPTIONS /batch HTTP/1.1\r\nHost: t\r\nOrigin: http://localhost:3000\r\n\r\n";
    let answer = publisher.send(preflight).await;
    assert_eq!(answer.brief(), (200, ""));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST, OPTIONS"));
}
