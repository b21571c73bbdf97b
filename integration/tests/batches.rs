//! Many pushes at once, as a batch and over a publish stream, reach the listeners in order.

use campanile_harness::{Cluster, within};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const ITEMS: usize = 2_000;

/// Items for everyone; every third one is for a group.
fn items(name: &str) -> Vec<Value> {
    let item = |number: usize| {
        let content = format!("{name} {number}");
        match number % 3 {
            0 => json!({ "content": content, "to": { "group": "news" } }),
            _ => json!({ "content": content }),
        }
    };
    (0..ITEMS).map(item).collect()
}

/// What a client gets that listens to the group, or to none.
fn contents(name: &str, in_group: bool) -> Vec<String> {
    let numbers = (0..ITEMS).filter(|number| in_group || number % 3 != 0);
    numbers.map(|number| format!("{name} {number}")).collect()
}

/// The answers' sequences; each item must be accepted.
fn sequences<'a>(answers: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    let sequence = |answer: &Value| {
        assert_eq!(answer["status"], 200, "{answer}");
        let position = answer["receipt"]["position"].as_str().expect("a position");
        position.split_once('-').expect("a position").1.parse().expect("a sequence")
    };
    answers.into_iter().map(sequence).collect()
}

#[tokio::test]
async fn a_batch_and_a_stream_arrive_in_order_at_all_gateways() {
    let cluster = Cluster::of(2).start().await;
    let mut listener = cluster.client(0, &["news"]).await;
    let mut other = cluster.client(1, &[]).await;

    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let publisher = cluster.push[0].address;
    let request = http
        .post(format!("http://{publisher}/batch"))
        .header("Content-Type", "application/json")
        .body(json!(items("batch")).to_string());
    let answer = within("an answer", request.send()).await.expect("an answer");
    let answers = answer.text().await.expect("a body");
    let answers: Vec<Value> = serde_json::from_str(&answers).expect("an array");
    let expected: Vec<u64> = (1..=ITEMS as u64).collect();
    assert_eq!(sequences(&answers), expected);

    let (stream, _) = connect_async(format!("ws://{publisher}/stream")).await.expect("a stream");
    let (mut to, mut from) = stream.split();
    let sending = tokio::spawn(async move {
        for item in items("stream") {
            to.send(Message::text(item.to_string())).await.expect("it reads");
        }
        to.close().await.expect("it reads");
    });
    let mut answers = Vec::new();
    loop {
        match within("an answer", from.next()).await.expect("no end").expect("a message") {
            Message::Text(text) => answers.push(serde_json::from_str(&text).expect("JSON")),
            Message::Close(frame) => {
                assert_eq!(frame.expect("a code").code, CloseCode::Normal);
                break;
            }
            _ => {}
        }
    }
    sending.await.expect("no panic");
    let expected: Vec<u64> = (ITEMS as u64 + 1..=2 * ITEMS as u64).collect();
    assert_eq!(sequences(&answers), expected);

    cluster.push[0].everyone("last").await;
    let all = |in_group| [contents("batch", in_group), contents("stream", in_group)].concat();
    assert!(listener.texts_until("last").await == all(true));
    assert!(other.texts_until("last").await == all(false));
}
