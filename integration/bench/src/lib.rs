//! `campanile bench`: how fast and how small a cluster is, measured from outside, beside the least
//! that any server has to do on the same machine in the same run.
//!
//! [`subject`] starts what is measured, [`crowd`] is its clients, [`push`] pushes, [`usage`] counts CPU
//! and memory, [`bare`] has the servers to compare with. Each file of [`scenarios`] measures one thing
//! and answers rows of the [`report`], which [`plot`] draws.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool of the command line")]

mod args;
pub mod bare;
mod crowd;
mod limits;
mod plot;
mod poll;
mod process;
mod push;
mod report;
mod scenarios;
mod subject;
mod usage;
mod wire;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub use args::BenchArgs;
use args::Scenario;
pub use crowd::Stop;
use crowd::{Crowd, Interrupted};
use report::Report;
use subject::{Shape, Subject};

/// How long a cluster is left alone before something small is measured.
const SETTLE: Duration = Duration::from_millis(500);

/// What all scenarios have in common.
struct Bench {
    args: BenchArgs,
    stop: Stop,
    runs: usize,
    bar: ProgressBar,
}

/// Runs what the command line asks for, and tells.
///
/// # Errors
/// What cannot be measured, or failed its check.
pub fn run(args: BenchArgs, stop: Stop) -> anyhow::Result<()> {
    let all = Scenario::value_variants();
    let chosen: Vec<_> =
        all.iter().copied().filter(|s| args.only.is_empty() || args.only.contains(s)).collect();
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: the numbers say nothing (cargo run --release -- bench)");
    }
    let runs = args.runs.unwrap_or(if args.quick { 3 } else { 5 });
    prepare(&args)?;
    let mut bench = Bench { args, stop, runs, bar: ProgressBar::hidden() };
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
            Err(error) if error.is::<NotHere>() => {
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

/// A scenario that needs something else than what is measured.
#[derive(Debug, thiserror::Error)]
#[error("left out: {0}")]
struct NotHere(&'static str);

impl Bench {
    /// What is measured: what the command line names, or a cluster of this shape.
    fn ours(&self, shape: &Shape) -> anyhow::Result<Subject> {
        match Subject::running(&self.args, shape.speech)? {
            Some(running) => Ok(running),
            None => Subject::cluster(shape),
        }
    }

    /// A cluster that can be shaped.
    fn own(&self, shape: &Shape) -> anyhow::Result<Subject> {
        if self.args.publisher.is_some() || self.args.url.is_some() {
            return Err(NotHere("it is measured with a cluster of its own only").into());
        }
        Subject::cluster(shape)
    }

    fn crowd(&self) -> anyhow::Result<Crowd> {
        Crowd::new(self.stop.clone())
    }

    /// What the command line asks for, or so many.
    fn size(&self, full: usize, quick: usize) -> usize {
        self.args.connections.unwrap_or(if self.args.quick { quick } else { full })
    }

    /// At most what the command line asks for.
    fn at_most(&self, wanted: usize) -> usize {
        self.args.connections.map_or(wanted, |most| most.min(wanted))
    }

    /// Tells what is going on.
    fn step(&self, run: usize, what: &str) {
        self.bar.set_message(format!("run {} of {}: {what}", run + 1, self.runs));
        self.bar.set_position(0);
        self.bar.set_length(1);
    }
}

/// A bar, where standard error is a terminal.
fn progress(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>10} {spinner} {wide_msg} {bar:24}");
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(style.expect("a template without mistakes"));
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What cannot be written is better known before ten minutes of measuring.
fn prepare(args: &BenchArgs) -> anyhow::Result<()> {
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
        println!("median of {runs}, {cores} cores, Linux {kernel}\n\n{}", report.table());
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
            "--check looks at idle, broadcasts and burst: measure one of them"
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
