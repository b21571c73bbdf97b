//! Pushes over HTTP by many callers at once, each with one push at a time, while nobody listens; beside
//! a bare HTTP server that reads as many bytes and answers `ok`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::bench::{Bench, in_turn};
use crate::callers::{Callers, Calls, Connections};
use crate::process::Process;
use crate::report::Row;
use crate::scenarios::broadcasts::CONTENT_BYTES;
use crate::subject::Shape;
use crate::{push, usage, wire};

/// How many callers there are.
const CALLERS: usize = 64;

/// How long callers call before they are measured.
const WARM_UP: Duration = Duration::from_millis(200);

/// The values of one kind of connections, of all runs.
#[derive(Default)]
struct Found {
    per_second: Vec<f64>,
    micros: Vec<f64>,
}

pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    bench.check_room(CALLERS)?;
    let mut rows = Vec::new();
    // The gates are what was measured before there were these rows, beside the same limit.
    for (connections, how, gate) in [
        (Connections::Kept, "over 64 kept connections", 0.23),
        (Connections::OneEach, "with a new connection per push, 64 at a time", 0.49),
    ] {
        let (mut ours, mut limit) = (Found::default(), Found::default());
        for run in 0..bench.runs {
            in_turn(
                run,
                || {
                    bench.step(run, &format!("pushes {how}"));
                    let mut subject = bench.own(&Shape::default())?;
                    let publisher = subject.pusher.http()?.host();
                    ours.measure(bench, publisher, &subject.processes, connections)
                },
                || {
                    bench.step(run, &format!("the limit {how}"));
                    let mut server = Process::start(&["http"])?;
                    let address = server.address("the HTTP limit listens")?;
                    limit.measure(bench, address, &[server.id()], connections)
                },
            )?;
        }
        let what = format!("accepted, HTTP {how}, in memory, nobody listens");
        let accepted = Row::beside(what, "/s", &ours.per_second, &limit.per_second);
        rows.push(accepted.above(gate, 0.7));
        rows.push(Row::beside(
            format!("CPU per push, HTTP {how}"),
            "µs",
            &ours.micros,
            &limit.micros,
        ));
    }
    Ok(rows)
}

impl Found {
    fn measure(
        &mut self,
        bench: &Bench,
        server: SocketAddr,
        processes: &[u32],
        connections: Connections,
    ) -> anyhow::Result<()> {
        let time = Duration::from_millis(if bench.args.quick { 500 } else { 3_000 });
        let headers = match connections {
            Connections::Kept => "Content-Type: text/plain",
            Connections::OneEach => "Content-Type: text/plain\r\nConnection: close",
        };
        let content = wire::numbered(1, CONTENT_BYTES);
        let request = push::request(server, "/", headers, content.as_bytes());
        let mut callers = Callers::connect(server, request, connections, CALLERS)?;
        callers.call_for(&bench.stop, WARM_UP)?;
        let before = usage::cpu(processes)?;
        let Calls { answered, took } = callers.call_for(&bench.stop, time)?;
        let used = usage::cpu(processes)?.saturating_sub(before);
        self.per_second.push(answered as f64 / took.as_secs_f64());
        self.micros.push(used.as_secs_f64() * 1e6 / answered as f64);
        Ok(())
    }
}
