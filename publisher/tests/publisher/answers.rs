//! What is answered to what, with a broker that is there.

use campanile_messages::link::{DirectOutcome, Matched, Refusal};
use campanile_messages::{
    Address, Audience, ConnectionId, Content, FromBroker, GroupName, ToBroker, UserName, WorkerId,
};

use crate::harness::{
    Act, Broker, Publisher, accept, get, get_json, get_with, post, publish, text,
};
use crate::stream::client::Stream;

#[actix::test]
async fn a_push_to_everyone_is_handed_over_and_answered_ok() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.get("/?content=%EC%95%88%EB%85%95+%2B").await;
    assert_eq!(answer.brief(), (200, "ok"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(broker.received(), [publish(1, Audience::Everyone, "안녕 +")]);
}

#[actix::test]
async fn zero_and_a_space_are_content() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for content in ["0", "%20", "+"] {
        let answer = publisher.get(&format!("/?content={content}")).await;
        assert_eq!(answer.brief(), (200, "ok"));
    }
    assert_eq!(broker.contents(), ["0", " ", " "]);
}

#[actix::test]
async fn callers_that_prefer_json_get_the_receipt_as_json() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.send(get_json("/?content=hi")).await;
    let expected = serde_json::json!({
        "position": "000000000000e0c4-1",
        "durability": "disk",
        "gateways": 2,
        "matched": 120,
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let one = "/?content=hi&to_worker_id=1&to_connection_id=2";
    let answer = publisher.send(get_json(one)).await;
    assert_eq!(answer.brief(), (200, r#"{"written":1}"#));
    let answer = publisher.send(get_json("/")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with(r#"{"error":"content is missing"#), "{answer:?}");
}

#[actix::test]
async fn a_push_to_a_group_nobody_listens_to_is_accepted() {
    let broker = Broker::start(|message| match *message {
        ToBroker::Publish { number, .. } => {
            let matched = Some(Matched { gateways: 0, connections: 0 });
            let (sequence, counting, away) = (1, 0, 0);
            Act::Say(FromBroker::Accepted { number, sequence, matched, counting, away })
        }
        _ => Act::Nothing,
    });
    let publisher = Publisher::start(broker.addr);
    let answer = publisher.send(get_json("/?content=hi&to_group=a+%26+b")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains(r#""matched":0"#), "{answer:?}");
    let group = Audience::Group(GroupName::new("a & b").expect("a name"));
    assert_eq!(broker.received(), [publish(1, group, "hi")]);
}

#[actix::test]
async fn a_user_is_an_audience_in_every_kind_of_push() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let item = r#"{"content":"c","to":{"user":"4 2"}}"#;
    let form = "application/x-www-form-urlencoded";
    assert_eq!(publisher.get("/?content=a&to_user=4+2").await.status, 200);
    assert_eq!(publisher.send(post("/?to_user=4%202", form, "content=b")).await.status, 200);
    let batch = post("/batch", "application/json", format!("[{item}]"));
    assert_eq!(publisher.send(batch).await.status, 200);
    let mut stream = Stream::open(&publisher, None).await;
    stream.send(&serde_json::from_str(item).expect("JSON")).await;
    assert_eq!(stream.answer().await["status"], 200);
    let user = || Audience::User(UserName::new("4 2").expect("a name"));
    let audiences = broker.received().into_iter().filter_map(|message| match message {
        ToBroker::Publish { audience, .. } => Some(audience),
        _ => None,
    });
    assert_eq!(audiences.collect::<Vec<_>>(), [user(), user(), user(), user()]);
}

#[actix::test]
async fn every_outcome_for_one_connection_has_its_status() {
    for (outcome, status, names) in [
        (DirectOutcome::Written, 200, "ok"),
        (DirectOutcome::UnknownWorker, 404, "to_worker_id is 3"),
        (DirectOutcome::UnknownConnection, 404, "to_connection_id is 7"),
        (DirectOutcome::NotWritten, 404, "to_connection_id is 7"),
        (DirectOutcome::GatewayAway, 503, "to_worker_id is 3"),
    ] {
        let broker = Broker::start(move |message| match *message {
            ToBroker::Direct { number, .. } => Act::Say(FromBroker::Answered { number, outcome }),
            _ => Act::Nothing,
        });
        let publisher = Publisher::start(broker.addr);
        let answer = publisher.get("/?to_worker_id=3&to_connection_id=7&content=psst").await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.starts_with(names), "{answer:?}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        let to = Address { worker: WorkerId(3), connection: ConnectionId(7) };
        let expected = ToBroker::Direct { number: 1, to, content: text("psst") };
        assert_eq!(broker.received(), [expected]);
    }
}

#[actix::test]
async fn a_push_without_room_at_the_broker_is_503() {
    for refusal in [Refusal::IdsFull, Refusal::TooManyUnanswered, Refusal::ShuttingDown] {
        let broker = Broker::start(move |message| match *message {
            ToBroker::Publish { number, .. } => Act::Say(FromBroker::Refused { number, refusal }),
            _ => Act::Nothing,
        });
        let publisher = Publisher::start(broker.addr);
        let answer = publisher.get("/?content=hi").await;
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
        assert!(answer.body.contains("try again\n"), "{answer:?}");
    }
}

#[actix::test]
async fn a_body_is_pushed_as_its_type_says() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let form = "application/x-www-form-urlencoded";
    for (target, content_type, body) in [
        ("/", "", &b"a+b%20"[..]),
        ("/", "text/plain; charset=utf-8", b"text"),
        ("/", "application/json", b"{}"),
        ("/", "application/octet-stream", b"\xff\x00"),
        ("/", form, b"content=a+b%20"),
        ("/?content=joined", form, b"to_group=news"),
    ] {
        let answer = publisher.send(post(target, content_type, body)).await;
        assert_eq!(answer.brief(), (200, "ok"), "{content_type}");
    }
    let contents: Vec<Content> = broker
        .received()
        .into_iter()
        .map(|message| match message {
            ToBroker::Publish { content, .. } => content,
            other => panic!("{other:?}"),
        })
        .collect();
    let binary = Content::Binary(bytes::Bytes::from_static(b"\xff\x00"));
    let expected = [text("a+b%20"), text("text"), text("{}"), binary, text("a b "), text("joined")];
    assert_eq!(contents, expected);
}

#[actix::test]
async fn a_bad_request_is_400_names_its_fault_and_pushes_nothing() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let form = "application/x-www-form-urlencoded";
    let long_group = format!("/?content=a&to_group={}", "g".repeat(256));
    let requests: Vec<(Vec<u8>, &str)> = vec![
        (get("/").into(), "content is missing"),
        (get("/?content=").into(), "content is empty"),
        (get("/?content").into(), "content is empty"),
        (get("/?content=a&to_worker_id=1").into(), "to_worker_id is given without"),
        (get("/?content=a&to_connection_id=1").into(), "to_connection_id is given without"),
        (get("/?content=a&to_worker_id=x&to_connection_id=1").into(), "to_worker_id is \"x\""),
        (get("/?content=a&to_worker_id=1&to_connection_id=-1").into(), "to_connection_id is"),
        (
            get("/?content=a&to_worker_id=1&to_connection_id=1&to_group=g").into(),
            "to_group and to_worker_id exclude each other",
        ),
        (
            get("/?content=a&to_connection_id=1&to_group=g").into(),
            "to_group and to_connection_id exclude each other",
        ),
        (get("/?content=a&content=b").into(), "content is given more than once"),
        (get("/?content[]=a").into(), "\"content[]\" is not a parameter"),
        (get("/?content=a&to_users=1").into(), "\"to_users\" is not a parameter"),
        (
            get("/?content=a&wait=written").into(),
            "wait is \"written\": it must be \"accepted\" or \"delivered\"",
        ),
        (get("/?content=a&wait=").into(), "wait is \"\": it must be \"accepted\" or \"delivered\""),
        (
            get("/?content=a&timeout=5").into(),
            "timeout is \"5\": a duration from 1ms to 30s with its unit",
        ),
        (
            get("/?content=a&timeout=31s").into(),
            "timeout is \"31s\": a duration from 1ms to 30s with its unit",
        ),
        (
            get("/?content=a&timeout=0s").into(),
            "timeout is \"0s\": a duration from 1ms to 30s with its unit",
        ),
        (get("/?content=%ff").into(), "the parameter \"content\""),
        (get("/?content=%").into(), "the parameter \"content\" has a malformed percent"),
        (get("/?content=%4").into(), "the parameter \"content\" has a malformed percent"),
        (get("/?content=a&to_group=").into(), "to_group is \"\""),
        (get("/?content=a&to_group=%01").into(), "to_group is \"\\u{1}\""),
        (get(&long_group).into(), "to_group is \"ggg"),
        (
            get_with("/?content=a", "Content-Length: 1").into(),
            "a GET has its content in the parameter content",
        ),
        (post("/", "", ""), "content is empty"),
        (post("/", "", b"\xff"), "content is not UTF-8"),
        (post("/?content=a", "text/plain", "b"), "content is given twice"),
        (post("/?content=a", form, "content=a"), "content is given more than once"),
        (post("/", form, "hello"), "content is missing: the body was sent as a form"),
        (post("/", form, ""), "content is missing: the body was sent as a form"),
        (post("/", form, "content=%ff"), "the parameter \"content\""),
        (post("/", "text/plain; charset=latin1", "a"), "the header Content-Type"),
        (post("/", "multipart/form-data; boundary=b", "a"), "the header Content-Type"),
    ];
    for (request, names) in requests {
        let shown = String::from_utf8_lossy(&request).into_owned();
        let answer = publisher.send(request).await;
        assert_eq!(answer.status, 400, "{shown} {answer:?}");
        assert!(answer.body.starts_with(names), "{shown} {answer:?}");
        assert!(answer.body.ends_with('\n') && answer.body.lines().count() == 1);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn raw_bytes_that_are_not_utf8_are_refused() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for line in [&b"GET /?content=\xff\xfe"[..], b"GET /?content=a\x00"] {
        let request = [line, b" HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
        assert_eq!(publisher.send(request).await.status, 400);
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn unescaped_content_in_a_url_is_pushed_as_it_was_typed() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    let typed = ["안녕하세요", r#"{"a":["<b>",'c']}"#, "a#b|c^d`e\\f"];
    for content in typed {
        client.send(get(&format!("/?content={content}"))).await;
        assert_eq!(client.answer().await.brief(), (200, "ok"));
    }
    client.send(post("/", "text/plain", "é\n\"#")).await;
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert_eq!(broker.contents()[..3], typed);
    assert_eq!(broker.contents()[3], "é\n\"#");
}

#[actix::test]
async fn head_and_every_other_method_push_nothing() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "TRACE", "get", "BREW"] {
        let mut client = publisher.client().await;
        let request =
            format!("{method} /?content=hi HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        client.send(request).await;
        let answer = client.rest().await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("\r\nallow: get, head, post, options\r\n"), "{method}: {answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), method == "HEAD", "{method}: {answer}");
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn other_paths_are_404() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for path in ["/push", "//", "/index.html", "/%2f", "/favicon.ico", "*"] {
        let answer = publisher.get(&format!("{path}?content=hi")).await;
        assert!(answer.status == 404 || path == "*" && answer.status == 400, "{answer:?}");
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn requests_of_one_connection_are_pushed_and_answered_in_order() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    let requests: String = (0..200).map(|n| get_json(&format!("/?content={n}"))).collect();
    client.send(requests).await;
    for n in 1..=200 {
        let answer = client.answer().await;
        assert!(answer.body.contains(&format!("-{n}\"")), "{n}: {answer:?}");
    }
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(broker.contents(), expected);
    // A request with a body that is refused leaves the connection usable, its body is read.
    client.send(post("/?x=1", "", "body")).await;
    client.send(get("/?content=after")).await;
    assert_eq!(client.answer().await.status, 400);
    assert_eq!(client.answer().await.brief(), (200, "ok"));
}
