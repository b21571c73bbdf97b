//! Storms of clients that come back, in all combinations of a cold and a warm gateway, with and
//! without a directory, with one and with several workers:
//! `cargo test --release -p campanile --test storm -- --clients 5000 --missed 100`.
//!
//! Ends with an error if any client lacks an event, gets one twice or in the wrong order, or if the
//! gateway stops working.

#![expect(clippy::print_stdout, reason = "it is run by hand, for what it prints")]

#[path = "storms/scenario.rs"]
mod scenario;

use clap::Parser;
use scenario::Storm;

/// Lets clients come back all at once.
#[derive(Debug, Parser)]
struct Args {
    /// How many clients
    #[arg(long, default_value = "5000", value_name = "N")]
    clients: usize,
    /// How many events each of them has missed
    #[arg(long, default_value = "100", value_name = "N")]
    missed: usize,
    /// Workers of the gateway
    #[arg(long, default_values = ["1", "4"], value_delimiter = ',', value_name = "N")]
    workers: Vec<usize>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Args { clients, missed, workers } = Args::parse();
    for workers in workers {
        for (is_warm, has_directory) in [(false, true), (false, false), (true, true), (true, false)]
        {
            let storm = Storm { clients, missed, is_warm, has_directory, workers };
            let took = storm.come().await;
            println!("{:>7.2} s  {storm}", took.as_secs_f64());
        }
    }
}
