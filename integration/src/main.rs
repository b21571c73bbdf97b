//! The binary: reads the command line, binds the listeners, and runs one service or all three until
//! it is told to stop.

mod cli;
mod services;
mod shutdown;
mod units;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};
use shutdown::Shutdown;

fn main() -> ExitCode {
    let cli = match cli::command().try_get_matches().and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("CAMPANILE_LOG")
                .unwrap_or_else(|_| EnvFilter::new("info,actix_server=warn")),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    raise_file_limit();
    match actix_rt::System::new().block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    match command {
        Command::Up(args) => services::up(args, shutdown).await,
        Command::Channel(args) => services::channel(args, shutdown).await,
        Command::Gateway(args) => services::gateway(args, shutdown).await,
        Command::Publisher(args) => services::publisher(args, shutdown).await,
    }
}

/// A connection is a file, and the usual soft limit is 1,024: take what the system allows.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
