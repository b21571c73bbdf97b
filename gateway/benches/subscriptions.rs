//! Finding the listeners of an event, which is done once per event, and changing them, which is done once
//! per connection.

use std::hint::black_box;

use campanile_gateway::registry::subscriptions::Subscriptions;
use campanile_messages::{Audience, ConnectionId, GroupName};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

const MAX_GROUPS: usize = 100;

const BUSY: usize = 64;

fn group(number: usize) -> Audience {
    Audience::Group(GroupName::new(format!("room-{number:06}")).expect("a name"))
}

fn lobby() -> Audience {
    Audience::Group(GroupName::new("lobby").expect("a name"))
}

/// A worker whose connections listen to `groups_each` groups each, and the first `in_lobby` of them to the
/// group "lobby", too. No other group has two listeners.
fn worker(connections: usize, groups_each: usize, in_lobby: usize) -> Subscriptions<u64> {
    let mut subscriptions = Subscriptions::new(MAX_GROUPS);
    for number in 0..connections {
        let own = number * groups_each..(number + 1) * groups_each;
        let lobby = (number < in_lobby).then(lobby);
        let id = number as u64;
        let groups = own.map(group).chain(lobby).collect();
        subscriptions.attach(ConnectionId(id), groups, None, id, id);
    }
    subscriptions.confirm(u64::MAX, usize::MAX);
    subscriptions
}

/// Reads the data of each listener, as a delivery does.
fn deliver(subscriptions: &Subscriptions<u64>, audience: &Audience) -> u64 {
    let mut sum = 0;
    subscriptions.for_each_listener(audience, |slot, data| sum += slot as u64 ^ data);
    sum
}

fn listeners(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("find the listeners of an event");
    benches.throughput(Throughput::Elements(1));
    for (groups, connections) in [(1, 1), (10_000, 2_000), (100_000, 20_000)] {
        let subscriptions = worker(connections, groups / connections, 0);
        let mut numbers: Vec<_> = (0..groups).collect();
        numbers.shuffle(&mut StdRng::seed_from_u64(1));
        let audiences: Vec<_> = numbers.into_iter().map(group).collect();
        let id = BenchmarkId::new("for a group of one connection", format!("{groups} groups"));
        benches.bench_function(id, |bencher| {
            let mut next = audiences.iter().cycle();
            bencher.iter(|| deliver(&subscriptions, black_box(next.next().expect("a cycle"))));
        });
        // Measures the lookup alone, while the table is in the CPU's caches.
        let id = BenchmarkId::new("for one of few busy groups", format!("{groups} groups"));
        benches.bench_function(id, |bencher| {
            let mut next = audiences.iter().take(BUSY).cycle();
            bencher.iter(|| deliver(&subscriptions, black_box(next.next().expect("a cycle"))));
        });
    }
    let subscriptions = worker(5_000, 2, 1_000);
    benches.throughput(Throughput::Elements(1_000));
    benches.bench_function("for a group of 1000 connections among 5000", |bencher| {
        let lobby = lobby();
        bencher.iter(|| deliver(&subscriptions, black_box(&lobby)));
    });
    benches.throughput(Throughput::Elements(5_000));
    benches.bench_function("for everyone, 5000 connections", |bencher| {
        bencher.iter(|| deliver(&subscriptions, black_box(&Audience::Everyone)));
    });
}

fn visits(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("attach, confirm and detach a connection");
    benches.throughput(Throughput::Elements(1));
    for groups in [0, 1, 100] {
        let mut subscriptions = worker(5_000, 2, 1_000);
        let groups: Vec<_> = (0..groups).map(group).collect();
        let mut number = 1_000_000;
        let id = BenchmarkId::new("among 5000", format!("{} groups", groups.len()));
        benches.bench_function(id, |bencher| {
            bencher.iter(|| {
                number += 1;
                let (id, groups) = (ConnectionId(number), black_box(&groups).clone());
                black_box(subscriptions.attach(id, groups, None, number, number));
                black_box(subscriptions.confirm(number, usize::MAX));
                subscriptions.detach(id)
            });
        });
    }
}

criterion_group!(benches, listeners, visits);
criterion_main!(benches);
