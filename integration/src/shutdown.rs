//! When the process is to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// Tells any number of parts that the process is to end. Clones are the same.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Starts a [`Shutdown`].
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// A shutdown that begins when this says so, or is dropped.
    pub fn new() -> (Self, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Shutdown(receiver))
    }

    /// Begins the shutdown.
    pub fn pull(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Begins at the first SIGTERM or SIGINT. The second one ends the process at once.
    pub fn on_signals() -> io::Result<Self> {
        let (trigger, shutdown) = Trigger::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        actix_rt::spawn(async move {
            let name = next(&mut terminate, &mut interrupt).await.1;
            info!(signal = name, "shutting down; a second signal ends at once");
            trigger.pull();
            let (number, name) = next(&mut terminate, &mut interrupt).await;
            warn!(signal = name, "ended at once");
            std::process::exit(128 + number);
        });
        Ok(shutdown)
    }

    /// Resolves when the shutdown begins.
    pub async fn begun(mut self) {
        // Gone without a word is a shutdown too.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> (i32, &'static str) {
    tokio::select! {
        _ = terminate.recv() => (SignalKind::terminate().as_raw_value(), "SIGTERM"),
        _ = interrupt.recv() => (SignalKind::interrupt().as_raw_value(), "SIGINT"),
    }
}
