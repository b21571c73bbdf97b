//! An attacker floods the gateway with connections: what that costs the honest clients in latency, beside
//! the same flood against a listener that only closes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::attack::{Attack, Attacked, HELD, RATE};
use crate::bench::{Bench, SETTLE, in_turn};
use crate::process::Process;
use crate::report::{Row, count, percentile};
use crate::scenarios::broadcasts::{CONTENT_BYTES, warm_up};
use crate::subject::Shape;
use crate::wire;

const WEBSOCKETS: usize = 1_000;
const QUICK_WEBSOCKETS: usize = 300;

/// How often an event comes.
const EVERY: Duration = Duration::from_millis(50);

/// A limit of new connections per second and address that the attacker exceeds by far. Ten times as many
/// at once are allowed: enough for all honest clients and those of the warm-up, and what the attacker has
/// used up before the first event.
const LIMIT: &str = "110";

/// Latencies of one run in ms, and connections of the attacker per second.
type Found = (Vec<f64>, f64);

/// Whom the attacker attacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Gateway,
    Closer,
}

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (wanted, events) =
        if bench.args.quick { (QUICK_WEBSOCKETS, 60) } else { (WEBSOCKETS, 200) };
    let websockets = bench.at_most(wanted);
    bench.check_room(websockets + HELD)?;
    let (mut open, mut limited, mut closed) = (vec![], vec![], vec![]);
    for run in 0..bench.runs {
        let attacked = |what, target, flags: &[&str]| {
            bench.step(run, what);
            attacked(bench, websockets, events, target, flags)
        };
        let (ours, least) = in_turn(
            run,
            || {
                let flags = ["--max-handshakes-per-second-per-address", LIMIT];
                let open = attacked("a flood at the gateway", Target::Gateway, &[])?;
                Ok((open, attacked("a flood that the gateway limits", Target::Gateway, &flags)?))
            },
            || attacked("a flood at a listener that only closes", Target::Closer, &[]),
        )?;
        open.push(ours.0);
        limited.push(ours.1);
        closed.push(least);
    }
    Ok(rows(websockets, &open, &limited, &closed))
}

fn rows(websockets: usize, open: &[Found], limited: &[Found], closed: &[Found]) -> Vec<Row> {
    let flood = format!("{} hostile connections a second", count(RATE as usize));
    let row = |part: f64, how: &str, found: &[Found]| {
        let of =
            |runs: &[Found]| runs.iter().map(|run| percentile(&run.0, part)).collect::<Vec<_>>();
        let what =
            format!("p{} of {} readers beside {flood}{how}", part * 100.0, count(websockets));
        Row::beside(what, "ms", &of(found), &of(closed))
    };
    let rates = |runs: &[Found]| runs.iter().map(|run| run.1).collect::<Vec<_>>();
    let least = "; limit: they go to a listener that only closes";
    let limited_to = format!(", of which {LIMIT} are let in; limit: as above");
    vec![
        row(0.50, least, open),
        row(0.99, least, open).below(1.5, 1.2),
        row(0.50, &limited_to, limited),
        row(0.99, &limited_to, limited).below(1.5, 1.2),
        Row::beside("connections of that flood", "/s", &rates(open), &rates(closed)),
    ]
}

/// How long each event took to each honest client of a gateway with these flags.
fn attacked(
    bench: &Bench,
    websockets: usize,
    events: u64,
    target: Target,
    flags: &[&str],
) -> anyhow::Result<Found> {
    let gateway_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mut subject = bench.own(&Shape { gateway_flags, ..Shape::default() })?;
    let mut closer = Process::start(&["closer"])?;
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    let door = subject.doors[0].clone();
    crowd.join(&door, websockets, |_| {})?;
    let victim: SocketAddr = match target {
        Target::Gateway => door.address,
        Target::Closer => closer.address("the closer listens")?,
    };
    let attack = Attack::start(victim)?;
    crowd.listen_for(SETTLE * 2)?;
    crowd.time_from(1);
    bench.bar.set_length(events);
    let begun = Instant::now();
    for number in 1..=events {
        crowd.sent();
        subject.pusher.begin(&wire::numbered(number, CONTENT_BYTES))?;
        let next = begun + EVERY * number as u32;
        crowd.listen_for(next.saturating_duration_since(Instant::now()))?;
        subject.pusher.finish()?;
        bench.bar.set_position(number);
    }
    // Each event has come to each client, once and in order, and no client was sent away.
    crowd.listen_until(events * websockets as u64)?;
    let Attacked { opened, ended, took } = attack.end()?;
    // A flood that waits in the kernel would cost nothing.
    ensure!(ended * 4 >= opened, "of {opened} hostile connections, {ended} were answered or ended");
    let latencies = &crowd.heard().latencies;
    let latencies = latencies.iter().map(|latency| latency.as_secs_f64() * 1e3).collect();
    Ok((latencies, opened as f64 / took.as_secs_f64()))
}
