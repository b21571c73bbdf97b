//! Framing an event in each wire format, which happens once per event, format and process.

use std::hint::black_box;

use bytes::Bytes;
use campanile_gateway::dialects::{Dialect, Framed};
use campanile_messages::{Audience, Content, GroupName, Position};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(&str, usize); 2] = [("64 B", 64), ("4 KiB", 4 << 10)];

const FORMATS: [(&str, Dialect); 3] = [
    ("plain", Dialect::Plain),
    ("campanile.v1", Dialect::V1),
    ("an event stream", Dialect::Events),
];

fn logged() -> Option<(Position, Audience)> {
    let position = Position { epoch: 0xab54_a98c_eb1f_0ad2, sequence: 1_000_000 };
    Some((position, Audience::Group(GroupName::new("room-000007").expect("a name"))))
}

/// Plain words; JSON, whose quotes must be escaped in JSON; bytes, which become base64 in JSON.
fn contents(len: usize) -> [(&'static str, Content); 3] {
    let repeated = |piece: &str| piece.repeat(len / piece.len());
    [
        ("text", Content::Text(repeated("campanile words ").into())),
        ("JSON", Content::Text(repeated("{\"temp\":\"21.5C\"}").into())),
        ("binary", Content::Binary(Bytes::from(vec![0xa5; len]))),
    ]
}

fn frames(criterion: &mut Criterion) {
    for (format, protocol) in FORMATS {
        let mut benches = criterion.benchmark_group(format!("frame an event for {format}"));
        for (size, len) in SIZES {
            benches.throughput(Throughput::Bytes(len as u64));
            for (what, content) in contents(len) {
                benches.bench_function(BenchmarkId::new(what, size), |bencher| {
                    let logged = logged();
                    // The frame is dropped at once, as after its delivery. Otherwise each frame would
                    // need fresh memory from the system.
                    bencher.iter(|| {
                        let framed = Framed::new(logged.clone(), black_box(&content).clone());
                        black_box(framed.frame(black_box(protocol)));
                    });
                });
            }
        }
    }
}

/// Every listener but the first one gets the frame that already exists.
fn shared(criterion: &mut Criterion) {
    let framed = Framed::new(logged(), "hi".into());
    criterion.bench_function("share a frame with one more connection", |bencher| {
        bencher.iter(|| framed.frame(black_box(Dialect::V1)).clone());
    });
}

criterion_group!(benches, frames, shared);
criterion_main!(benches);
