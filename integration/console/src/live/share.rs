//! How many pages each key has open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_edge::Tally;

/// The open pages by the name of their key. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Shares(Arc<Mutex<Tally<String>>>);

/// Counts a page until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    key: String,
}

impl Shares {
    /// Counts a page of a key; `None` if it has `max` already.
    pub fn take(&self, key: &str, max: usize) -> Option<Share> {
        let is_counted = self.lock().take(key, max);
        is_counted.then(|| Share { shares: self.clone(), key: key.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Tally<String>> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.lock().give_back(self.key.as_str());
    }
}
