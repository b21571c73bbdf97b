//! Compressed request bodies.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::harness::{Broker, Publisher, accept};

fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).expect("memory");
    encoder.finish().expect("memory")
}

fn zlib(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).expect("memory");
    encoder.finish().expect("memory")
}

fn bare(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).expect("memory");
    encoder.finish().expect("memory")
}

/// A POST with `headers`, each with its line end.
fn post(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: t\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn encoded(target: &str, encoding: &str, body: &[u8]) -> Vec<u8> {
    post(target, &format!("Content-Encoding: {encoding}\r\n"), body)
}

#[actix::test]
async fn compressed_bodies_are_pushed_decompressed() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    for (encoding, body) in [
        ("gzip", gzip("안녕")),
        ("X-GZIP", gzip("안녕")),
        ("identity, gzip", gzip("안녕")),
        ("deflate", zlib("안녕")),
        ("deflate", bare("안녕")),
        ("identity", "안녕".into()),
        ("", "안녕".into()),
    ] {
        let answer = publisher.send(encoded("/", encoding, &body)).await;
        assert_eq!(answer.brief(), (200, "ok"), "{encoding}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n";
    assert_eq!(publisher.send(post("/", form, &gzip("content=a%20b"))).await.status, 200);
    assert_eq!(broker.contents(), [&["안녕"; 7][..], &["a b"]].concat());
}

#[actix::test]
async fn a_compressed_batch_is_read_like_any_other() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let items = json!(vec![json!({ "content": "a" }); 1_000]).to_string();
    let answer = publisher.send(encoded("/batch", "gzip", &gzip(items))).await;
    assert_eq!(answer.json().as_array().map(Vec::len), Some(1_000));
    let lines = "Content-Type: application/x-ndjson\r\nContent-Encoding: deflate\r\n";
    let answer = publisher.send(post("/batch", lines, &zlib("{\"content\":\"b\"}\n"))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(broker.contents().len(), 1_001);
}

#[actix::test]
async fn a_compressed_body_that_arrives_byte_by_byte_is_read() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let mut client = publisher.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for byte in gzip("hello") {
        client.send([b"1\r\n", &[byte][..], b"\r\n"].concat()).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(broker.contents(), ["hello"]);
}

#[actix::test]
async fn the_limit_is_for_the_decompressed_content() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start_with(broker.addr, |config| {
        config.max_content_bytes = 100_000;
        config.max_batch_bytes = 200_000;
    });
    let x = |len| gzip("x".repeat(len));
    assert_eq!(publisher.send(encoded("/", "gzip", &x(100_000))).await.status, 200);
    let over = publisher.send(encoded("/", "gzip", &x(100_001))).await;
    assert_eq!(over.brief(), (413, "content is too large: at most 100000 bytes are accepted\n"));
    let over = publisher.send(encoded("/batch", "gzip", &x(200_001))).await;
    assert_eq!(over.status, 413);
    assert!(over.body.starts_with("the batch is too large"), "{over:?}");
    assert_eq!(broker.received().len(), 1);
}

#[actix::test]
async fn a_bomb_is_413_before_its_end_was_sent() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let bomb = gzip(vec![0; 64 << 20]);
    for target in ["/", "/batch"] {
        let request = encoded(target, "gzip", &bomb);
        let mut client = publisher.client().await;
        // Enough for ten times the limit, and far from the end.
        client.send(&request[..request.len() / 2]).await;
        assert_eq!(client.answer().await.status, 413);
        assert_eq!(client.rest().await, "", "the connection ends");
    }
    assert_eq!(broker.received(), []);
}

#[actix::test]
async fn corrupt_bodies_are_400_and_other_encodings_are_415() {
    let broker = Broker::start(accept);
    let publisher = Publisher::start(broker.addr);
    let whole = gzip("hello");
    let mut corrupt = whole.clone();
    let crc = corrupt.len() - 5;
    corrupt[crc] ^= 1;
    let trailing = [&zlib("hello")[..], b"more"].concat();
    let cannot = "the body cannot be decompressed as its Content-Encoding says: it is";
    for (encoding, body, status, said) in [
        ("gzip", &whole[..whole.len() - 1], 400, format!("{cannot} cut off")),
        ("gzip", b"", 400, format!("{cannot} cut off")),
        ("deflate", b"", 400, format!("{cannot} cut off")),
        ("gzip", b"hello, as it is", 400, format!("{cannot} corrupt (")),
        ("gzip", &corrupt, 400, format!("{cannot} corrupt (")),
        ("deflate", &trailing, 400, cannot.replace("it is", "there are bytes after its end")),
        ("br", b"", 415, "the header Content-Encoding is \"br\": gzip, deflate or".into()),
        (
            "gzip, gzip",
            &whole,
            415,
            "the header Content-Encoding is \"gzip, gzip\": gzip, deflate or".into(),
        ),
        ("gzip\r\nContent-Encoding: deflate", &whole, 415, "the header Content-Encoding is".into()),
    ] {
        let answer = publisher.send(encoded("/", encoding, body)).await;
        assert_eq!(answer.status, status, "{encoding}: {answer:?}");
        assert!(answer.body.starts_with(&said), "{answer:?}");
        let accepted = (status == 415).then_some("gzip, deflate");
        assert_eq!(answer.header("accept-encoding"), accepted);
    }
    assert_eq!(broker.received(), []);
}
