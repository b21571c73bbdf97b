//! Keys that are removed while a push is on its way, and keys in wrong places.

use campanile_harness::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{KEY, key, set, start, start_with, with_key};
use crate::harness::{Broker, accept, get, post};

#[actix::test]
async fn a_push_whose_key_is_removed_on_its_way_is_refused() {
    let broker = Broker::start(accept);
    let keys = || set([key(KEY, &["everyone"], None)]);
    let (publisher, sender) = start_with(&broker, keys(), |_| {});
    for request in [
        post("/", "text/plain", "late"),
        post("/batch", "application/json", r#"[{"content":"late"}]"#),
    ] {
        sender.send_replace(keys());
        let request = with_key(request);
        let (begin, end) = request.split_at(request.len() - 1);
        let mut stream = tokio::net::TcpStream::connect(publisher.addr).await.expect("connects");
        stream.write_all(begin).await.expect("sent");
        // An answer to another request shows that the beginning was read.
        let other = publisher.send(with_key(get("/?content=other"))).await;
        assert_eq!(other.status, 200, "{other:?}");
        sender.send_replace(set([key("cpk_another", &["everyone"], None)]));
        stream.write_all(end).await.expect("sent");
        let mut status = [0; 12];
        within("an answer", stream.read_exact(&mut status)).await.expect("an answer");
        assert_eq!(&status[9..], b"401");
    }
    assert_eq!(broker.contents(), ["other"; 2]);
}

#[actix::test]
async fn a_key_in_a_wrong_place_is_not_shown() {
    let broker = Broker::start(accept);
    let publisher = start(&broker, &["everyone"]);
    for path in ["/cpk_s3cret", "/cp%6b_s3cret", "/stream?x=cpk_s3cret", "/position?cpk_s3cret"] {
        let answer = publisher.send(with_key(get(path))).await;
        assert!(answer.status >= 400 && !answer.body.contains("s3cret"), "{path}: {answer:?}");
    }
}
