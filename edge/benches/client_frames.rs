//! Decoding the frames of a client.

use std::collections::VecDeque;
use std::hint::black_box;

use campanile_edge::websocket::{Decoder, Limits, Opcode, put_masked};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// The default limits of a gateway.
const LIMITS: Limits = Limits { max_message_bytes: 64 << 10, max_fragments: 1_024 };

fn frames(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("decode a client's frame");
    for (what, size, opcode, len) in [
        ("pong", "empty", Opcode::Pong, 0),
        ("text", "64 B", Opcode::Text, 64),
        ("text", "4 KiB", Opcode::Text, 4 << 10),
        ("binary", "4 KiB", Opcode::Binary, 4 << 10),
    ] {
        let mut input = Vec::new();
        put_masked(&mut input, opcode, &vec![b'x'; len], MASK);
        benches.throughput(Throughput::Bytes(input.len() as u64));
        let mut decoder = Decoder::new(LIMITS);
        benches.bench_function(BenchmarkId::new(what, size), |bencher| {
            let mut messages = VecDeque::with_capacity(1);
            // It is unmasked in place, so every other time the payload is masked, which is ASCII too.
            bencher.iter(|| {
                decoder.feed(black_box(&mut input), &mut messages).expect("a whole frame");
                messages.pop_front()
            });
        });
    }
}

criterion_group!(benches, frames);
criterion_main!(benches);
