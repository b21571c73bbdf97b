//! Makes the faults that the alerts are for, on clusters of real processes, and writes what Prometheus
//! would have scraped meanwhile as tests for `promtool`. It takes a quarter of an hour, and must be root for
//! a disk and a thread that hang, so it runs only when it is asked for:
//! `cargo test --release -p campanile --test record -- --into integration/deploy/recorded.test.yml`.

#![expect(clippy::print_stderr, reason = "it is run by hand, and says how far it is")]

#[path = "record/faults.rs"]
mod faults;
#[path = "record/load.rs"]
mod load;
#[path = "record/network.rs"]
mod network;
#[path = "record/tape.rs"]
mod tape;
#[path = "record/thread.rs"]
mod thread;

use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use clap::Parser;
use futures_util::future::join_all;
use tokio::task::LocalSet;

use tape::Tape;

/// Records the series of each fault.
#[derive(Debug, Parser)]
struct Args {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    into: PathBuf,
    /// Only the faults whose names contain this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// When this is, for the head of the file
    #[arg(long, value_name = "TEXT")]
    on: String,
    /// Seconds between two scrapes, to try a fault out; what is committed has 15
    #[arg(long, value_name = "N", default_value = "15")]
    every: u64,
}

const HEAD: &str = "\
# What Prometheus scraped during real faults, and which alerts fire on it. Made by
#   cargo test --release -p campanile --test record
# which starts a cluster of real processes on one machine for each fault, scrapes all of them every
# SECONDS s, and notes every series that an alert reads. Recorded on DATE.
#
# Each test begins with a cluster without a fault, on which nothing fires. Time is not compressed, except
# where a test says that its quiet part is repeated. Times of day count from the first scrape, because
# promtool begins at 0. `stale` is a scrape that failed, or that did not have the series any more.
#
# What cannot be made on one machine in minutes is in alerts.test.yml, on made-up series: a quiet day, a
# few refused pushes among many, and a broker that begins another log while it runs.

rule_files: [alerts.yml]
evaluation_interval: 15s

tests:
";

/// A fault while it is being recorded.
type Recording = Pin<Box<dyn Future<Output = Tape>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args::parse();
    let every = Duration::from_secs(args.every);
    let chosen = faults::all().into_iter().filter(|(name, _)| name.contains(&args.only));
    let recordings = chosen.map(|(name, fault)| async move {
        let tape = fault(Tape::new(name, every)).await;
        eprintln!("recorded: {name}");
        tape.into_test()
    });
    let tests = LocalSet::new().run_until(join_all(recordings)).await.join("\n");
    let head = HEAD.replace("SECONDS", &args.every.to_string()).replace("DATE", &args.on);
    fs::write(&args.into, head + &tests).expect("the file can be written");
}
