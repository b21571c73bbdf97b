//! Whether a caller is still there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a caller still has its side of the connection open. A caller that has closed it may be gone,
/// or it may have nothing more to send: TCP does not distinguish the two.
#[derive(Debug, Clone, Default)]
pub struct Presence(Arc<AtomicBool>);

impl Presence {
    /// Whether the caller has closed its side.
    pub fn is_over(&self) -> bool {
        // The flag guards no other memory.
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that the caller has closed its side.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
