//! What the writer writes to: the [`Store`], or a stand-in for it in tests.

use std::path::Path;

use crate::broker::record::Changes;
use crate::broker::store::{Store, StoreError};

/// The methods of [`Store`] that the writer needs.
pub trait DurableStore: Send + 'static {
    fn dir(&self) -> &Path;
    fn head(&self) -> u64;
    fn write(&mut self, changes: &[Changes]) -> Result<(), StoreError>;
    fn set_next_worker(&mut self, next: u64) -> Result<(), StoreError>;
    fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError>;
    fn note_time(&mut self) -> Result<(), StoreError>;
    fn close(self) -> Result<(), StoreError>;
}

impl DurableStore for Store {
    fn dir(&self) -> &Path {
        self.dir()
    }

    fn head(&self) -> u64 {
        self.head()
    }

    fn write(&mut self, changes: &[Changes]) -> Result<(), StoreError> {
        self.write(changes)
    }

    fn set_next_worker(&mut self, next: u64) -> Result<(), StoreError> {
        self.set_next_worker(next)
    }

    fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError> {
        self.set_epoch(epoch)
    }

    fn note_time(&mut self) -> Result<(), StoreError> {
        self.note_time()
    }

    fn close(self) -> Result<(), StoreError> {
        self.close()
    }
}
