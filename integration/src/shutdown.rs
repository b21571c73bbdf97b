//! How the process ends: a signal begins its shutdown, and a second one or a limit ends it.
//!
//! A thread of its own waits for signals, so that it can end the process even if all other threads are
//! stuck.

use std::convert::Infallible;
use std::io;
use std::process::exit;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use campanile_channel::Pulse;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info};

use crate::logging::last_words;

/// The exit code of a process that did not end by itself in time.
const NOT_IN_TIME: i32 = 1;

/// How often to look for a limit that was not set yet when the signal came.
const LOOK_FOR_LIMIT: Duration = Duration::from_millis(100);

/// Keeps SIGHUP from ending this process from now on. One that comes before
/// [`of_service`](Shutdown::of_service) reads the settings again after it.
///
/// # Errors
/// If signals cannot be caught.
pub fn hold_hangups() -> io::Result<()> {
    // A handler stays for as long as the process runs. What it notes is taken by the next runtime.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    signal(SignalKind::hangup()).map(drop)
}

/// Tells the parts of the process that it is to end. Each part has a clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: watch::Receiver<bool>,
    limit: Arc<OnceLock<Duration>>,
}

/// Starts a [`Shutdown`].
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// A trigger, and the shutdown that begins when it is pulled or dropped.
    pub fn new() -> (Self, Shutdown) {
        let (sender, begun) = watch::channel(false);
        (Self(sender), Shutdown { begun, limit: Arc::default() })
    }

    /// Begins the shutdown.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Begins at the first SIGTERM, SIGINT or SIGQUIT. The second one ends the process at once.
    ///
    /// # Errors
    /// If signals cannot be caught, or no thread be started.
    pub fn on_signals(pulse: Pulse) -> io::Result<Self> {
        Self::on(pulse, |_| Ok(()))
    }

    /// As [`on_signals`](Self::on_signals). SIGHUP calls `reload` on a thread of its own, one call at a
    /// time. SIGUSR1 and SIGUSR2, which would end the process by default, are logged and do nothing.
    ///
    /// # Errors
    /// As [`on_signals`](Self::on_signals).
    pub fn of_service(pulse: Pulse, reload: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        Self::on(pulse, |runtime| {
            let mut hangup = signal(SignalKind::hangup())?;
            let reload = Arc::new(reload);
            runtime.spawn(async move {
                // Signals that come during a call lead to one more.
                while hangup.recv().await.is_some() {
                    let reload = reload.clone();
                    if spawn_blocking(move || reload()).await.is_err() {
                        error!("rereading the settings panicked");
                    }
                }
            });
            for (kind, name) in
                [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")]
            {
                let mut signal = signal(kind)?;
                runtime.spawn(async move {
                    while signal.recv().await.is_some() {
                        info!(signal = name, "this signal does nothing here");
                    }
                });
            }
            Ok(())
        })
    }

    fn on(pulse: Pulse, more: impl FnOnce(&Runtime) -> io::Result<()>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (trigger, shutdown) = Trigger::new();
        let limit = shutdown.limit.clone();
        let stops = {
            let _entered = runtime.enter();
            more(&runtime)?;
            Stops::new()?
        };
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            // Dropped in the other order: after a panic, the pulse ends the process before the
            // trigger can begin an ordinary shutdown.
            let trigger = trigger;
            let pulse = pulse;
            runtime.block_on(pulse.during(stops.end(&trigger, &limit)))
        })?;
        Ok(shutdown)
    }

    /// Sets how long the shutdown may take. What is not done by then is given up, and the process ends
    /// with code 1. Only the first call counts; without one there is no limit.
    pub fn ends_within(&self, limit: Duration) {
        let _ = self.limit.set(limit);
    }

    /// Resolves when the shutdown begins.
    pub async fn begun(mut self) {
        // A trigger that was dropped counts as pulled.
        let _ = self.begun.wait_for(|begun| *begun).await;
    }
}

/// The signals that end the process.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Stops {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Begins the shutdown at the first signal, and ends the process at the second, or at the limit.
    async fn end(mut self, trigger: &Trigger, limit: &OnceLock<Duration>) -> Infallible {
        let (_, name) = self.next().await;
        info!(signal = name, "shutting down; a second signal ends at once");
        trigger.pull();
        let begun = Instant::now();
        let over = async {
            // The limit may be set only after the signal came.
            loop {
                match limit.get() {
                    Some(&limit) => {
                        sleep(limit.saturating_sub(begun.elapsed())).await;
                        return limit;
                    }
                    None => sleep(LOOK_FOR_LIMIT).await,
                }
            }
        };
        tokio::select! {
            (number, name) = self.next() => {
                last_words(&format!("ended at once by a second signal, {name}"));
                exit(128 + number)
            }
            limit = over => {
                last_words(&format!("not everything has ended within {limit:?}, the rest is given up"));
                exit(NOT_IN_TIME)
            }
        }
    }

    async fn next(&mut self) -> (i32, &'static str) {
        let (kind, name) = tokio::select! {
            _ = self.terminate.recv() => (SignalKind::terminate(), "SIGTERM"),
            _ = self.interrupt.recv() => (SignalKind::interrupt(), "SIGINT"),
            _ = self.quit.recv() => (SignalKind::quit(), "SIGQUIT"),
        };
        (kind.as_raw_value(), name)
    }
}
