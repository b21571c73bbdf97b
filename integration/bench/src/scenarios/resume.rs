//! Clients of `campanile.v1` that come back together, each with its position, after they have missed
//! some events: CPU per client, beside the limit's handshake.

use std::time::Instant;

use anyhow::ensure;

use crate::bench::{Bench, SETTLE, in_turn};
use crate::report::{Row, count};
use crate::scenarios::broadcasts::{CONTENT_BYTES, warm_up};
use crate::scenarios::storm::storm;
use crate::subject::{Shape, Subject};
use crate::usage;
use crate::wire::{self, Speech};

/// How many events each client has missed.
const MISSED: u64 = 10;

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let clients = bench.size(5_000, 1_000);
    bench.check_room(clients)?;
    let (mut micros, mut handshake, mut rates) = (vec![], vec![], vec![]);
    for run in 0..bench.runs {
        let ((used, per_second), least) = in_turn(
            run,
            || {
                bench.step(run, "ours");
                come_back(bench, clients)
            },
            || {
                bench.step(run, "the limit's handshakes");
                storm(bench, Subject::limit()?, clients)
            },
        )?;
        micros.push(used);
        rates.push(per_second);
        handshake.push(least);
    }
    let what = format!(
        "CPU per client that comes back, {} at once, {MISSED} events missed, beside a handshake",
        count(clients)
    );
    Ok(vec![
        Row::beside(what, "µs", &micros, &handshake),
        Row::alone("clients that have come back and caught up, per second", "/s", &rates),
    ])
}

fn come_back(bench: &Bench, clients: usize) -> anyhow::Result<(f64, f64)> {
    let mut subject = bench.own(&Shape { speech: Speech::V1, ..Shape::default() })?;
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    let door = subject.doors[0].clone();
    let position = subject.pusher.http()?.position("/", &wire::numbered(1, CONTENT_BYTES))?;
    for number in 0..MISSED {
        subject.pusher.http()?.push("/", &wire::numbered(2 + number, CONTENT_BYTES))?;
    }
    crowd.listen_for(SETTLE)?;
    let before = usage::cpu(&subject.processes)?;
    let begun = Instant::now();
    bench.bar.set_length(clients as u64);
    let targets = std::iter::repeat_n(format!("/?since={position}"), clients);
    crowd.connect(&door, targets, |now| bench.bar.set_position(now as u64))?;
    crowd.listen_until(clients as u64 * MISSED)?;
    let took = begun.elapsed().as_secs_f64();
    let used = usage::cpu(&subject.processes)?.saturating_sub(before);
    let recovered = crowd.heard().recovered;
    ensure!(recovered == clients, "{recovered} of {clients} clients recovered");
    Ok((used.as_secs_f64() * 1e6 / clients as f64, clients as f64 / took))
}
