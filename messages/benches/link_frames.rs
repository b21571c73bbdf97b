//! Encoding and decoding the frames of a link.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{MAX_FRAME_BYTES, take_frame};
use campanile_messages::{Audience, Content, Event, FromBroker, GroupName, ToBroker};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(&str, usize); 2] = [("64 B", 64), ("4 KiB", 4 << 10)];

/// Small, so that allocations reuse memory, as in a process that has been running for a while.
const BATCH: BatchSize = BatchSize::NumIterations(32);

fn audience() -> Audience {
    Audience::Group(GroupName::new("room-000007").expect("a name"))
}

fn content(len: usize) -> Content {
    Content::Text("x".repeat(len).into())
}

fn publish(len: usize) -> ToBroker {
    ToBroker::Publish {
        number: 1_000_000,
        unanswered: 999_990,
        id: None,
        count_within_millis: None,
        audience: audience(),
        except: None,
        content: content(len),
        from: None,
    }
}

fn event(len: usize) -> FromBroker {
    FromBroker::Event(Event {
        sequence: 1_000_000,
        audience: audience(),
        except: None,
        content: content(len),
        from: None,
    })
}

/// The bytes of a frame on the wire, with its length.
fn bytes_of(frame: campanile_messages::EncodedFrame) -> Vec<u8> {
    [frame.head, frame.content.unwrap_or_default()].concat()
}

fn encode(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("encode a frame");
    benches.throughput(Throughput::Elements(1));
    for (size, len) in SIZES {
        let message = publish(len);
        benches.bench_function(BenchmarkId::new("a publish", size), |bencher| {
            bencher.iter_batched(|| message.clone(), ToBroker::encode, BATCH);
        });
        let message = event(len);
        benches.bench_function(BenchmarkId::new("an event", size), |bencher| {
            bencher.iter_batched(|| message.clone(), FromBroker::encode, BATCH);
        });
    }
}

fn decode(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("decode a frame");
    benches.throughput(Throughput::Elements(1));
    for (size, len) in SIZES {
        let frame = Bytes::from(bytes_of(publish(len).encode())).slice(4..);
        benches.bench_function(BenchmarkId::new("a publish", size), |bencher| {
            bencher.iter(|| ToBroker::decode(black_box(&frame).clone()).expect("a publish"));
        });
        let frame = Bytes::from(bytes_of(event(len).encode())).slice(4..);
        benches.bench_function(BenchmarkId::new("an event", size), |bencher| {
            bencher.iter(|| FromBroker::decode(black_box(&frame).clone()).expect("an event"));
        });
    }
}

/// Reading a busy link.
fn read(criterion: &mut Criterion) {
    const FRAMES: usize = 100;
    let mut benches = criterion.benchmark_group("take and decode the frames of one read");
    benches.throughput(Throughput::Elements(FRAMES as u64));
    for (size, len) in SIZES {
        let input = bytes_of(event(len).encode()).repeat(FRAMES);
        benches.bench_function(BenchmarkId::new("100 events", size), |bencher| {
            bencher.iter_batched(
                || BytesMut::from(&input[..]),
                |mut buffer| {
                    let mut events = Vec::with_capacity(FRAMES);
                    while let Some(frame) =
                        take_frame(&mut buffer, MAX_FRAME_BYTES).expect("short frames")
                    {
                        events.push(FromBroker::decode(frame).expect("an event"));
                    }
                    events
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, encode, decode, read);
criterion_main!(benches);
