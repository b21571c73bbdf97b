//! Many events back to back, pushed as one batch: CPU per delivery, beside what the limit takes for one
//! event at a time.

use crate::bench::Bench;
use crate::report::{Row, count};
use crate::scenarios::broadcasts::{CONTENT_BYTES, broadcast, shares, warm_up};
use crate::subject::{Shape, Subject};
use crate::{push, usage, wire};

const WEBSOCKETS: usize = 500;

const EVENTS: u64 = 2_000;

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let websockets = bench.at_most(WEBSOCKETS);
    bench.check_room(websockets)?;
    let (mut ours, mut limit, mut rates) = (vec![], vec![], vec![]);
    for run in 0..bench.runs {
        bench.step(run, "ours");
        let (micros, per_second) = burst(bench, websockets)?;
        ours.push(micros);
        rates.push(per_second);
        bench.step(run, "the limit");
        limit.push(single(bench, websockets)?);
    }
    let what = format!(
        "CPU per delivery, {} events by /batch, {websockets} websockets",
        count(EVENTS as usize)
    );
    Ok(vec![
        Row::beside(what, "µs", &ours, &limit).below(0.10, 0.06).checked(),
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

fn single(bench: &Bench, websockets: usize) -> anyhow::Result<f64> {
    let rounds = 200;
    let mut subject = Subject::limit()?;
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    crowd.join(&subject.doors[0], websockets, |_| {})?;
    let mut number = 1;
    broadcast(&mut crowd, &mut subject, &mut number, 3)?;
    let used = broadcast(&mut crowd, &mut subject, &mut number, rounds)?;
    Ok(used.as_secs_f64() * 1e6 / (rounds * websockets) as f64)
}
