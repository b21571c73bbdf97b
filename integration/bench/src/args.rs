//! What the command line says of a benchmark.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --publisher or --url it starts a cluster of its own, each part a process, on loopback.\n\
groups, latency, publish, resume and return are measured with such a one only, burst not with --url.\n\n\
Examples:\n  \
campanile bench --plots docs\n  \
campanile bench --only broadcasts,idle --quick\n  \
campanile bench --only broadcasts --gateway 127.0.0.1:4236 --publisher 127.0.0.1:4237 --pid 4711\n  \
campanile bench --only broadcasts,idle --url ws://127.0.0.1:8080/sub?id=all --pid 4711 \\\n    \
--push-command \"curl -s http://127.0.0.1:8080/pub?id=all -d '{content}'\"")]
pub struct BenchArgs {
    /// What to measure, with commas [default: everything]
    #[arg(long, value_name = "SCENARIOS", value_enum, value_delimiter = ',')]
    pub only: Vec<Scenario>,
    /// Small numbers and three runs: whether it works, and roughly how fast
    #[arg(long)]
    pub quick: bool,
    /// How often each is measured; the median counts [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = count(1, 99))]
    pub runs: Option<usize>,
    /// How many connections at a time [default: up to 15,000, by scenario]; groups and slow take no
    /// more than by default
    #[arg(long, value_name = "N", value_parser = count(100, 1_000_000))]
    pub connections: Option<usize>,
    /// Write the results as JSON to this file; - is standard output, and then there is no table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the curves as SVG in this directory
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Fail if CPU per delivery or memory per connection is over this many times its gate
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    pub check: Option<f64>,
    /// Gateways of a cluster that runs, with commas
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port, value_delimiter = ',', requires = "publisher")]
    pub gateway: Vec<String>,
    /// Publisher of a cluster that runs
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port, requires = "gateway")]
    pub publisher: Option<String>,
    /// Any other websocket server that runs
    #[arg(long, value_name = "URL", requires = "push_command", conflicts_with = "publisher")]
    pub url: Option<String>,
    /// What pushes a content to all clients of --url; sh runs it with the content for {content}
    #[arg(long, value_name = "COMMAND", requires = "url")]
    pub push_command: Option<String>,
    /// Processes of what runs already, on this host: their CPU is counted, and their memory where
    /// there is no --gateway-pid
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Those of them that hold the connections: their memory is counted
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub gateway_pid: Vec<u32>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Memory and CPU of connections that hear nothing, CPU of a heartbeat, memory when all have left
    Idle,
    /// CPU per handshake, many at once
    Storm,
    /// CPU per delivery of one event at a time, and memory, by the number of connections
    Broadcasts,
    /// CPU per delivery of many events at once
    Burst,
    /// Cost per event by the number of groups, and of gateways
    Groups,
    /// From the push to the frame of one client
    Latency,
    /// Publishes per second
    Publish,
    /// Pushes per second over 64 HTTP connections, kept and new
    Http,
    /// Clients that come back together
    Resume,
    /// Clients that were sent away because the broker was gone, and come back when it does
    Return,
    /// What clients that do not read cost the others
    Slow,
}

fn count(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// Checks that there is a host and a port, and leaves the rest to the resolver.
fn host_port(text: &str) -> Result<String, &'static str> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match parts.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(_) => Ok(text.to_owned()),
        None => Err("accepted is HOST:PORT, such as 127.0.0.1:4236, [::1]:4236 or a host's name"),
    }
}

/// Reads a factor above 0.
fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor: &f64| *factor > 0.0 && factor.is_finite());
    factor.ok_or_else(|| "accepted is a number above 0, such as 1.3".to_owned())
}
