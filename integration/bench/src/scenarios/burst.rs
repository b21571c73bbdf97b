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
    let mut found = Bursts::default();
    for run in 0..bench.runs {
        found.measure(bench, run, || bench.ours(&Shape::default()), Subject::limit)?;
    }
    let [single, joined] = found.rows(bench, "CPU per delivery", "one send per connection");
    let rate = Row::alone("deliveries per second of that burst", "/s", &found.per_second);
    Ok(vec![single.below(0.10, 0.06).checked(), joined, rate])
}

/// The values of all runs.
#[derive(Default)]
pub struct Bursts {
    micros: Vec<f64>,
    per_second: Vec<f64>,
    single: Vec<f64>,
    joined: Vec<f64>,
}

impl Bursts {
    /// Measures a burst at ours, and the same events at a bare server.
    ///
    /// # Errors
    /// If an event is missing, or comes twice or out of order; or one of the two does not start.
    pub fn measure(
        &mut self,
        bench: &Bench,
        run: usize,
        ours: impl FnOnce() -> anyhow::Result<Subject>,
        limit: impl FnOnce() -> anyhow::Result<Subject>,
    ) -> anyhow::Result<()> {
        let websockets = bench.at_most(WEBSOCKETS);
        let ((micros, per_second), (single, joined)) = in_turn(
            run,
            || {
                bench.step(run, "a burst, ours");
                burst(bench, ours()?, websockets)
            },
            || {
                bench.step(run, "a burst, the limit");
                limits(bench, limit()?, websockets)
            },
        )?;
        self.micros.push(micros);
        self.per_second.push(per_second);
        self.single.push(single);
        self.joined.push(joined);
        Ok(())
    }

    /// CPU per delivery, beside the limit for one event at a time and for events that it joins. `limit`
    /// is what the limit does for each of these.
    pub fn rows(&self, bench: &Bench, cpu: &str, limit: &str) -> [Row; 2] {
        let (events, websockets) = (count(EVENTS as usize), bench.at_most(WEBSOCKETS));
        let row = |events_at_once: &str, least: &[f64]| {
            let what = format!(
                "{cpu}, {events} events by /batch, {websockets} websockets; limit: {limit} for \
                 {events_at_once}"
            );
            Row::beside(what, "µs", &self.micros, least)
        };
        [row("each event", &self.single), row(&format!("{JOINED} events"), &self.joined)]
    }
}

fn burst(bench: &Bench, mut subject: Subject, websockets: usize) -> anyhow::Result<(f64, f64)> {
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
fn limits(bench: &Bench, mut subject: Subject, websockets: usize) -> anyhow::Result<(f64, f64)> {
    let rounds = 200;
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
