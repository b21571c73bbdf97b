//! What callers send, read strictly: queries, forms, bodies and items.

use std::hint::black_box;

use bytes::Bytes;
use campanile_publisher::push::item::{json, msgpack};
use campanile_publisher::push::{BodyKind, from_body, from_query};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

const MAX_CONTENT_BYTES: usize = 1 << 20;

const SIZES: [(&str, usize); 2] = [("64 B", 64), ("4 KiB", 4 << 10)];

/// Plain words, or every byte escaped.
fn parameters(len: usize, escaped: bool) -> Vec<u8> {
    let content = if escaped { "%ea".to_owned() + "%b0%80" } else { "abc".to_owned() };
    format!("to_group=room-000007&content={}", content.repeat(len.div_ceil(3))).into_bytes()
}

fn queries(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("read a query");
    for (size, len) in SIZES {
        for (what, escaped) in [("plain", false), ("all escaped", true)] {
            let query = parameters(len, escaped);
            benches.throughput(Throughput::Bytes(query.len() as u64));
            benches.bench_function(BenchmarkId::new(what, size), |bencher| {
                bencher.iter(|| from_query(black_box(&query), MAX_CONTENT_BYTES).expect("a push"));
            });
        }
    }
}

fn bodies(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("read a body");
    for (size, len) in SIZES {
        let form = Bytes::from(parameters(len, true));
        let plain = Bytes::from(vec![b'x'; len]);
        for (what, query, kind, body) in [
            ("text", &b"to_group=room-000007"[..], BodyKind::Text, &plain),
            ("binary", &b"to_group=room-000007"[..], BodyKind::Binary, &plain),
            ("a form, all escaped", &b""[..], BodyKind::Form, &form),
        ] {
            benches.throughput(Throughput::Bytes(body.len() as u64));
            benches.bench_function(BenchmarkId::new(what, size), |bencher| {
                bencher.iter(|| {
                    let body = black_box(body).clone();
                    from_body(black_box(query), kind, body, MAX_CONTENT_BYTES).expect("a push")
                });
            });
        }
    }
}

/// One item as a publish stream has it, alone and with every field.
fn items(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("read an item");
    for (size, len) in SIZES {
        let content = "x".repeat(len);
        let short = json!({ "to": { "group": "room-000007" }, "content": content });
        let full = json!({
            "id": "order-42",
            "to": { "group": "room-000007" },
            "except": { "worker": 3, "connection": 7 },
            "wait": "delivered",
            "timeout": "5s",
            "content": content,
        });
        for (what, item) in [("a group", short), ("every field", full)] {
            let text = item.to_string();
            let packed = rmp_serde::to_vec(&item).expect("MessagePack");
            benches.throughput(Throughput::Bytes(text.len() as u64));
            benches.bench_function(BenchmarkId::new(format!("{what}, JSON"), size), |bencher| {
                bencher.iter(|| json::read(black_box(&text), MAX_CONTENT_BYTES).expect("a push"));
            });
            let name = BenchmarkId::new(format!("{what}, MessagePack"), size);
            benches.bench_function(name, |bencher| {
                bencher
                    .iter(|| msgpack::read(black_box(&packed), MAX_CONTENT_BYTES).expect("a push"));
            });
        }
    }
}

criterion_group!(benches, queries, bodies, items);
criterion_main!(benches);
