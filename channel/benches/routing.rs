//! The routing table: which links want an event, and how interest changes.

use std::hint::black_box;
use std::time::Duration;

use campanile_channel::broker::routing::{LinkNumber, Routing};
use campanile_messages::{Audience, GroupName};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

const LINKS: u64 = 8;

const BUSY: usize = 64;

fn group(number: usize) -> Audience {
    Audience::Group(GroupName::new(format!("room-{number:06}")).expect("a name"))
}

/// All links want everyone. Each group is wanted by one link, or by all.
fn table(groups: usize, wanted_by_all: bool) -> Routing {
    let mut routing = Routing::new(1_000_000);
    let mut set = |link, audience| {
        routing.set(LinkNumber(link), audience, Some(10)).expect("below the bound");
    };
    for link in 0..LINKS {
        set(link, Audience::Everyone);
    }
    for number in 0..groups {
        for link in 0..LINKS {
            if wanted_by_all || number as u64 % LINKS == link {
                set(link, group(number));
            }
        }
    }
    (0..LINKS).for_each(|link| routing.go_live(LinkNumber(link)));
    routing
}

/// The names of all groups in random order, each in an allocation of its own, as on a link.
fn asked_for(groups: usize) -> Vec<Audience> {
    let mut numbers: Vec<_> = (0..groups).collect();
    numbers.shuffle(&mut StdRng::seed_from_u64(1));
    numbers.into_iter().map(group).collect()
}

/// What the broker does for an event: it counts when it numbers the event, and routes when it releases
/// it.
fn route(routing: &Routing, audience: &Audience) -> ((u32, u64), Vec<LinkNumber>) {
    (routing.count(audience), routing.links(audience))
}

fn events(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("count and route an event");
    benches.throughput(Throughput::Elements(1));
    for groups in [1, 10_000, 100_000] {
        let audiences = asked_for(groups);
        for (what, by_all) in [("for a group of one link", false), ("for a group of 8 links", true)]
        {
            let routing = table(groups, by_all);
            benches.bench_function(BenchmarkId::new(what, format!("{groups} groups")), |bencher| {
                let mut next = audiences.iter().cycle();
                bencher.iter(|| route(&routing, black_box(next.next().expect("a cycle"))));
            });
        }
        let routing = table(groups, false);
        // This measures the search alone, without cache misses in the table.
        let id = BenchmarkId::new("for one of few busy groups", format!("{groups} groups"));
        benches.bench_function(id, |bencher| {
            let mut next = audiences.iter().take(BUSY).cycle();
            bencher.iter(|| route(&routing, black_box(next.next().expect("a cycle"))));
        });
        let id = BenchmarkId::new("for everyone, 8 links", format!("{groups} groups"));
        benches.bench_function(id, |bencher| {
            bencher.iter(|| route(&routing, black_box(&Audience::Everyone)));
        });
    }
}

fn interest(criterion: &mut Criterion) {
    const GROUPS: usize = 10_000;
    let mut benches = criterion.benchmark_group("a link among 8 with 10000 groups");
    benches.throughput(Throughput::Elements(GROUPS as u64));
    benches.sample_size(20).measurement_time(Duration::from_secs(5));
    let audiences = asked_for(GROUPS);
    let comer = LinkNumber(LINKS);
    let come = |routing: &mut Routing, audiences: Vec<Audience>| {
        for audience in audiences {
            routing.set(comer, audience, Some(1)).expect("below the bound");
        }
    };
    benches.bench_function("notes its interest", |bencher| {
        let setup = || (table(GROUPS, false), audiences.clone());
        bencher.iter_batched(
            setup,
            |(mut routing, audiences)| {
                come(&mut routing, audiences);
                routing
            },
            BatchSize::LargeInput,
        );
    });
    benches.bench_function("is lost", |bencher| {
        let setup = || {
            let mut routing = table(GROUPS, false);
            come(&mut routing, audiences.clone());
            routing
        };
        bencher.iter_batched_ref(setup, |routing| routing.remove(comer), BatchSize::LargeInput);
    });
}

criterion_group!(benches, events, interest);
criterion_main!(benches);
