//! Random faults at random times, for a number of minutes:
//! `cargo test --release -p campanile --test chaos -- --minutes 5 --seed 7`.
//!
//! Ends with 1 if any client lost an event, got one twice or in the wrong order, or was not notified of
//! a gap.

#![expect(clippy::print_stdout, reason = "it is run by hand, for what it prints")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use campanile_harness::{Fault, Recovered, Row, Seed, Setup, Stage, Table, Verdict};
use clap::Parser;
use clap::ValueEnum as _;
use rand::RngExt as _;
use tokio::time::sleep;

/// Inflicts faults on a cluster of one broker, some gateways and two publishers under load.
#[derive(Debug, Parser)]
struct Args {
    /// How long it runs
    #[arg(long, default_value = "5", value_name = "N")]
    minutes: f64,
    /// Repeats the choices of another run [default: a random one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[arg(long, default_value = "3", value_name = "N")]
    gateways: usize,
    #[arg(long, default_value = "240", value_name = "N")]
    clients: usize,
    /// Pushes per second
    #[arg(long, default_value = "220", value_name = "N")]
    rate: u32,
    /// The faults to choose from [default: all]
    #[arg(long, value_delimiter = ',', value_name = "FAULTS")]
    faults: Vec<Fault>,
    /// Faults between two verdicts
    #[arg(long, default_value = "6", value_name = "N")]
    round: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.faults.is_empty() {
        args.faults = Fault::value_variants().to_vec();
    }
    let seed = args.seed.map_or_else(Seed::from_environment, Seed);
    println!("--seed {}", seed.0);
    let (table, total) = run(&args, seed).await;
    println!("\n{table}");
    for offence in &total.told {
        println!("{offence}");
    }
    if total.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All rounds, and their sum.
async fn run(args: &Args, seed: Seed) -> (Table, Verdict) {
    let mut setup = Setup { gateways: args.gateways, per_second: args.rate, ..Setup::default() };
    setup.audiences.clients = args.clients;
    setup.is_proxied = true;
    let mut stage = Stage::set(setup, seed).await;
    let deadline = Instant::now() + Duration::from_secs_f64(args.minutes * 60.0);
    let (mut table, mut total, mut slowest) =
        (Table::default(), Verdict::default(), Duration::ZERO);
    let mut never = false;
    while Instant::now() < deadline {
        let load = stage.load();
        for _ in 0..args.round {
            let pause = Duration::from_millis(stage.choices.random_range(500..4_000));
            sleep(pause).await;
            let fault = args.faults[stage.choices.random_range(0..args.faults.len())];
            let begun = stage.now();
            fault.inflict(&mut stage).await;
            let passed = stage.now();
            let recovery = stage.crowd.caught_up(passed).await;
            slowest = slowest.max(recovery.unwrap_or_default());
            never |= recovery.is_none();
            println!(
                "{:>7.1} s  {fault:?}, {:.1} s, recovered: {}",
                begun.as_secs_f64(),
                (passed - begun).as_secs_f64(),
                Recovered::from(recovery)
            );
            if Instant::now() > deadline {
                break;
            }
        }
        let verdict = stage.judge(load).await;
        total.add(&verdict);
        let name = format!("round {}", table.rows.len() + 1);
        table.rows.push(Row { name, verdict, recovery: Recovered::NotAsked });
    }
    let recovery = if never { Recovered::Never } else { Recovered::Within(slowest) };
    table.rows.push(Row { name: "all".to_owned(), verdict: total.clone(), recovery });
    (table, total)
}
