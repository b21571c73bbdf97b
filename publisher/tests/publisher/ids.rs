//! Pushes that may be repeated, because they have an id.

use campanile_messages::link::Refusal;
use campanile_messages::{FromBroker, ToBroker};

use crate::harness::{Act, Broker, Publisher, accept, get, get_with, post};

fn ids(broker: &Broker) -> Vec<Option<String>> {
    let id = |message: ToBroker| match message {
        ToBroker::Publish { id, .. } => id.map(|id| id.to_string()),
        other => panic!("{other:?}"),
    };
    broker.received().into_iter().map(id).collect()
}

#[actix::test]
async fn the_id_of_a_parameter_or_of_the_header_reaches_the_broker() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let form = "application/x-www-form-urlencoded";
    for (request, id) in [
        (get("/?content=hi").into_bytes(), None),
        (get("/?content=hi&id=order+42").into(), Some("order 42")),
        (get_with("/?content=hi", "Idempotency-Key: order 42").into(), Some("order 42")),
        (get_with("/?content=hi", "Idempotency-Key: \"q\"").into(), Some("\"q\"")),
        (get_with("/?content=hi&id=a", "idempotency-key: a").into(), Some("a")),
        (get_with("/?content=hi&id=%EC%95%88", "Idempotency-Key: 안").into(), Some("안")),
        (post("/?id=a", "text/plain", "hi"), Some("a")),
        (post("/", form, "content=hi&id=a"), Some("a")),
        (post("/", "text/plain\r\nIdempotency-Key: a", "hi"), Some("a")),
        (get("/?content=hi&to_group=g&id=a").into(), Some("a")),
    ] {
        let shown = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(publisher.send(request).await.brief(), (200, "ok"), "{shown}");
        assert_eq!(ids(&broker).last().expect("a push").as_deref(), id, "{shown}");
    }
}

#[actix::test]
async fn an_id_that_cannot_be_honoured_is_400_and_pushes_nothing() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let long = "i".repeat(256);
    let one = "/?content=hi&to_worker_id=1&to_connection_id=2";
    let header = |value: &str| get_with("/?content=hi", &format!("Idempotency-Key: {value}"));
    let not_utf8 =
        [&b"GET /?content=hi HTTP/1.1\r\nHost: t\r\nIdempotency-Key: \xff\r\n\r\n"[..]].concat();
    for (request, sentence) in [
        (get("/?content=hi&id=").into_bytes(), "id is \"\": a push's id must not be empty"),
        (get("/?content=hi&id=%0a").into(), "id is \"\\n\": a push's id must not contain"),
        (get(&format!("/?content=hi&id={long}")).into(), "id is \"iii"),
        (header("").into(), "the header Idempotency-Key is \"\": a push's id must not be empty"),
        (header(&long).into(), "the header Idempotency-Key is \"iii"),
        (
            header("a\r\nIdempotency-Key: a").into(),
            "the header Idempotency-Key is given more than once: send it once",
        ),
        (not_utf8, "the header Idempotency-Key is \"\\xff\": 1 to 255 bytes of UTF-8"),
        (
            get_with("/?content=hi&id=a", "Idempotency-Key: b").into(),
            "id is \"a\" and the header Idempotency-Key is \"b\"",
        ),
        (
            post("/?id=a", "text/plain\r\nIdempotency-Key: b", "hi"),
            "id is \"a\" and the header Idempotency-Key is \"b\"",
        ),
        (get(&format!("{one}&id=a")).into(), "a push to one connection takes no id"),
        (get_with(one, "Idempotency-Key: a").into(), "a push to one connection takes no id"),
    ] {
        let shown = String::from_utf8_lossy(&request).into_owned();
        let answer = publisher.send(request).await;
        assert_eq!(answer.status, 400, "{shown} {answer:?}");
        assert!(answer.body.starts_with(sentence), "{shown} {answer:?}");
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn an_id_that_was_given_to_another_push_is_409() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number, .. } => {
            Act::Say(FromBroker::Refused { number, refusal: Refusal::IdTaken })
        }
        _ => Act::Nothing,
    });
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.get("/?content=other&id=a").await;
    assert_eq!(answer.status, 409);
    assert!(answer.body.starts_with("id is \"a\", under which a push with another content, kind"));
    assert_eq!(answer.header("retry-after"), None);
}
