//! Many events at once, pushed as one batch: CPU per delivery, beside what the limit takes for one event
//! at a time, and for events that it joins as well.

use crate::bench::{Bench, in_turn};
use crate::report::{Row, count};
use crate::scenarios::broadcasts::{CONTENT_BYTES, broadcast, shares, warm_up};
use crate::subject::{Shape, Subject};
use crate::{push, usage, wire};

const WEBSOCKETS: usize = 500;

const EVENTS: u64 = 2_000;

/// How many events the limit joins into one send: fewer bytes than any socket's buffer has room for.
const JOINED: u64 = 100;

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let websockets = bench.at_most(WEBSOCKETS);
    bench.check_room(websockets)?;
    let (mut ours, mut single, mut joined, mut rates) = (vec![], vec![], vec![], vec![]);
    for run in 0..bench.runs {
        let ((micros, per_second), (one_each, many_each)) = in_turn(
            run,
            || {
                bench.step(run, "ours");
                burst(bench, websockets)
            },
            || {
                bench.step(run, "the limit");
                limits(bench, websockets)
            },
        )?;
        ours.push(micros);
        rates.push(per_second);
        single.push(one_each);
        joined.push(many_each);
    }
    let events = count(EVENTS as usize);
    let what = |limit: &str| {
        format!(
            "CPU per delivery, {events} events by /batch, {websockets} websockets; limit: one send per connection for {limit}"
        )
    };
    Ok(vec![
        Row::beside(what("each event"), "µs", &ours, &single).below(0.10, 0.06).checked(),
        Row::beside(what(&format!("{JOINED} events")), "µs", &ours, &joined),
        Row::alone("deliveries per second of that burst", "/s", &rates),
    ])
}

fn burst(bench: &Bench, websockets: usize) -> anyhow::Result<(f64, f64)> {
    let mut subject = bench.ours(&Shape::default())?;
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    for (share, door) in shares(websockets, subject.doors.len()).zip(&subject.doors) {
        crowd.join(door, share, |_| {})?;
    }
    let mut number = 1;
    broadcast(&mut crowd, &mut subject, &mut number, 3)?;
    let items: Vec<String> = (number..number + EVENTS)
        .map(|number| push::item(&wire::numbered(number, CONTENT_BYTES), None))
        .collect();
    let items = items.join("\n");
    let all = crowd.heard().contents + EVENTS * websockets as u64;
    let http = subject.pusher.http()?;
    let before = usage::cpu(&subject.processes)?;
    let begun = std::time::Instant::now();
    http.begin_batch(&items)?;
    crowd.listen_until(all)?;
    let took = begun.elapsed();
    http.finish_batch(EVENTS as usize)?;
    let used = usage::cpu(&subject.processes)?.saturating_sub(before);
    let deliveries = (EVENTS * websockets as u64) as f64;
    Ok((used.as_secs_f64() * 1e6 / deliveries, deliveries / took.as_secs_f64()))
}

/// CPU per delivery of the limit in µs: for one event at a time, and for many at a time.
fn limits(bench: &Bench, websockets: usize) -> anyhow::Result<(f64, f64)> {
    let rounds = 200;
    let mut subject = Subject::limit()?;
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    crowd.join(&subject.doors[0], websockets, |_| {})?;
    let mut number = 1;
    broadcast(&mut crowd, &mut subject, &mut number, 3)?;
    let used = broadcast(&mut crowd, &mut subject, &mut number, rounds)?;
    let single = used.as_secs_f64() * 1e6 / (rounds * websockets) as f64;
    let before = usage::cpu(&subject.processes)?;
    for first in (number..number + EVENTS).step_by(JOINED as usize) {
        let contents: Vec<String> =
            (first..first + JOINED).map(|number| wire::numbered(number, CONTENT_BYTES)).collect();
        let all = crowd.heard().contents + JOINED * websockets as u64;
        subject.pusher.send_together(&contents)?;
        crowd.listen_until(all)?;
    }
    let used = usage::cpu(&subject.processes)?.saturating_sub(before);
    Ok((single, used.as_secs_f64() * 1e6 / (EVENTS * websockets as u64) as f64))
}
