//! The log: appending to a full log, dropping very many events, and reading what was missed.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use campanile_channel::broker::log::{Log, Opening};
use campanile_channel::broker::record::{Record, Trim};
use campanile_messages::link::Want;
use campanile_messages::{Audience, Content, GroupName, InstanceId};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The default bound of a broker.
const MAX_BYTES: usize = 64 << 20;

const AGE: Duration = Duration::from_secs(300);

const GROUPS: u64 = 10_000;

const SIZES: [(&str, usize); 2] = [("64 B", 64), ("4 KiB", 4 << 10)];

/// Small, so that allocations reuse memory, as in a process that has been running for a while.
const BATCH: BatchSize = BatchSize::NumIterations(32);

fn opening() -> Opening {
    Opening {
        epoch: 7,
        head: 0,
        floor: 0,
        trimmed: Vec::new(),
        max_bytes: MAX_BYTES,
        max_age: AGE,
        keep_until: Duration::ZERO,
    }
}

/// An event for one of the groups in turn. Each content has an allocation of its own.
fn record(sequence: u64, groups: u64, len: usize) -> Record {
    let name = GroupName::new(format!("room-{:06}", sequence % groups)).expect("a name");
    Record {
        sequence,
        at: Duration::ZERO,
        audience: Audience::Group(name),
        except: None,
        content: Content::Binary(Bytes::from(vec![b'x'; len])),
        from: None,
        publisher: InstanceId(1),
        number: sequence,
        gateways: 1,
        matched: 1,
    }
}

fn add(log: &mut Log, record: &Record) -> Trim {
    black_box(log.append(record));
    let mut trim = Trim::default();
    log.trim(Duration::ZERO, &mut trim);
    trim
}

/// A log that drops an event for each new one.
fn full(groups: u64, len: usize) -> Log {
    let mut log = Log::new(opening());
    for sequence in 1.. {
        if !add(&mut log, &record(sequence, groups, len)).last.is_empty() {
            break;
        }
    }
    log
}

fn append(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("append to a full log and trim it");
    benches.throughput(Throughput::Elements(1));
    for groups in [1, GROUPS] {
        for (size, len) in SIZES {
            let mut log = full(groups, len);
            let mut head = log.head().sequence;
            let id = BenchmarkId::new(format!("events of {size}"), format!("{groups} groups"));
            benches.bench_function(id, |bencher| {
                let setup = || {
                    head += 1;
                    record(head, groups, len)
                };
                bencher.iter_batched_ref(setup, |record| add(&mut log, record), BATCH);
            });
        }
    }
}

fn expire(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("drop everything that is too old at once");
    benches.sample_size(10).measurement_time(Duration::from_secs(10));
    // The table of dropped sequences is full, so each further group evicts another one.
    let trimmed: Vec<_> =
        (1..=1 << 16).map(|sequence| (record(sequence, u64::MAX, 0).audience, sequence)).collect();
    let head = trimmed.len() as u64;
    for events in [10_000, 80_000] {
        benches.throughput(Throughput::Elements(events));
        for (what, groups) in [("of one group", 1), ("each of another group", u64::MAX)] {
            let id = BenchmarkId::new(what, format!("{events} events"));
            benches.bench_function(id, |bencher| {
                let setup = || {
                    let trimmed = trimmed.clone();
                    let mut log = Log::new(Opening { head, trimmed, ..opening() });
                    for sequence in head + 1..=head + events {
                        log.append(&record(sequence, groups, 16));
                    }
                    log
                };
                let expire = |log: &mut Log| {
                    let mut trim = Trim::default();
                    log.trim(AGE, &mut trim);
                    trim
                };
                bencher.iter_batched_ref(setup, expire, BatchSize::PerIteration);
            });
        }
    }
}

fn read(criterion: &mut Criterion) {
    const MISSED: u64 = 1_000;
    let mut benches = criterion.benchmark_group("read missed events from a full log");
    benches.throughput(Throughput::Elements(MISSED));
    let log = full(GROUPS, 64);
    let since = log.head().sequence - MISSED;
    benches.bench_function("by a link, the last 1000 events", |bencher| {
        bencher.iter(|| {
            let missed = log.after(black_box(since)).map(|entry| entry.frame.clone());
            missed.collect::<Vec<_>>()
        });
    });
    let log = full(10, 64);
    let want = Want { since: 0, audiences: vec![record(1, 10, 0).audience] };
    benches.bench_function("of a group, its last 1000 events", |bencher| {
        bencher.iter(|| log.past(black_box(&want), MISSED * 128));
    });
}

criterion_group!(benches, append, expire, read);
criterion_main!(benches);
