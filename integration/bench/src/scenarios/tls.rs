//! Websockets over TLS: their memory, handshakes and deliveries, one at a time and in a burst, beside a
//! bare server with rustls.

use std::sync::Arc;

use anyhow::ensure;

use crate::bench::{Bench, SETTLE, in_turn};
use crate::crowd::Crowd;
use crate::report::{Row, count as shown};
use crate::scenarios::broadcasts::{broadcast, warm_up};
use crate::scenarios::burst::Bursts;
use crate::scenarios::idle::hold;
use crate::subject::{Shape, Subject};
use crate::tls::Identity;
use crate::usage;

/// How many deliveries are measured for one value.
const DELIVERIES: usize = 100_000;

/// The values of one server, of all runs.
#[derive(Default)]
struct Found {
    kilobytes: Vec<f64>,
    full: Vec<f64>,
    resumed: Vec<f64>,
    delivery: Vec<f64>,
}

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let idle = bench.size(15_000, 2_000);
    let handshakes = bench.size(5_000, 1_000);
    let websockets = bench.size(5_000, 2_000);
    bench.check_room(idle.max(websockets))?;
    let identity = Arc::new(Identity::new()?);
    let shape = Shape { identity: Some(Arc::clone(&identity)), ..Shape::default() };
    let ours = || bench.own(&shape);
    let bare = || Subject::sealed_limit(&identity);
    let (mut found, mut limit) = (Found::default(), Found::default());
    let mut bursts = Bursts::default();
    for run in 0..bench.runs {
        bench.step(run, &format!("{idle} websockets over TLS"));
        in_turn(
            run,
            || {
                found.kilobytes.push(hold(bench, ours()?, idle)?.0);
                Ok(())
            },
            || {
                limit.kilobytes.push(hold(bench, bare()?, idle)?.0);
                Ok(())
            },
        )?;
        bench.step(run, &format!("{handshakes} handshakes of TLS, and as many that resume"));
        in_turn(
            run,
            || greet(bench, ours()?, handshakes, &mut found),
            || greet(bench, bare()?, handshakes, &mut limit),
        )?;
        bench.step(run, &format!("deliveries to {websockets} websockets over TLS"));
        in_turn(
            run,
            || {
                found.delivery.push(deliver(bench, ours()?, websockets)?);
                Ok(())
            },
            || {
                limit.delivery.push(deliver(bench, bare()?, websockets)?);
                Ok(())
            },
        )?;
        bursts.measure(bench, run, ours, bare)?;
    }
    let Found { kilobytes, full, resumed, delivery } = found;
    let idle = shown(idle);
    let (handshakes, websockets) = (shown(handshakes), shown(websockets));
    let memory = format!("resident memory per idle websocket over TLS, {idle} of them");
    let beside = format!("{memory}, beside a bare server with rustls");
    let full_what = format!("CPU per full handshake of TLS and websocket, {handshakes} at once");
    let resumed_what =
        format!("CPU per resumed handshake of TLS and websocket, {handshakes} at once");
    let delivery_what =
        format!("CPU per delivery over TLS, one 64-byte event at a time, {websockets} websockets");
    let [single, joined] = bursts.rows(bench, "CPU per delivery over TLS", "one record");
    Ok(vec![
        Row::alone(memory, "kB", &kilobytes).below(6.0, 4.0).checked(),
        Row::beside(beside, "kB", &kilobytes, &limit.kilobytes),
        Row::beside(full_what, "µs", &full, &limit.full),
        Row::beside(resumed_what, "µs", &resumed, &limit.resumed),
        Row::beside(delivery_what, "µs", &delivery, &limit.delivery).below(1.3, 1.15).checked(),
        single.below(0.10, 0.06),
        joined,
    ])
}

/// CPU per full handshake and per one that resumes.
fn greet(
    bench: &Bench,
    mut subject: Subject,
    count: usize,
    found: &mut Found,
) -> anyhow::Result<()> {
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    found.full.push(storm(bench, &mut crowd, &subject, count, 0)?);
    crowd.leave();
    crowd.listen_for(SETTLE)?;
    if let Some(trust) = &subject.doors[0].tls {
        ensure!(trust.tickets() >= count, "{} tickets came for {count} clients", trust.tickets());
        trust.resume();
    }
    found.resumed.push(storm(bench, &mut crowd, &subject, count, count)?);
    Ok(())
}

/// CPU per handshake in µs, when `count` clients connect at once, of which `resumed` must resume.
fn storm(
    bench: &Bench,
    crowd: &mut Crowd,
    subject: &Subject,
    count: usize,
    resumed: usize,
) -> anyhow::Result<f64> {
    bench.bar.set_length(count as u64);
    let before = usage::cpu(&subject.processes)?;
    crowd.join(&subject.doors[0], count, |now| bench.bar.set_position(now as u64))?;
    let used = usage::cpu(&subject.processes)?.saturating_sub(before);
    let found = crowd.resumed();
    ensure!(found == resumed, "{found} of {count} clients resumed, and not {resumed}");
    Ok(used.as_secs_f64() * 1e6 / count as f64)
}

/// CPU per delivery in µs.
fn deliver(bench: &Bench, mut subject: Subject, websockets: usize) -> anyhow::Result<f64> {
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    crowd.join(&subject.doors[0], websockets, |now| bench.bar.set_position(now as u64))?;
    crowd.listen_for(SETTLE)?;
    let (rounds, mut number) = ((DELIVERIES / websockets).max(10), 1);
    broadcast(&mut crowd, &mut subject, &mut number, 2)?;
    let used = broadcast(&mut crowd, &mut subject, &mut number, rounds)?;
    Ok(used.as_secs_f64() * 1e6 / (rounds * websockets) as f64)
}
