//! The answers to pushes that are not `ok`.

use std::time::{Duration, Instant};

use campanile_harness::{Cluster, Signal, exchange, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_nonsensical_push_is_400_with_the_name_of_the_parameter() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &["g"]).await;
    let long_group = format!("content=x&to_group={}", "g".repeat(256));
    for (query, named) in [
        ("", "content"),
        ("to_group=g", "content"),
        ("content", "content"),
        ("content=", "content"),
        ("content=x&to_worker_id=1", "to_connection_id"),
        ("content=x&to_connection_id=1", "to_worker_id"),
        ("content=x&to_worker_id=one&to_connection_id=1", "to_worker_id"),
        ("content=x&to_worker_id=-1&to_connection_id=1", "to_worker_id"),
        ("content=x&to_worker_id=1.0&to_connection_id=1", "to_worker_id"),
        ("content=x&to_worker_id=&to_connection_id=1", "to_worker_id"),
        ("content=x&to_worker_id=1&to_connection_id=0x1", "to_connection_id"),
        ("content=x&to_worker_id=1&to_connection_id=9007199254740992", "to_connection_id"),
        ("content=x&to_worker_id=1&to_connection_id=1&to_group=g", "to_group"),
        ("content=x&to_group=g&to_worker_id=1", "to_group"),
        ("content=x&content=y", "content"),
        ("content=x&to_group=g&to_group=g", "to_group"),
        ("content=x&to_worker_id=1&to_worker_id=1&to_connection_id=1", "to_worker_id"),
        ("content[]=x", "content[]"),
        ("content=x&to_group[]=g", "to_group[]"),
        ("content=x&to_groups=g", "to_groups"),
        ("content=x&Content=x", "Content"),
        ("content=x&to_user=", "to_user"),
        ("content=x&to_user=a%0ab", "to_user"),
        ("content=x&to_user=u&to_group=g", "to_group"),
        ("content=x&id=", "id"),
        ("content=x&id=a%0ab", "id"),
        ("content=x&id=a&id=b", "id"),
        ("content=x&id=a&to_worker_id=1&to_connection_id=1", "id"),
        ("content=x&wait=later", "wait"),
        ("content=x&timeout=5", "timeout"),
        ("content=x&timeout=31s", "timeout"),
        ("content=%ff", "content"),
        ("content=%ed%a0%80", "content"),
        ("content=%zz", "content"),
        ("content=50%", "content"),
        ("content=x&to_group=%ff", "to_group"),
        ("content=x&to_group=", "to_group"),
        ("content=x&to_group=a%0ab", "to_group"),
        (&long_group, "to_group"),
    ] {
        let answer = cluster.push[0].get_raw(query).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        let sentence = answer.body.trim_end();
        assert!(sentence.contains(named), "{query}: {sentence}");
        assert!(!sentence.contains('\n') && sentence.contains(' '), "{query}: {sentence}");
    }
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, [""; 0], "nothing of that was pushed");
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_400_with_a_sentence() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &[]).await;
    let form = Some("application/x-www-form-urlencoded");
    for (parameters, content_type, body, named) in [
        (&[][..], Some("text/plain"), &b""[..], "content"),
        (&[], Some("text/plain"), b"ab\xff", "UTF-8"),
        (&[("content", "a")], Some("text/plain"), b"b", "content"),
        (&[("content", "a")], form, b"content=b", "content"),
        (&[], form, b"hello", "content"),
        (&[], form, b"content=%ff", "content"),
        (&[("to_worker_id", "1")], None, b"hi", "to_connection_id"),
    ] {
        let answer = cluster.push[0].post(parameters, content_type, body.to_vec()).await;
        assert_eq!(answer.status, 400, "{parameters:?} {body:?}: {}", answer.body);
        assert!(answer.body.contains(named), "{parameters:?} {body:?}: {}", answer.body);
    }
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, [""; 0], "nothing of that was pushed");
}

#[tokio::test]
async fn an_error_is_json_where_json_is_asked_for() {
    let cluster = Cluster::of(0).start().await;
    let answer = cluster.push[0].get_json(&[("content", "")]).await;
    assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")));
    let error: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(error["error"].as_str().is_some_and(|e| e.contains("content")), "{error}");
}

#[tokio::test]
async fn an_unknown_worker_or_connection_is_404() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &[]).await;
    let (worker, connection) = (client.worker.to_string(), client.connection.to_string());
    let other_connection = (client.connection + 1_000).to_string();
    for (worker, connection, named) in [
        (&*worker, &*other_connection, "to_connection_id"),
        (&*worker, "0", "to_connection_id"),
        ("9007199254740991", &*connection, "to_worker_id"),
    ] {
        let to = [("to_worker_id", worker), ("to_connection_id", connection), ("content", "x")];
        let answer = cluster.push[0].get(&to).await;
        assert_eq!(answer.status, 404, "{to:?}: {}", answer.body);
        assert!(answer.body.contains(named), "{to:?}: {}", answer.body);
    }
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, [""; 0]);
}

#[tokio::test]
async fn content_over_the_limit_is_413() {
    let cluster = Cluster::of(0).publisher("--max-content 1KiB").start().await;
    let push = &cluster.push[0];
    let larger = "x".repeat(1_025);
    assert_eq!(push.get(&[("content", &larger[1..])]).await.status, 200);
    assert_eq!(push.get(&[("content", &larger)]).await.status, 413);
    for content_type in ["text/plain", "application/octet-stream"] {
        let answer = push.post(&[], Some(content_type), larger.clone()).await;
        assert_eq!(answer.status, 413, "{content_type}");
        assert!(answer.body.contains("1024 bytes"), "{}", answer.body);
    }
}

#[tokio::test]
async fn content_that_announces_more_than_a_mebibyte_is_413_at_once() {
    let cluster = Cluster::of(0).start().await;
    let head = |len: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n"
        )
    };
    // The body is never sent.
    let answer = exchange(cluster.push[0].address, head((1 << 20) + 1).as_bytes()).await;
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("1048576 bytes"), "{}", answer.body);
}

#[tokio::test]
async fn content_of_unannounced_length_is_413_before_it_is_buffered() {
    let cluster = Cluster::of(0).start().await;
    let before = cluster.publishers[0].resident_bytes();
    let stream = TcpStream::connect(cluster.push[0].address).await.expect("a publisher");
    let (mut read, mut write) = stream.into_split();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    write.write_all(head.as_bytes()).await.expect("an open connection");
    let endless = tokio::spawn(async move {
        let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        while write.write_all(&chunk).await.is_ok() {}
    });
    let mut answer = vec![0; 12];
    within("an answer", read.read_exact(&mut answer)).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 413");
    within("the end of a connection that goes on sending", endless).await.expect("no panic");
    let grown = cluster.publishers[0].resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "the publisher grew by {grown} bytes");
}

#[tokio::test]
async fn other_methods_are_405_and_push_nothing() {
    let cluster = Cluster::of(1).start().await;
    let mut client = cluster.client(0, &[]).await;
    for method in ["HEAD", "PUT", "DELETE", "PATCH", "TRACE", "PUSH"] {
        let answer = cluster.push[0].request(method, &[("content", method)]).await;
        assert_eq!(answer.status, 405, "{method}");
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.contains("GET") && allow.contains("POST"), "{method}: {allow}");
    }
    let elsewhere = b"GET /push?content=x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(exchange(cluster.push[0].address, elsewhere).await.status, 404);
    cluster.push[0].everyone("last").await;
    assert_eq!(client.texts_until("last").await, [""; 0]);
}

#[tokio::test]
async fn a_push_without_a_broker_is_503_after_5_s_and_never_sent() {
    let mut cluster = Cluster::of(1).start().await;
    let mut client = cluster.client_v1(0, &[]).await;
    cluster.push[0].everyone("before").await;
    assert_eq!(client.json().await["content"], "before");
    cluster.broker.kill().await;
    cluster.publishers[0].said("no link to the broker").await;
    let [worker, connection] = client.address();
    let to_one = [(worker.0, &*worker.1), (connection.0, &*connection.1), ("content", "lost")];
    let asked = Instant::now();
    let (everyone, group, one) = tokio::join!(
        cluster.push[0].get(&[("content", "lost")]),
        cluster.push[0].get(&[("content", "lost"), ("to_group", "g")]),
        cluster.push[0].get(&to_one),
    );
    assert!(asked.elapsed() >= Duration::from_secs(5), "it did not wait for the broker");
    for answer in [everyone, group, one] {
        assert_eq!(answer.status, 503, "{}", answer.body);
        let seconds = answer.header("retry-after").and_then(|value| value.parse::<u32>().ok());
        assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}");
        assert!(answer.body.contains("5 s"), "{}", answer.body);
    }
    cluster.start_broker_again().await;
    assert_eq!(client.json().await["reason"], "epoch_changed");
    cluster.push[0].everyone("after").await;
    assert_eq!(client.json().await["content"], "after");
}

#[tokio::test]
async fn a_push_waits_for_a_broker_that_comes_back_in_time() {
    let mut cluster = Cluster::of(1).publisher("--broker-wait 30s").start().await;
    let mut client = cluster.client(0, &[]).await;
    cluster.broker.kill().await;
    cluster.publishers[0].said("no link to the broker").await;
    let push = cluster.push[0].clone();
    let waiting = tokio::spawn(async move { push.get(&[("content", "patience")]).await });
    cluster.start_broker_again().await;
    assert_eq!(waiting.await.expect("answered").body, "ok");
    assert_eq!(client.text().await, "patience");
}

#[tokio::test]
async fn a_targeted_push_without_a_confirmation_is_504() {
    let cluster = Cluster::of(2).publisher("--confirm-limit 1s").start().await;
    let mut client = cluster.client(0, &[]).await;
    let mut other = cluster.client(1, &[]).await;
    let [worker, connection] = client.address();
    let to = [(worker.0, &*worker.1), (connection.0, &*connection.1), ("content", "psst")];
    cluster.gateways[0].signal(Signal::STOP);
    let answer = cluster.push[0].get(&to).await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(answer.body.contains("unknown"), "{}", answer.body);

    // Nothing has changed for the others.
    cluster.push[0].to(&other, "for you").await;
    cluster.push[0].everyone("for all").await;
    assert_eq!(other.text().await, "for you");
    assert_eq!(other.text().await, "for all");

    cluster.gateways[0].signal(Signal::CONT);
    assert_eq!(client.texts_until("for all").await, ["psst"]);
    cluster.push[0].to(&client, "again").await;
    assert_eq!(client.text().await, "again");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_makes_a_push_504_and_unknown() {
    let cluster = Cluster::of(1).publisher("--confirm-limit 1s").start().await;
    let mut client = cluster.client(0, &[]).await;
    cluster.push[0].everyone("before").await;
    cluster.broker.signal(Signal::STOP);
    let answer = cluster.push[0].get(&[("content", "who knows")]).await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(answer.body.contains("unknown"), "{}", answer.body);
    cluster.broker.signal(Signal::CONT);
    cluster.push[0].everyone("after").await;
    assert_eq!(client.texts_until("after").await, ["before", "who knows"]);
}

#[tokio::test]
async fn a_push_that_nobody_hears_is_ok() {
    let cluster = Cluster::of(1).start().await;
    for parameters in [&[("content", "x")][..], &[("content", "x"), ("to_group", "empty")]] {
        let receipt = cluster.push[0].receipt(parameters).await;
        assert_eq!((receipt.gateways, receipt.matched), (0, 0), "{parameters:?}");
    }
}
