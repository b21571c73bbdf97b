//! One 64-byte event at a time to everyone: CPU per delivery and memory, by the number of connections.

use std::time::Duration;

use crate::bench::{Bench, SETTLE, in_turn};
use crate::crowd::Crowd;
use crate::report::{Curve, Row, Series, count, median, unevenness};
use crate::subject::{Shape, Subject};
use crate::{usage, wire};

/// The length of each content.
pub const CONTENT_BYTES: usize = 64;

/// How many deliveries are measured for one value.
const DELIVERIES: usize = 100_000;

/// The number of connections to which gate and goal apply, and the numbers whose ratios must be close.
const HEADLINE: usize = 5_000;
const FLAT: [usize; 3] = [1_000, 5_000, 15_000];

const SIZES: [usize; 6] = [500, 1_000, 2_000, 5_000, 10_000, 15_000];
const QUICK_SIZES: [usize; 3] = [500, 1_000, 2_000];

/// The values of one size, of all runs.
#[derive(Default)]
struct Found {
    micros: Vec<f64>,
    kilobytes: Vec<f64>,
}

pub fn run(bench: &Bench) -> anyhow::Result<(Vec<Row>, Vec<Curve>)> {
    let sizes = if bench.args.quick { &QUICK_SIZES[..] } else { &SIZES[..] };
    let most = bench.args.connections.unwrap_or(usize::MAX);
    let mut sizes: Vec<_> = sizes.iter().copied().filter(|size| *size <= most).collect();
    sizes.extend(bench.args.connections.filter(|most| sizes.last() != Some(most)));
    bench.check_room(sizes.last().copied().unwrap_or(0))?;
    let mut ours: Vec<Found> = sizes.iter().map(|_| Found::default()).collect();
    let mut limit: Vec<Found> = sizes.iter().map(|_| Found::default()).collect();
    for run in 0..bench.runs {
        in_turn(
            run,
            || sweep(bench, run, "ours", bench.ours(&Shape::default())?, &sizes, &mut ours),
            || sweep(bench, run, "the limit", Subject::limit()?, &sizes, &mut limit),
        )?;
    }
    Ok((rows(&sizes, &ours, &limit), curves(&sizes, &ours, &limit)))
}

/// Measures with a crowd that grows from size to size.
fn sweep(
    bench: &Bench,
    run: usize,
    who: &str,
    mut subject: Subject,
    sizes: &[usize],
    found: &mut [Found],
) -> anyhow::Result<()> {
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    let before = usage::resident_bytes(&subject.holders)?;
    let mut number = 1;
    for (&size, found) in sizes.iter().zip(found) {
        bench.step(run, &format!("{who}, {size} websockets"));
        bench.bar.set_length(size as u64);
        let more = size - crowd.len();
        for (share, door) in shares(more, subject.doors.len()).zip(&subject.doors) {
            crowd.join(door, share, |now| bench.bar.set_position(now as u64))?;
        }
        crowd.listen_for(SETTLE)?;
        let grown = usage::resident_bytes(&subject.holders)?.saturating_sub(before);
        found.kilobytes.push(grown as f64 / 1_000.0 / size as f64);
        let rounds = (DELIVERIES / size).max(10);
        broadcast(&mut crowd, &mut subject, &mut number, 2)?;
        let used = broadcast(&mut crowd, &mut subject, &mut number, rounds)?;
        found.micros.push(used.as_secs_f64() * 1e6 / (rounds * size) as f64);
    }
    Ok(())
}

/// Makes the processes allocate what they need only once.
pub fn warm_up(crowd: &mut Crowd, subject: &mut Subject) -> anyhow::Result<()> {
    for door in &subject.doors {
        crowd.join(door, 50, |_| {})?;
    }
    broadcast(crowd, subject, &mut 1, 3)?;
    crowd.leave();
    crowd.listen_for(SETTLE)
}

/// Pushes `rounds` contents, each after the one before has reached every client. Returns the CPU time of
/// the subject.
pub fn broadcast(
    crowd: &mut Crowd,
    subject: &mut Subject,
    number: &mut u64,
    rounds: usize,
) -> anyhow::Result<Duration> {
    let before = usage::cpu(&subject.processes)?;
    for _ in 0..rounds {
        let all = crowd.heard().contents + crowd.len() as u64;
        crowd.sent();
        subject.pusher.begin(&wire::numbered(*number, CONTENT_BYTES))?;
        *number += 1;
        crowd.listen_until(all)?;
        subject.pusher.finish()?;
    }
    Ok(usage::cpu(&subject.processes)?.saturating_sub(before))
}

/// The shares of `all` when they are spread evenly.
pub fn shares(all: usize, over: usize) -> impl Iterator<Item = usize> {
    (0..over).map(move |at| all * (at + 1) / over - all * at / over)
}

fn rows(sizes: &[usize], ours: &[Found], limit: &[Found]) -> Vec<Row> {
    let mut rows = Vec::new();
    let headline = sizes.iter().copied().rfind(|size| *size <= HEADLINE);
    for ((size, ours), limit) in sizes.iter().zip(ours).zip(limit) {
        let what =
            format!("CPU per delivery, one 64-byte event at a time, {} websockets", count(*size));
        let row = Row::beside(what, "µs", &ours.micros, &limit.micros);
        let is_headline = Some(*size) == headline;
        rows.push(if is_headline { row.below(1.25, 1.15).checked() } else { row });
    }
    let at = |size| sizes.iter().position(|other| *other == size);
    if let Some(flat) = FLAT.map(at).into_iter().collect::<Option<Vec<_>>>() {
        let ratios: Vec<f64> = flat.into_iter().map(|at| rows[at].value()).collect();
        let what = "how far that ratio is at 5,000 and 15,000 websockets from that at 1,000";
        rows.push(Row::alone(what, "%", &[unevenness(&ratios) * 100.0]).below(25.0, 15.0));
    }
    rows
}

fn curves(sizes: &[usize], ours: &[Found], limit: &[Found]) -> Vec<Curve> {
    let curve = |name, title, y, of: fn(&Found) -> &[f64]| {
        let series = |name, found: &[Found]| {
            let points = sizes.iter().zip(found);
            let points = points.map(|(size, found)| (*size as f64, median(of(found)))).collect();
            Series { name, points }
        };
        let series = vec![series("Campanile", ours), series("the limit", limit)];
        Curve { name, title, x: "websockets", y, series }
    };
    vec![
        curve("cpu", "CPU per delivery of a 64-byte broadcast", "µs", |found| &found.micros),
        curve("memory", "Resident memory per idle websocket", "kB", |found| &found.kilobytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_complete() {
        assert_eq!(shares(10, 4).collect::<Vec<_>>(), [2, 3, 2, 3]);
        assert_eq!(shares(3, 8).sum::<usize>(), 3);
    }
}
