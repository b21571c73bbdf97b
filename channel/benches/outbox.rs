//! The outbox: queueing shared slices for one peer, and writing them.

use std::hint::black_box;
use std::io::IoSlice;

use bytes::Bytes;
use campanile_channel::Outbox;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// How many slices a socket offers to the kernel.
const WRITE_SLICES: usize = 64;

const SIZES: [(&str, usize); 2] = [("64 B", 64), ("4 KiB", 4 << 10)];

/// Writes everything that waits to a kernel that accepts up to `takes` bytes at a time.
fn write(outbox: &mut Outbox, takes: usize) {
    while !outbox.is_empty() {
        let mut slots = [IoSlice::new(&[]); WRITE_SLICES];
        let filled = outbox.slices(&mut slots);
        let offered: usize = black_box(&slots[..filled]).iter().map(|slice| slice.len()).sum();
        outbox.advance(offered.min(takes));
    }
}

fn events(criterion: &mut Criterion) {
    const BURST: usize = 1_000;
    let mut benches = criterion.benchmark_group("queue and write");
    for (size, len) in SIZES {
        let frame = Bytes::from(vec![b'x'; len]);
        let mut outbox = Outbox::new(16 << 20);
        let mut run = |what, events, takes| {
            benches.throughput(Throughput::Elements(events as u64));
            benches.bench_function(BenchmarkId::new(what, size), |bencher| {
                bencher.iter(|| {
                    for _ in 0..events {
                        outbox.push(black_box(&frame).clone()).expect("below the bound");
                    }
                    write(&mut outbox, takes);
                });
            });
        };
        run("one event while idle", 1, usize::MAX);
        run("a burst of 1000 events", BURST, usize::MAX);
        run("a burst of 1000 events, 1000 bytes at a time", BURST, 1_000);
    }
}

criterion_group!(benches, events);
criterion_main!(benches);
