//! Requests that are too large, too slow or too many.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::harness::{Act, Broker, DEADLINE, Publisher, accept, get, post};

#[actix::test]
async fn a_body_that_is_announced_too_large_is_413_before_it_is_sent() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1073741824\r\n\r\nbegin").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.body, "content is too large: at most 1048576 bytes are accepted\n");
    assert_eq!(client.rest().await, "", "the connection ends");
}

#[actix::test]
async fn a_chunked_body_without_an_end_is_413_and_not_read_for_ever() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let start = Instant::now();
    while start.elapsed() < DEADLINE && client.stream.write_all(chunk.as_bytes()).await.is_ok() {}
    assert!(start.elapsed() < DEADLINE, "it is read for ever");
    let answer = client.rest().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn a_chunked_body_over_the_limit_gets_its_answer() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| config.max_content_bytes = 1_000);
    let mut client = publisher.client().await;
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..11 {
        client.send(format!("64\r\n{}\r\n", "x".repeat(100))).await;
    }
    assert_eq!(client.answer().await.status, 413);
}

#[actix::test]
async fn a_content_of_exactly_the_limit_is_pushed() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| config.max_content_bytes = 1_000);
    let (fits, over) = ("x".repeat(1_000), "x".repeat(1_001));
    let escaped = "%78".repeat(1_000);
    let form = "application/x-www-form-urlencoded";
    let form_body = |content: &str| format!("content={content}");
    for (request, status) in [
        (post("/", "", &fits), 200),
        (post("/", "", &over), 413),
        (post("/", "image/png", &over), 413),
        (post("/", form, form_body(&fits)), 200),
        (post("/", form, form_body(&escaped)), 200),
        (post("/", form, form_body(&over)), 413),
        (get(&format!("/?content={escaped}")).into(), 200),
        (get(&format!("/?content={over}")).into(), 413),
    ] {
        assert_eq!(publisher.send(request).await.status, status);
    }
    assert_eq!(broker.contents(), [&*fits; 4]);
}

#[actix::test]
async fn content_over_the_budget_is_503_and_the_budget_is_given_back() {
    let broker = Broker::start(|message| match message {
        campanile_messages::ToBroker::Publish { number: 1, .. } => Act::Nothing,
        message => accept(message),
    });
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 1_000;
        config.max_pending_bytes = 1_500;
        config.confirm_limit = Duration::from_secs(1);
    });
    let body = "x".repeat(1_000);
    let mut first = publisher.client().await;
    first.send(post("/", "", &body)).await;
    broker.has_received(1).await;
    let answer = publisher.send(post("/", "", &body)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.starts_with("too much content"), "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(publisher.get("/?content=small").await.status, 200);
    assert_eq!(first.answer().await.status, 504);
    assert_eq!(publisher.send(post("/", "", &body)).await.status, 200);
}

#[actix::test]
async fn slow_heads_and_slow_bodies_are_408() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.head_limit = Duration::from_secs(1);
        // Longer: a slow body must not end with the time of its head.
        config.body_limit = Duration::from_millis(1_500);
    });
    let head = publisher.send("GET /?content=hi HTTP/1.1\r\nHost:").await;
    assert_eq!(head.status, 408);
    let body =
        publisher.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(body.brief(), (408, "the body had not arrived after 1.5 s\n"));
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn a_body_that_ends_early_pushes_nothing() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for request in [
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n\r\n",
    ] {
        let mut client = publisher.client().await;
        client.send(request).await;
        client.stream.shutdown().await.expect("half-closed");
        let answer = client.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(publisher.get("/?content=whole").await.status, 200);
    assert_eq!(broker.contents(), ["whole"]);
}

#[actix::test]
async fn a_url_that_is_too_long_is_413_without_a_reset() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| config.max_content_bytes = 2 << 20);
    let sentence = "the URL is too long: at most 61440 bytes are accepted, including escapes; \
                    push larger content as the body of a POST\n";
    let mut client = publisher.client().await;
    for (content, status) in [
        ("x".repeat(59 << 10), 200),
        ("é".repeat(10_000), 200),
        ("é".repeat(11_000), 413),
        ("x".repeat(61 << 10), 413),
        ("x".repeat(70_000), 413),
        ("x".repeat(100_000), 413),
        ("x".repeat(1_200_000), 413),
        ("y".repeat(60_000), 200),
    ] {
        // All on one connection: what is refused is read to its end, and it stays in step.
        client.send(get(&format!("/?content={content}"))).await;
        let body = if status == 200 { "ok" } else { sentence };
        assert_eq!(client.answer().await.brief(), (status, body), "{}", content.len());
    }
    client.send(post(&format!("/?to_group={}", "x".repeat(100_000)), "", "body")).await;
    assert_eq!(client.answer().await.brief(), (413, sentence));
    assert_eq!(broker.received().len(), 3);
}

#[actix::test]
async fn a_url_without_an_end_is_408_or_413() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.head_limit = Duration::from_secs(1);
    });
    // Longer than any URL, and then nothing.
    let slow = publisher.send(format!("GET /?content={}", "x".repeat(70_000))).await;
    assert_eq!(slow.brief(), (408, "the head of the request had not arrived after 1 s\n"));
    // All the time.
    let mut client = publisher.client().await;
    client.send("GET /?content=").await;
    let start = Instant::now();
    while start.elapsed() < DEADLINE && client.stream.write_all(&[b'x'; 8 << 10]).await.is_ok() {}
    assert!(start.elapsed() < DEADLINE, "it is read for ever");
    let answer = client.rest().await;
    // Which limit it passes first depends on how fast this host is.
    let is_cut = ["HTTP/1.1 408 ", "HTTP/1.1 413 "].iter().any(|line| answer.starts_with(line));
    assert!(answer.is_empty() || is_cut, "{answer}");
}

/// Sends as fast as the kernel takes it, in a thread of its own, until the connection ends.
fn flood(to: SocketAddr, begin: &str, piece: &str) -> JoinHandle<Duration> {
    let mut stream = std::net::TcpStream::connect(to).expect("connects");
    stream.set_write_timeout(Some(DEADLINE)).expect("an option");
    let (begin, piece) = (begin.to_owned(), piece.repeat((1 << 20) / piece.len()));
    spawn_blocking(move || {
        let start = Instant::now();
        stream.write_all(begin.as_bytes()).expect("it is read");
        while start.elapsed() < DEADLINE && stream.write_all(piece.as_bytes()).is_ok() {}
        start.elapsed()
    })
}

#[actix::test]
async fn a_flood_without_a_head_is_cut_off_in_time() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.head_limit = Duration::from_secs(1);
    });
    for (begin, piece) in
        [("", "\r\n"), ("GET /?content=", "x"), ("GET / HTTP/1.1\r\n", "A: b\r\n")]
    {
        let flooding = flood(publisher.addr, begin, piece);
        assert_eq!(publisher.get("/?content=a").await.status, 200);
        let took = flooding.await.expect("no panic");
        assert!(took < Duration::from_secs(10), "{begin:?} is read for {took:?}");
    }
}

#[actix::test]
async fn errors_shorten_long_parameters() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let key = format!("/?{}=1", "k".repeat(60_000));
    let answer = publisher.get(&key).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 300, "{answer:?}");
    let many = "content[]=a&".repeat(5_000);
    assert_eq!(publisher.get(&format!("/?{many}")).await.status, 400);
    assert_eq!(broker.received(), []);
}
