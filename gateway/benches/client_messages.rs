//! What a client sends: its frames, and the messages of `campanile.v1` in them.

use std::collections::VecDeque;
use std::hint::black_box;

use campanile_gateway::GatewayConfig;
use campanile_gateway::dialects::v1;
use campanile_gateway::websocket::Decoder;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

const FIN_TEXT: u8 = 0x81;
const FIN_BINARY: u8 = 0x82;
const FIN_PONG: u8 = 0x8a;

/// A masked frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len @ 0..=125) => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload.len()).expect("below 64 KiB").to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn frames(criterion: &mut Criterion) {
    let limits = GatewayConfig::default().client_limits;
    let mut benches = criterion.benchmark_group("decode a client's frame");
    for (what, size, first, len) in [
        ("pong", "empty", FIN_PONG, 0),
        ("text", "64 B", FIN_TEXT, 64),
        ("text", "4 KiB", FIN_TEXT, 4 << 10),
        ("binary", "4 KiB", FIN_BINARY, 4 << 10),
    ] {
        let mut input = frame(first, &vec![b'x'; len]);
        benches.throughput(Throughput::Bytes(input.len() as u64));
        let mut decoder = Decoder::new(limits);
        benches.bench_function(BenchmarkId::new(what, size), |bencher| {
            let mut messages = VecDeque::with_capacity(1);
            // Unmasked in place, so that every other time it says what the mask makes of "x", which
            // is ASCII, too.
            bencher.iter(|| {
                decoder.feed(black_box(&mut input), &mut messages).expect("a whole frame");
                messages.pop_front()
            });
        });
    }
}

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

criterion_group!(benches, frames, requests);
criterion_main!(benches);
