//! CPU per event by the number of groups, and of gateways.

use crate::bench::Bench;
use crate::report::{Row, count, median, unevenness};
use crate::scenarios::broadcasts::{CONTENT_BYTES, shares};
use crate::subject::{Shape, Subject};
use crate::{usage, wire};

/// How many connections there are, whatever they listen to.
const WEBSOCKETS: usize = 1_000;

/// Groups of one connection each; a connection has at most 100.
const GROUPS: [usize; 3] = [1, 10_000, 100_000];

const GATEWAYS: [usize; 3] = [1, 4, 8];

/// The members of the group that is in all gateways.
const MEMBERS: usize = 2_000;

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let members = bench.at_most(if bench.args.quick { 400 } else { MEMBERS });
    bench.check_room(members.max(WEBSOCKETS))?;
    let events = if bench.args.quick { 500 } else { 3_000 };
    let mut by_groups = GROUPS.map(|_| vec![]);
    let mut by_gateways = GATEWAYS.map(|_| vec![]);
    for run in 0..bench.runs {
        for (groups, found) in GROUPS.iter().zip(&mut by_groups) {
            bench.step(run, &format!("{} groups of one", count(*groups)));
            found.push(one_member_each(bench, *groups, events)?);
        }
        for (gateways, found) in GATEWAYS.iter().zip(&mut by_gateways) {
            bench.step(run, &format!("one group in {gateways} gateways"));
            found.push(one_group(bench, *gateways, members)?);
        }
    }
    let mut rows = Vec::new();
    for (groups, found) in GROUPS.iter().zip(&by_groups) {
        let what = format!("CPU per event, HTTP push to one of {} groups of one", count(*groups));
        rows.push(Row::alone(what, "µs", found));
    }
    rows.push(flat(
        "how far the CPU per event is with 10,000 and 100,000 groups from that with 1",
        &by_groups,
    ));
    for (gateways, found) in GATEWAYS.iter().zip(&by_gateways) {
        let what = format!(
            "CPU per event, a group of {} members in {gateways} gateway{}",
            count(members),
            if *gateways == 1 { "" } else { "s" }
        );
        rows.push(Row::alone(what, "µs", found));
    }
    rows.push(flat(
        "how far the CPU per event is with 4 and 8 gateways from that with 1",
        &by_gateways,
    ));
    Ok(rows)
}

fn flat(what: &str, found: &[Vec<f64>; 3]) -> Row {
    let uneven = unevenness(&found.each_ref().map(|runs| median(runs)));
    Row::alone(what, "%", &[uneven * 100.0]).below(25.0, 15.0)
}

/// CPU in µs for an event to a group of one member; the pushes go to all groups in turn.
fn one_member_each(bench: &Bench, groups: usize, events: u64) -> anyhow::Result<f64> {
    let mut subject = bench.own(&Shape::default())?;
    let mut crowd = bench.crowd()?;
    let target = |client: usize| {
        let mut target = String::from("/");
        for (at, share) in shares(groups, WEBSOCKETS).take(client + 1).enumerate() {
            if at == client {
                let first = groups * client / WEBSOCKETS;
                for group in first..first + share {
                    target.push_str(if target.len() == 1 { "?" } else { "&" });
                    target.push_str(&format!("group=g{group}"));
                }
            }
        }
        target
    };
    crowd.connect(&subject.doors[0], (0..WEBSOCKETS).map(target), |_| {})?;
    let mut push = |numbers: std::ops::Range<u64>| {
        let before = usage::cpu(&subject.processes)?;
        for number in numbers {
            // A stride that visits all groups in an order that is bad for caches.
            let group = number * 7_919 % groups as u64;
            let contents = crowd.heard().contents;
            let http = subject.pusher.http()?;
            let target = format!("/?to_group=g{group}");
            http.send(&target, "text/plain", wire::numbered(number, CONTENT_BYTES).as_bytes())?;
            crowd.listen_until(contents + 1)?;
            http.answer()?;
        }
        anyhow::Ok(usage::cpu(&subject.processes)?.saturating_sub(before))
    };
    push(1..200)?;
    let used = push(200..200 + events)?;
    Ok(used.as_secs_f64() * 1e6 / events as f64)
}

/// CPU in µs for an event to a group whose members are spread over the gateways.
fn one_group(bench: &Bench, gateways: usize, members: usize) -> anyhow::Result<f64> {
    let rounds = 50;
    let mut subject: Subject = bench.own(&Shape { gateways, ..Shape::default() })?;
    let mut crowd = bench.crowd()?;
    for (share, door) in shares(members, gateways).zip(&subject.doors) {
        crowd.connect(door, std::iter::repeat_n("/?group=all".to_owned(), share), |_| {})?;
    }
    let mut push = |numbers: std::ops::Range<u64>| {
        let before = usage::cpu(&subject.processes)?;
        for number in numbers {
            let contents = crowd.heard().contents;
            let http = subject.pusher.http()?;
            let content = wire::numbered(number, CONTENT_BYTES);
            http.send("/?to_group=all", "text/plain", content.as_bytes())?;
            crowd.listen_until(contents + members as u64)?;
            http.answer()?;
        }
        anyhow::Ok(usage::cpu(&subject.processes)?.saturating_sub(before))
    };
    push(1..4)?;
    let used = push(4..4 + rounds)?;
    Ok(used.as_secs_f64() * 1e6 / rounds as f64)
}
