//! The recent events of a gateway: adding one to a full table, and collecting what a client has missed.

use std::hint::black_box;
use std::sync::Arc;

use campanile_gateway::bridge::recent::{Missed, Recent};
use campanile_gateway::dialects::Framed;
use campanile_messages::{Audience, Content, GroupName, Position};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The default of a gateway.
const MAX_BYTES: usize = 16 << 20;

/// More events than there is room for.
const MANY: u64 = 50_000;

/// Few enough that they allocate memory which was in use before, as in a process that has been running.
const BATCH: BatchSize = BatchSize::NumIterations(32);

fn audience(sequence: u64, groups: u64) -> Audience {
    Audience::Group(GroupName::new(format!("room-{:06}", sequence % groups)).expect("a name"))
}

/// An event for one of the groups, which take turns.
fn event(sequence: u64, groups: u64, len: usize) -> (Audience, Arc<Framed>) {
    let audience = audience(sequence, groups);
    let position = Position { epoch: 1, sequence };
    let content = Content::Text("x".repeat(len).into());
    (audience.clone(), Framed::new(Some((position, audience)), content))
}

fn full(groups: u64, len: usize) -> Recent {
    let mut recent = Recent::new(MAX_BYTES);
    for sequence in 1..=MANY {
        let (audience, event) = event(sequence, groups, len);
        recent.add(sequence - 1, &audience, event);
        recent.trim(false);
    }
    recent
}

fn add(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("add an event to the full table and trim it");
    benches.throughput(Throughput::Elements(1));
    for groups in [1, 10_000] {
        for (size, len) in [("64 B", 64), ("4 KiB", 4 << 10)] {
            let mut recent = full(groups, len);
            let (mut made, mut added) = (MANY, MANY);
            let id = BenchmarkId::new(format!("events of {size}"), format!("{groups} groups"));
            benches.bench_function(id, |bencher| {
                let setup = || {
                    made += 1;
                    event(made, groups, len)
                };
                let add = |(audience, event): (Audience, Arc<Framed>)| {
                    added += 1;
                    recent.add(added - 1, &audience, event);
                    recent.trim(false);
                    audience
                };
                bencher.iter_batched(setup, add, BATCH);
            });
        }
    }
}

fn missed(criterion: &mut Criterion) {
    const MISSED: u64 = 100;
    let mut benches = criterion.benchmark_group("collect what was missed");
    benches.throughput(Throughput::Elements(MISSED));
    for groups in [1, 10, 100] {
        let recent = full(groups, 64);
        let audiences: Vec<_> = (0..groups).map(|number| audience(number, groups)).collect();
        let id = BenchmarkId::new("100 events", format!("of {groups} groups"));
        benches.bench_function(id, |bencher| {
            bencher.iter(|| {
                match recent.missed(black_box(MANY - MISSED), &audiences, usize::MAX) {
                    Missed::Events(events) => events,
                    other => panic!("{other:?}"),
                }
            });
        });
    }
}

criterion_group!(benches, add, missed);
criterion_main!(benches);
