//! Many clients connect at once: CPU per handshake, up to the greeting.

use crate::bench::{Bench, in_turn};
use crate::report::{Row, count as shown};
use crate::scenarios::broadcasts::{shares, warm_up};
use crate::subject::{Shape, Subject};
use crate::usage;

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let count = bench.size(5_000, 1_000);
    bench.check_room(count)?;
    let (mut ours, mut limit) = (vec![], vec![]);
    for run in 0..bench.runs {
        let (found, least) = in_turn(
            run,
            || {
                bench.step(run, "ours");
                storm(bench, bench.ours(&Shape::default())?, count)
            },
            || {
                bench.step(run, "the limit");
                storm(bench, Subject::limit()?, count)
            },
        )?;
        ours.push(found);
        limit.push(least);
    }
    let what = format!("CPU per handshake, {} at once", shown(count));
    Ok(vec![Row::beside(what, "µs", &ours, &limit).below(1.4, 1.2)])
}

/// CPU per handshake in µs, when `count` clients connect at once.
pub fn storm(bench: &Bench, mut subject: Subject, count: usize) -> anyhow::Result<f64> {
    let mut crowd = bench.crowd()?;
    warm_up(&mut crowd, &mut subject)?;
    bench.bar.set_length(count as u64);
    let before = usage::cpu(&subject.processes)?;
    for (share, door) in shares(count, subject.doors.len()).zip(&subject.doors) {
        crowd.join(door, share, |now| bench.bar.set_position(now as u64))?;
    }
    let used = usage::cpu(&subject.processes)?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / count as f64)
}
