//! Why something is not measured: the benchmark was interrupted, or the server cannot do it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The benchmark was interrupted.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Interrupts the benchmark. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Interrupts the benchmark, soon.
    pub fn pull(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// [`Interrupted`] after [`pull`](Self::pull).
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
    }
}

/// The scenario needs another server than the one that is measured.
#[derive(Debug, thiserror::Error)]
#[error("left out: {0}")]
pub struct LeftOut(pub &'static str);
