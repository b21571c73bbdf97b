//! Idle connections: their memory, their CPU, the CPU of heartbeats, and the memory that is left when
//! all clients have left.

use std::time::{Duration, Instant};

use crate::bench::{Bench, SETTLE};
use crate::report::{Row, count as shown};
use crate::scenarios::broadcasts::{broadcast, shares, warm_up};
use crate::subject::{Shape, Subject};
use crate::usage;
use crate::wire::Speech;

/// How long clients are connected before their memory is measured: jemalloc gives back within two seconds
/// what the handshakes needed and idle clients do not.
const CALM: Duration = Duration::from_secs(3);

/// How long a gateway may take to give back the memory of its clients. It is measured when it has not fallen
/// for [`CALM`].
const GIVE_BACK: Duration = Duration::from_secs(10);

/// How long idle websockets are watched: a little longer than the default of `--ping-after`, so that
/// each of them is sent one ping. `--quick` watches the time between two pings.
const IDLE: Duration = Duration::from_secs(26);
const QUICK_IDLE: Duration = Duration::from_secs(2);

/// How long heartbeats are watched, and the time between two of them, which is short so that there are
/// enough of them.
const WATCH: Duration = Duration::from_secs(6);
const HEARTBEAT: &str = "2s";

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let websockets = bench.size(15_000, 2_000);
    let streams = bench.size(5_000, 1_000);
    bench.check_room(websockets)?;
    let idle = if bench.args.quick { QUICK_IDLE } else { IDLE };
    let (mut plain, mut left, mut events) = (vec![], vec![], vec![]);
    let (mut nothing, mut beats) = (vec![], vec![]);
    for run in 0..bench.runs {
        bench.step(run, &format!("{websockets} websockets"));
        let (kilobytes, rest) = hold(bench, bench.ours(&Shape::default())?, websockets)?;
        plain.push(kilobytes);
        left.push(rest);
        if bench.args.url.is_none() {
            bench.step(run, &format!("{streams} event streams"));
            let shape = Shape { speech: Speech::Events, ..Shape::default() };
            events.push(hold(bench, bench.ours(&shape)?, streams)?.0);
        }
        bench.step(run, &format!("{streams} websockets hear nothing for {} s", idle.as_secs()));
        nothing.push(idle_cpu(bench, streams, idle)?);
        if bench.args.url.is_none() && bench.args.publisher.is_none() {
            bench.step(run, &format!("heartbeats of {streams} websockets"));
            beats.push(heartbeats(bench, streams)?);
        }
    }
    let what = format!("resident memory per idle websocket, {} of them", shown(websockets));
    let mut rows = vec![
        Row::alone(what, "kB", &plain).below(3.0, 2.5).checked(),
        Row::alone(
            "resident memory of the gateway when all have left, to that before",
            "times",
            &left,
        )
        .below(1.2, 1.2),
    ];
    if !events.is_empty() {
        let what = format!("resident memory per idle event stream, {} of them", shown(streams));
        rows.push(Row::alone(what, "kB", &events).below(4.0, 3.0).checked());
    }
    let what = format!(
        "CPU of the gateway per idle websocket and second, {} of them for {} s",
        shown(streams),
        idle.as_secs()
    );
    rows.push(Row::alone(what, "µs/s", &nothing));
    if !beats.is_empty() {
        rows.push(Row::alone("CPU per heartbeat, ping out and pong in", "µs", &beats));
    }
    Ok(rows)
}

/// The memory per connection in kB; and that of the gateway when all clients have left, in proportion to
/// that before they came.
pub fn hold(bench: &Bench, mut subject: Subject, count: usize) -> anyhow::Result<(f64, f64)> {
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    let before = usage::resident_bytes(&subject.holders)?;
    bench.bar.set_length(count as u64);
    for (share, door) in shares(count, subject.doors.len()).zip(&subject.doors) {
        crowd.join(door, share, |now| bench.bar.set_position(now as u64))?;
    }
    crowd.listen_for(CALM)?;
    let grown = usage::resident_bytes(&subject.holders)?.saturating_sub(before);
    // All of them are connected: each receives this.
    broadcast(&mut crowd, &mut subject, &mut 1, 1)?;
    crowd.leave();
    let until = Instant::now() + GIVE_BACK;
    let (mut rest, mut fell) = (u64::MAX, Instant::now());
    while fell.elapsed() < CALM && Instant::now() < until {
        crowd.listen_for(SETTLE)?;
        let resident_bytes = usage::resident_bytes(&subject.holders)?;
        if resident_bytes < rest {
            (rest, fell) = (resident_bytes, Instant::now());
        }
    }
    let rest = rest as f64 / before as f64;
    Ok((grown as f64 / 1_000.0 / count as f64, rest))
}

/// CPU of the gateway in µs for each websocket and second in which nothing is pushed.
fn idle_cpu(bench: &Bench, count: usize, time: Duration) -> anyhow::Result<f64> {
    let subject = bench.ours(&Shape::default())?;
    let mut crowd = bench.crowd()?;
    for (share, door) in shares(count, subject.doors.len()).zip(&subject.doors) {
        crowd.join(door, share, |_| {})?;
    }
    crowd.listen_for(SETTLE)?;
    let (before, begun) = (usage::cpu(&subject.holders)?, Instant::now());
    crowd.listen_for(time)?;
    let used = usage::cpu(&subject.holders)?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / count as f64 / begun.elapsed().as_secs_f64())
}

/// CPU in µs for each ping and its pong.
fn heartbeats(bench: &Bench, count: usize) -> anyhow::Result<f64> {
    let gateway_flags = vec!["--ping-after".to_owned(), HEARTBEAT.to_owned()];
    let subject = bench.own(&Shape { gateway_flags, ..Shape::default() })?;
    let mut crowd = bench.crowd()?;
    crowd.join(&subject.doors[0], count, |_| {})?;
    crowd.listen_for(SETTLE)?;
    let (before, pings) = (usage::cpu(&subject.processes)?, crowd.heard().pings);
    crowd.listen_for(WATCH)?;
    let used = usage::cpu(&subject.processes)?.saturating_sub(before);
    let pings = crowd.heard().pings - pings;
    anyhow::ensure!(pings > 0, "no heartbeats in {WATCH:?}");
    Ok(used.as_secs_f64() * 1e6 / pings as f64)
}
