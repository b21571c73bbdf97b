//! The binary: reads the command line, binds the listeners, and runs one service or all three until
//! it is told to stop.

mod allocator;
mod cli;
mod files;
mod jwks;
mod logging;
mod services;
mod shutdown;
mod units;
mod watch;

use std::process::ExitCode;

use anyhow::Context as _;
use campanile_bench::{BenchArgs, Stop};
use campanile_channel::Watchdog;
use tracing_subscriber::EnvFilter;

use cli::Command;
use logging::Logging;
use shutdown::Shutdown;

fn main() -> ExitCode {
    let cli = match cli::read() {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    let filter = match log_filter() {
        Ok(filter) => filter,
        Err(error) => {
            logging::last_line(&format!("error: {error:#}"));
            return ExitCode::from(2);
        }
    };
    let logging = match logging::start(filter) {
        Ok(logging) => logging,
        Err(error) => {
            logging::last_line(&format!("error: cannot start the thread of the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    files::raise_limit();
    if let Command::BenchPart(args) = cli.command {
        end(campanile_bench::run_part(args), logging);
    }
    let system = actix_rt::System::new();
    let result = system.block_on(run(cli.command));
    // The system is not dropped: that would wait for a look-up of a host's name that is in progress.
    end(result, logging)
}

fn end(result: anyhow::Result<()>, logging: Logging) -> ! {
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            logging::last_line(&format!("error: {error:#}"));
            1
        }
    };
    drop(logging);
    std::process::exit(code)
}

async fn run(command: Command) -> anyhow::Result<()> {
    let watchdog = match command {
        Command::Bench(_) => Watchdog::none(),
        _ => watch::start().context("cannot start the thread of the watchdog")?,
    };
    let pulse = watchdog.watch("signals");
    let shutdown = match command {
        Command::Bench(_) => Shutdown::on_signals(pulse)?,
        _ => Shutdown::of_service(pulse)?,
    };
    match command {
        Command::Up(args) => services::up(args, shutdown, watchdog).await,
        Command::Broker(args) => services::broker(args, shutdown, watchdog).await,
        Command::Gateway(args) => services::gateway(args, shutdown, watchdog).await,
        Command::Publisher(args) => services::publisher(args, shutdown, watchdog).await,
        Command::Bench(args) => measure(*args, shutdown).await,
        Command::BenchPart(_) => unreachable!("run without a runtime"),
    }
}

/// Runs the benchmark on a thread of its own, which waits for nothing but its sockets.
async fn measure(args: BenchArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let (stop, room) = (Stop::default(), files::room());
    let measuring = tokio::task::spawn_blocking({
        let stop = stop.clone();
        move || campanile_bench::run(args, stop, room)
    });
    tokio::pin!(measuring);
    tokio::select! {
        ended = &mut measuring => return ended?,
        () = shutdown.begun() => stop.pull(),
    }
    measuring.await?
}

/// What to log: `CAMPANILE_LOG`, or what an operator wants to see. That leaves out peers that send
/// something else than HTTP, whose lines could fill a disk.
fn log_filter() -> anyhow::Result<EnvFilter> {
    let filter = std::env::var("CAMPANILE_LOG").unwrap_or_default();
    let filter = if filter.is_empty() { "info,actix_server=warn,actix_http=off" } else { &filter };
    EnvFilter::builder().parse(filter).with_context(|| {
        format!(
            "CAMPANILE_LOG={filter}: accepted is a level such as info or debug, or TARGET=LEVEL,.."
        )
    })
}
