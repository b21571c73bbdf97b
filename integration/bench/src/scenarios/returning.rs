//! Clients of `campanile.v1` that the gateway sends away because its broker is gone, and that come back
//! when the broker does, each after the pauses of the JavaScript client: how long until all of them are
//! back, and the gateway's CPU per client, beside the limit's handshake.

use std::time::Instant;

use anyhow::ensure;

use crate::bench::{Bench, in_turn};
use crate::crowd::Returns;
use crate::report::{Row, count};
use crate::scenarios::broadcasts::{CONTENT_BYTES, warm_up};
use crate::scenarios::storm::storm;
use crate::subject::{Shape, Subject};
use crate::usage;
use crate::wire::{self, Speech};

/// Clients are sent away soon and within a short time, so that all are away before the pauses of the
/// first ones have grown.
const FLAGS: [&str; 4] = ["--return-limit", "1s", "--drain", "1s"];

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let clients = bench.size(5_000, 1_000);
    bench.check_room(clients)?;
    let (mut seconds, mut micros, mut handshake) = (vec![], vec![], vec![]);
    for run in 0..bench.runs {
        let ((took, used), least) = in_turn(
            run,
            || outage(bench, run, clients),
            || {
                bench.step(run, "the limit's handshakes");
                storm(bench, Subject::limit()?, clients)
            },
        )?;
        seconds.push(took);
        micros.push(used);
        handshake.push(least);
    }
    let clients = count(clients);
    let back =
        format!("from the broker's start until {clients} clients that were sent away are back");
    let cpu =
        format!("CPU of the gateway per client that was sent away, {clients}, beside a handshake");
    Ok(vec![Row::alone(back, "s", &seconds), Row::beside(cpu, "µs", &micros, &handshake)])
}

/// How long the clients take to come back, in s, and the gateway's CPU for each of them, in µs.
fn outage(bench: &Bench, run: usize, clients: usize) -> anyhow::Result<(f64, f64)> {
    let gateway_flags = FLAGS.map(str::to_owned).to_vec();
    let shape = Shape { on_disk: true, gateway_flags, speech: Speech::V1, ..Shape::default() };
    bench.step(run, "clients connect");
    let mut subject = bench.own(&shape)?;
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    let door = subject.doors[0].clone();
    crowd.join(&door, clients, |_| {})?;
    let position = subject.pusher.http()?.position("/", &wire::numbered(1, CONTENT_BYTES))?;
    crowd.listen_until(clients as u64)?;

    bench.step(run, "the broker is gone, clients are sent away");
    bench.bar.set_length(clients as u64);
    let target = format!("/?since={position}");
    let mut returns = Returns::new(door, target, clients, run as u64);
    let heard = crowd.heard();
    (heard.greeted, heard.recovered) = (0, 0);
    subject.kill_broker()?;
    crowd.come_back(&mut returns, |returns, _| {
        bench.bar.set_position(returns.sent_away() as u64);
        returns.sent_away() == clients
    })?;
    // The publisher holds it until there is a broker.
    subject.pusher.begin(&wire::numbered(2, CONTENT_BYTES))?;

    bench.step(run, "the broker is back, clients come back");
    bench.bar.set_length(clients as u64);
    let before = usage::cpu(&subject.holders)?;
    let begun = Instant::now();
    subject.start_broker()?;
    crowd.come_back(&mut returns, |_, heard| {
        bench.bar.set_position(heard.greeted as u64);
        heard.greeted == clients
    })?;
    let took = begun.elapsed().as_secs_f64();
    subject.pusher.finish()?;
    crowd.listen_until(2 * clients as u64)?;
    let used = usage::cpu(&subject.holders)?.saturating_sub(before);
    let recovered = crowd.heard().recovered;
    ensure!(recovered == clients, "{recovered} of {clients} clients recovered");
    Ok((took, used.as_secs_f64() * 1e6 / clients as f64))
}
