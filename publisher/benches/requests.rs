//! What callers send, read strictly: queries, forms and bodies.

use std::hint::black_box;

use bytes::Bytes;
use campanile_publisher::media::BodyKind;
use campanile_publisher::request::{from_body, from_query};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

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

criterion_group!(benches, queries, bodies);
criterion_main!(benches);
