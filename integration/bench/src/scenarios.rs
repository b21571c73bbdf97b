//! What is measured, one thing a file.

mod broadcasts;
mod burst;
mod conversation;
mod flood;
mod groups;
mod http;
mod idle;
mod latency;
mod publish;
mod resume;
mod returning;
mod slow;
mod storm;
mod tls;

use crate::args::Scenario;
use crate::bench::Bench;
use crate::report::Report;

/// Measures, and adds what was found.
pub fn run(scenario: Scenario, bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let mut rows = match scenario {
        Scenario::Idle => idle::run(bench)?,
        Scenario::Storm => storm::run(bench)?,
        Scenario::Broadcasts => {
            let (rows, curves) = broadcasts::run(bench)?;
            report.curves.extend(curves);
            rows
        }
        Scenario::Burst => burst::run(bench)?,
        Scenario::Http => http::run(bench)?,
        Scenario::Groups => groups::run(bench)?,
        Scenario::Latency => latency::run(bench)?,
        Scenario::Publish => publish::run(bench)?,
        Scenario::Resume => resume::run(bench)?,
        Scenario::Return => returning::run(bench)?,
        Scenario::Slow => slow::run(bench)?,
        Scenario::Flood => flood::run(bench)?,
        Scenario::Tls => tls::run(bench)?,
    };
    if bench.args.url.is_some() {
        // The targets are ours.
        rows.iter_mut().for_each(|row| row.target = None);
    }
    report.rows.extend(rows);
    Ok(())
}
