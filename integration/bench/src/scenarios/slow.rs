//! Some clients never read: what that costs the others in latency.

use std::time::{Duration, Instant};

use crate::bench::{Bench, SETTLE, in_turn};
use crate::report::{Row, count, percentile};
use crate::subject::Shape;
use crate::wire;

const WEBSOCKETS: usize = 1_000;

/// One of this many clients does not read.
const ONE_OF: usize = 100;

/// Large contents soon fill the buffers and outboxes of those that do not read.
const CONTENT_BYTES: usize = 8 << 10;

/// How often an event comes.
const EVERY: Duration = Duration::from_millis(50);

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let events = if bench.args.quick { 100 } else { 300 };
    let websockets = bench.at_most(WEBSOCKETS);
    bench.check_room(websockets)?;
    let (mut with, mut without) = (vec![], vec![]);
    for run in 0..bench.runs {
        let (some_deaf, none_deaf) = in_turn(
            run,
            || {
                bench.step(run, "1 % do not read");
                latencies(bench, websockets, websockets / ONE_OF, events)
            },
            || {
                bench.step(run, "everybody reads");
                latencies(bench, websockets, 0, events)
            },
        )?;
        with.push(some_deaf);
        without.push(none_deaf);
    }
    let row = |part: f64| {
        let of =
            |runs: &[Vec<f64>]| runs.iter().map(|run| percentile(run, part)).collect::<Vec<_>>();
        let what = format!(
            "p{} of {} readers while 1 % do not read, beside without these",
            part * 100.0,
            count(websockets)
        );
        Row::beside(what, "ms", &of(&with), &of(&without))
    };
    Ok(vec![row(0.50), row(0.99).below(1.5, 1.2)])
}

/// How long each event took to each client that reads, in ms.
fn latencies(
    bench: &Bench,
    websockets: usize,
    deaf: usize,
    events: u64,
) -> anyhow::Result<Vec<f64>> {
    let mut subject = bench.ours(&Shape::default())?;
    let mut crowd = bench.crowd()?;
    let door = subject.doors[0].clone();
    let _deaf = crowd.dial_deaf(&door, deaf)?;
    crowd.join(&door, websockets - deaf, |_| {})?;
    crowd.listen_for(SETTLE)?;
    crowd.time_from(1);
    bench.bar.set_length(events);
    let begun = Instant::now();
    for number in 1..=events {
        let due = begun + EVERY * number as u32;
        crowd.listen_for(due.saturating_duration_since(Instant::now()))?;
        crowd.sent();
        subject.pusher.begin(&wire::numbered(number, CONTENT_BYTES))?;
        subject.pusher.finish()?;
        bench.bar.set_position(number);
    }
    crowd.listen_until(events * crowd.len() as u64)?;
    let latencies = &crowd.heard().latencies;
    Ok(latencies.iter().map(|latency| latency.as_secs_f64() * 1e3).collect())
}
