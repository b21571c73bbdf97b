//! What the binary does: it reads the command line, binds the listeners, and runs one service or all three
//! until it is told to stop. It is a library only so that the fuzz targets reach the settings file.

mod admin;
mod certificates;
mod cli;
mod exposure;
mod files;
mod jwks;
mod limits;
mod live;
mod logging;
mod otlp;
mod process_meters;
mod remote;
mod reread;
mod secret_file;
mod secrets;
mod services;
mod settings;
mod shutdown;
mod threads;
mod token_keys;
mod tools;
mod trial;
mod units;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use campanile_bench::{BenchArgs, Stop};
use campanile_channel::Watchdog;
use tracing::warn;

use cli::{Command, Invocation, ServiceArgs};
use live::{Invalid, Live, NewState};
use logging::{LogFormat, Logging};
use otlp::Otlp;
use shutdown::Shutdown;

pub use trial::wrong_settings;

/// Runs the command line of this process, and returns its exit code. A service ends the process by itself.
pub fn run() -> ExitCode {
    // First of all, because until then SIGHUP ends the process. Tools end by it.
    if cli::is_service()
        && let Err(error) = shutdown::hold_hangups()
    {
        logging::last_line(&format!("error: cannot catch signals: {error}"));
        return ExitCode::FAILURE;
    }
    // The first one stays, and nobody else installs one.
    let _ = campanile_edge::tls::provider().install_default();
    let invocation = match cli::read() {
        Ok(invocation) => invocation,
        Err(refused) => return cli::explain(&refused),
    };
    let invocation = match invocation {
        Invocation { command: Command::Config(args), .. } => return tools::config::run(&args),
        Invocation { command: Command::Key(command), .. } => return tools::key::run(&command),
        Invocation { command: Command::Token(command), .. } => return tools::token::run(command),
        Invocation { command: Command::Push(args), .. } => return tools::push::run(&args),
        Invocation { command: Command::Tail(args), .. } => return tools::tail::run(&args),
        Invocation { command: Command::Top(args), .. } => return tools::top::run(&args),
        Invocation { command: Command::Trace(args), .. } => return tools::trace::run(&args),
        service => service,
    };
    let args = ServiceArgs::of(&invocation.command);
    let first = match NewState::read(&invocation.settings, &args) {
        Ok(first) => first,
        Err(Invalid(sentences)) => {
            let file = invocation.file.as_deref();
            for line in sentences {
                let line = file.map_or(line.clone(), |file| {
                    settings::with_places(&line, &invocation.in_force, file)
                });
                logging::last_line(&format!("error: {}", settings::without_keys(&line)));
            }
            return ExitCode::from(2);
        }
    };
    let log_format = match cli::is_service() {
        true => invocation.log_format.unwrap_or(first.log_format),
        // People look at a benchmark.
        false => LogFormat::Text,
    };
    let logging = match logging::start(first.filter(), log_format) {
        Ok(logging) => logging,
        Err(error) => {
            logging::last_line(&format!("error: cannot start the thread of the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    cli::unknown_variables().iter().for_each(|sentence| warn!("{sentence}"));
    files::raise_limit();
    if let Command::BenchPart(args) = invocation.command {
        end(campanile_bench::run_part(args), logging);
    }
    let live = Arc::new(Live::start(&invocation, first, logging.level()));
    let system = actix_rt::System::new();
    let result = system.block_on(serve(invocation.command, live.clone()));
    let result = result.map_err(|error| live.with_places(error));
    // The system is not dropped: that would wait for a look-up of a host's name that is in progress.
    end(result, logging)
}

fn end(result: anyhow::Result<()>, logging: Logging) -> ! {
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            let sentence = format!("error: {error:#}");
            logging::last_line(&settings::without_keys(&sentence));
            1
        }
    };
    drop(logging);
    std::process::exit(code)
}

async fn serve(command: Command, live: Arc<Live>) -> anyhow::Result<()> {
    let watchdog = match command {
        Command::Bench(_) => Watchdog::none(),
        _ => watch::start().context("cannot start the thread of the watchdog")?,
    };
    let pulse = watchdog.watch("signals");
    let shutdown = match command {
        Command::Bench(_) => Shutdown::on_signals(pulse)?,
        _ => Shutdown::of_service(pulse, {
            let live = live.clone();
            move || live.reload()
        })?,
    };
    let otlp = Otlp::start(live.otlp())?;
    let served = match command {
        Command::Up(args) => services::up(args, (&live, &otlp), shutdown, watchdog).await,
        Command::Broker(args) => services::broker(args, (&live, &otlp), shutdown, watchdog).await,
        Command::Gateway(args) => services::gateway(args, (&live, &otlp), shutdown, watchdog).await,
        Command::Publisher(args) => {
            services::publisher(args, (&live, &otlp), shutdown, watchdog).await
        }
        Command::Bench(args) => measure(*args, shutdown).await,
        Command::Config(_)
        | Command::Key(_)
        | Command::Token(_)
        | Command::Push(_)
        | Command::Tail(_)
        | Command::Top(_)
        | Command::Trace(_)
        | Command::BenchPart(_) => unreachable!("ended before"),
    };
    otlp.finish().await;
    served
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
