//! Several requests on one connection, and what is not a request.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::harness::{Broker, Publisher, accept, get, get_with, post};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Requests that are answered `ok`, with what each pushes.
fn earlier() -> Vec<(Vec<u8>, &'static str)> {
    let form = "application/x-www-form-urlencoded";
    vec![
        (get("/?content=a").into(), "a"),
        (post("/", form, "content=a"), "a"),
        (post("/", "", "GET /?content=b HTTP/1.1\r\nHost: t\r\n\r\n"), ""),
        (get_with("/?content=a", "Content-Length: 0").into(), "a"),
        (format!("{CHUNKED}3;x=y\r\na\r\n\r\n0\r\nA: b\r\n\r\n").into(), "a\r\n"),
        (
            get_with("/?content=a", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c").into(),
            "a",
        ),
        (b"GET /?content=a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".into(), "a"),
        (b"\r\nGET /?content=a HTTP/1.1\nHost: t\n\n".into(), "a"),
    ]
}

#[actix::test]
async fn a_request_means_the_same_on_a_reused_connection() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let long = format!("/?content={}", "x".repeat(100_000));
    for (first, _) in earlier() {
        for pipelined in [false, true] {
            for (target, status) in
                [("/?content=안녕", 200), (r#"/?content={"a":1}"#, 200), (&*long, 413)]
            {
                let mut client = publisher.client().await;
                let shown = String::from_utf8_lossy(&first).into_owned();
                if pipelined {
                    client.send([&first[..], get(target).as_bytes()].concat()).await;
                    assert_eq!(client.answer().await.brief(), (200, "ok"), "{shown}");
                } else {
                    client.send(&first).await;
                    assert_eq!(client.answer().await.brief(), (200, "ok"), "{shown}");
                    client.send(get(target)).await;
                }
                let answer = client.answer().await;
                assert_eq!(answer.status, status, "{shown} {answer:?}");
                assert!(answer.body.starts_with(if status == 200 { "ok" } else { "the URL" }));
                let last = broker.contents().pop().expect("a push");
                let pushed = ["안녕", r#"{"a":1}"#].into_iter().find(|c| target.ends_with(c));
                assert_eq!(pushed.is_some_and(|pushed| last == pushed), status == 200, "{shown}");
            }
        }
    }
}

#[actix::test]
async fn bodies_are_pushed_as_they_are() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for (request, content) in earlier().into_iter().filter(|(_, content)| !content.is_empty()) {
        assert_eq!(publisher.send(request).await.brief(), (200, "ok"));
        assert_eq!(broker.contents().pop().as_deref(), Some(content));
    }
}

#[actix::test]
async fn only_the_last_answer_says_close_and_ends_the_requests() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let closing = |content: &str| get_with(&format!("/?content={content}"), "Connection: close");
    let mut pushed = Vec::new();
    for (input, contents) in [
        ([get("/?content=a"), closing("b")].concat(), vec!["a", "b"]),
        ([closing("c"), get("/?content=d")].concat(), vec!["c"]),
        ([get("/?content=e"), closing("f"), get("/?content=g")].concat(), vec!["e", "f"]),
        ("GET /?content=h HTTP/1.0\r\n\r\n".to_owned() + &get("/?content=i"), vec!["h"]),
        (
            get("/?content=j")
                + "POST / HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 1\r\n\r\nk"
                + &get("/?content=l"),
            vec!["j", "k"],
        ),
    ] {
        let mut client = publisher.client().await;
        client.send(&input).await;
        let rest = client.rest().await.to_ascii_lowercase();
        let answers: Vec<_> = rest.split("http/1.").skip(1).collect();
        assert_eq!(answers.len(), contents.len(), "{input}: {rest}");
        let (last, others) = answers.split_last().expect("an answer");
        // HTTP/1.0 ends with its answer unless that says otherwise.
        assert!(last.contains("connection: close") || last.starts_with("0 "), "{input}: {rest}");
        assert!(others.iter().all(|answer| !answer.contains("connection: close")), "{rest}");
        pushed.extend(contents);
    }
    assert_eq!(broker.contents(), pushed);
}

#[actix::test]
async fn an_answer_to_a_head_never_has_a_body() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    let head = "HEAD /nowhere HTTP/1.1\r\nHost: t\r\n\r\n";
    client.send([head.to_owned(), get_with("/?content=a", "Connection: close")].concat()).await;
    let rest = client.rest().await;
    let (first, second) = rest.split_once("\r\n\r\n").expect("two answers");
    assert!(first.starts_with("HTTP/1.1 404 "), "{rest}");
    assert!(second.starts_with("HTTP/1.1 200 ") && second.ends_with("ok"), "{rest}");
}

#[actix::test]
async fn no_refusal_has_an_empty_body() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.head_limit = Duration::from_millis(300);
    });
    let head = |rest: &str| format!("POST /?content=a HTTP/1.1\r\nHost: t\r\n{rest}\r\n");
    for (input, status) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{7f}".to_owned(), 400),
        ("hello\r\n\r\n".to_owned(), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400),
        ("GET /?content=a\r\n\r\n".to_owned(), 400),
        ("GET /?content=a b HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), 400),
        ("GET /?content=\x01 HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), 400),
        ("GET /?content=a HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET *?content=a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".to_owned(), 400),
        ("GET ftp://t/?content=a HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".to_owned(), 400),
        ("CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(), 405),
        ("POST / HTTP/1.0\r\n\r\na".to_owned(), 400),
        (head("Host: t\r\n"), 400),
        (head("A\x01: b\r\n"), 400),
        (head("A : b\r\n"), 400),
        (head("A: b\r\n c\r\n"), 400),
        (head("Content-Length: 1\r\nContent-Length: 1\r\n"), 400),
        (head("Content-Length: 1, 1\r\n"), 400),
        (head("Content-Length: +1\r\n"), 400),
        (head("Content-Length: 99999999999999999999\r\n"), 400),
        (head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400),
        (head("Transfer-Encoding: gzip\r\n"), 400),
        (head("Transfer-Encoding: gzip, chunked\r\n"), 400),
        (head("Transfer-Encoding: chunked\r\n") + "zz\r\n", 400),
        (head("Transfer-Encoding: chunked\r\n") + "1\r\nabc\r\n0\r\n\r\n", 400),
        (head("Transfer-Encoding: chunked\r\n") + "1\r\na\r\n0\r\nA: \x01\r\n\r\n", 400),
        (head("Upgrade: websocket\r\nContent-Length: 1\r\n"), 400),
        (head(&"A: b\r\n".repeat(100)), 431),
        (head(&format!("A: {}\r\n", "b".repeat(200_000))), 431),
        ("GET /?content=a HTTP/1.1\r\nHost:".to_owned(), 408),
        (String::new(), 408),
    ] {
        let mut client = publisher.client().await;
        let shown: String = input.chars().take(120).collect();
        client.send(&input).await;
        // What follows something that cannot be read is not read either.
        if !input.is_empty() && status != 408 {
            let _ = client.stream.write_all(get("/?content=behind").as_bytes()).await;
        }
        let rest = client.rest().await;
        assert!(rest.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {rest}");
        let (head, body) = rest.split_once("\r\n\r\n").expect("a head");
        assert!(body.len() > 20 && body.ends_with('\n'), "{shown}: {rest}");
        assert_eq!(body.lines().count(), 1, "{shown}: {rest}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("\r\nconnection: close"), "{shown}: {rest}");
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn a_slow_head_is_408_on_a_reused_connection_too() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.head_limit = Duration::from_millis(300);
    });
    let mut client = publisher.client().await;
    client.send(post("/", "", "a")).await;
    assert_eq!(client.answer().await.status, 200);
    client.send("GET /?content=b HTTP/1.1\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.brief(), (408, "the head of the request had not arrived after 0.3 s\n"));
    assert_eq!(client.rest().await, "");
}

#[actix::test]
async fn a_scheme_in_any_case_names_the_same_target() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for target in ["HTTP://h/?content=a", "http://h?content=a", "wS://h:1/?content=a"] {
        assert_eq!(publisher.get(target).await.brief(), (200, "ok"), "{target}");
    }
    assert_eq!(broker.contents(), ["a"; 3]);
}

#[actix::test]
async fn a_body_waits_for_its_continue() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.answer().await.status, 100);
    client.send("a").await;
    client.send(get("/?content=é")).await;
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert_eq!(client.answer().await.brief(), (200, "ok"));
    assert_eq!(broker.contents(), ["a", "é"]);
}
