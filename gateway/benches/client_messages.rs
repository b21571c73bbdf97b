//! Reading a client's messages in `campanile.v1`.

use std::hint::black_box;

use campanile_gateway::dialects::v1;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn requests(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("read a client's message");
    for (what, text) in [
        ("ping", r#"{"type":"ping"}"#),
        ("join", r#"{"type":"join","group":"room-000007"}"#),
        ("join since", r#"{"type":"join","group":"room-7","since":"ab54a98ceb1f0ad2-1000000"}"#),
    ] {
        benches.throughput(Throughput::Bytes(text.len() as u64));
        benches.bench_function(what, |bencher| {
            bencher.iter(|| v1::read(black_box(text)).expect("a request"));
        });
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
