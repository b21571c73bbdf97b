//! The flags of a benchmark.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --publisher or --url it starts a cluster of its own on loopback, each service in a process.\n\
groups, latency, publish, http, resume, return, flood and tls always need one of its own; burst needs a\n\
cluster.\n\n\
Examples:\n  \
campanile bench --plots docs\n  \
campanile bench --only broadcasts,idle --quick\n  \
campanile bench --only broadcasts --gateway 127.0.0.1:4236 --publisher 127.0.0.1:4237 --pid 4711\n  \
campanile bench --only broadcasts,idle --url ws://127.0.0.1:8080/sub?id=all --pid 4711 \\\n    \
--push-command \"curl -s http://127.0.0.1:8080/pub?id=all -d '{content}'\"")]
pub struct BenchArgs {
    /// What to measure, separated by commas [default: everything]
    #[arg(long, value_name = "SCENARIOS", value_enum, value_delimiter = ',')]
    pub only: Vec<Scenario>,
    /// Measure connections over TLS too; without --only, nothing else is measured
    #[arg(long)]
    pub tls: bool,
    /// Small numbers and three runs: shows whether it works, and roughly how fast it is
    #[arg(long)]
    pub quick: bool,
    /// How often each value is measured; the median counts [default: 5, with --quick 3]
    #[arg(long, value_name = "N", value_parser = count(1, 99))]
    pub runs: Option<usize>,
    /// How many connections at a time; groups, slow and flood use no more than their default [default: up to
    /// 15,000, depending on the scenario]
    #[arg(long, value_name = "N", value_parser = count(100, 1_000_000))]
    pub connections: Option<usize>,
    /// Write the results as JSON to this file; - is standard output, and then no table is printed
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the curves as SVG files in this directory
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
    /// Fail if CPU per delivery or memory per connection is more than this many times its gate
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    pub check: Option<f64>,
    /// Gateways of a cluster that is already running, separated by commas
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port, value_delimiter = ',', requires = "publisher")]
    pub gateway: Vec<String>,
    /// Publisher of that cluster
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port, requires = "gateway")]
    pub publisher: Option<String>,
    /// Any other websocket server that is already running
    #[arg(long, value_name = "URL", requires = "push_command", conflicts_with = "publisher")]
    pub url: Option<String>,
    /// Command that pushes a content to all clients of --url; sh runs it with the content in place of
    /// {content}
    #[arg(long, value_name = "COMMAND", requires = "url")]
    pub push_command: Option<String>,
    /// Processes of the running server on this host, separated by commas: their CPU is counted, and
    /// their memory if there is no --gateway-pid
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Those processes that hold the connections: their memory is counted
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub gateway_pid: Vec<u32>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Memory and CPU of idle connections, CPU of a heartbeat, memory when all have left
    Idle,
    /// CPU per handshake when many clients connect at once
    Storm,
    /// CPU per delivery of one event at a time, and memory, by the number of connections
    Broadcasts,
    /// CPU per delivery of many events at once
    Burst,
    /// CPU per event by the number of groups, and of gateways
    Groups,
    /// Time from a push to the frame of one client
    Latency,
    /// Publishes per second, in memory and on disk
    Publish,
    /// Pushes per second over 64 HTTP connections, kept or one per push
    Http,
    /// CPU per client that comes back with its position, many at once
    Resume,
    /// How long clients without a broker take to come back when it does
    Return,
    /// Latency for the others while some clients do not read
    Slow,
    /// Latency for the others while an attacker floods the gateway with connections
    Flood,
    /// Memory, handshakes, deliveries and a burst over TLS
    Tls,
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
