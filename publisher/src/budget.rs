//! How many bytes of content may be on their way through this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ApiError;

/// A count of bytes that all threads share. Clones are the same count.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    used_bytes: AtomicUsize,
    max_bytes: usize,
}

/// Bytes taken from a [`Budget`]; given back on drop.
#[derive(Debug)]
pub struct Reserved {
    counts: Arc<Counts>,
    bytes: usize,
}

impl Budget {
    /// Nothing is used yet.
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Counts { used_bytes: AtomicUsize::new(0), max_bytes }))
    }

    /// Takes nothing yet; see [`Reserved::grow`].
    pub fn reserve(&self) -> Reserved {
        Reserved { counts: self.0.clone(), bytes: 0 }
    }

    /// How many bytes are taken.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Ordering::Relaxed)
    }
}

impl Reserved {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`ApiError::TooMuchPending`], and no more is taken.
    pub fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let Counts { used_bytes, max_bytes } = &*self.counts;
        // The count guards nothing but itself, so no ordering with other memory is needed.
        used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| sum <= max_bytes)
            })
            .map_err(|_| ApiError::TooMuchPending)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back `bytes` of those that were taken.
    ///
    /// # Panics
    /// If fewer were taken.
    pub fn shrink(&mut self, bytes: usize) {
        assert!(bytes <= self.bytes, "gives back {bytes} of {} bytes", self.bytes);
        self.bytes -= bytes;
        self.counts.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.counts.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_budget_is_refused_and_what_is_dropped_is_given_back() {
        let budget = Budget::new(10);
        let mut first = budget.reserve();
        assert_eq!(first.grow(6), Ok(()));
        let mut second = budget.reserve();
        assert_eq!(second.grow(5), Err(ApiError::TooMuchPending));
        assert_eq!(second.grow(4), Ok(()));
        assert_eq!(second.grow(usize::MAX), Err(ApiError::TooMuchPending));
        drop(first);
        assert_eq!(budget.used_bytes(), 4);
        second.shrink(1);
        assert_eq!(budget.used_bytes(), 3);
        drop(second);
        assert_eq!(budget.used_bytes(), 0);
    }
}
