//! Runs the scenarios that were asked for, one after the other, and reports what they found.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::{BenchArgs, Scenario};
use crate::bench::Bench;
use crate::report::{self, Report};
use crate::stop::{Interrupted, LeftOut, Stop};
use crate::{disk, plot, scenarios};

/// Measures what the command line asks for, and reports it. `room` is how many connections this
/// process may hold.
///
/// # Errors
/// If something cannot be measured, or `--check` fails.
pub fn run(args: BenchArgs, stop: Stop, room: usize) -> anyhow::Result<()> {
    let mut only = args.only.clone();
    only.extend(args.tls.then_some(Scenario::Tls));
    let all = Scenario::value_variants().iter().copied();
    let chosen: Vec<_> = all.filter(|s| only.is_empty() || only.contains(s)).collect();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: the numbers say nothing (cargo run --release -- bench)");
    }
    let runs = args.runs.unwrap_or(if args.quick { 3 } else { 5 });
    prepare(&args, &chosen)?;
    let mut bench = Bench { args, stop, room, runs, bar: ProgressBar::hidden() };
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        runs,
        quick: bench.args.quick,
        ..Report::default()
    };
    for scenario in chosen {
        bench.bar = progress(&report::name(scenario));
        let measured = scenarios::run(scenario, &bench, &mut report);
        bench.bar.finish_and_clear();
        match measured {
            Err(error) if error.is::<LeftOut>() => {
                eprintln!("{}: {error}", report::name(scenario));
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            measured => {
                measured.with_context(|| format!("measuring {}", report::name(scenario)))?
            }
        }
    }
    tell(&bench.args, &report)
}

/// A progress bar, if standard error is a terminal.
fn progress(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>10} {spinner} {wide_msg} {bar:24}");
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style.expect("a template without mistakes"));
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Finds out what cannot be written or measured before minutes of measuring.
fn prepare(args: &BenchArgs, chosen: &[Scenario]) -> anyhow::Result<()> {
    let is_own = args.publisher.is_none() && args.url.is_none();
    if is_own && chosen.iter().any(|s| matches!(s, Scenario::Publish | Scenario::Return)) {
        disk::check()?;
    }
    if let Some(path) = args.json.as_deref().filter(|path| *path != Path::new("-")) {
        fs::write(path, "").with_context(|| format!("--json {}", path.display()))?;
    }
    if let Some(directory) = &args.plots {
        fs::create_dir_all(directory)
            .with_context(|| format!("--plots {}", directory.display()))?;
    }
    Ok(())
}

fn tell(args: &BenchArgs, report: &Report) -> anyhow::Result<()> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if !to_stdout {
        let Report { cores, kernel, runs, .. } = report;
        println!(
            "median of {runs} runs, {cores} cores, Linux {kernel}; a ratio is the median of the runs' \
             ratios, not the ratio of the medians\n\n{}",
            report.table()
        );
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(report)? + "\n";
        if to_stdout {
            std::io::stdout().write_all(text.as_bytes())?;
        } else {
            fs::write(path, text).with_context(|| format!("--json {}", path.display()))?;
        }
    }
    if let Some(directory) = &args.plots {
        for curve in &report.curves {
            let path = directory.join(format!("{}.svg", curve.name));
            fs::write(&path, plot::svg(curve)?).with_context(|| format!("{}", path.display()))?;
        }
    }
    if let Some(factor) = args.check {
        ensure!(
            report.is_checked(),
            "--check looks at idle, broadcasts, burst and tls: measure one of them"
        );
        let failing = report.failing(factor);
        let lines: Vec<_> = failing
            .iter()
            .map(|row| {
                format!(
                    "{}: {} is over {factor} times its gate",
                    row.what,
                    report::short(row.value())
                )
            })
            .collect();
        ensure!(failing.is_empty(), "{}", lines.join("; "));
    }
    Ok(())
}
