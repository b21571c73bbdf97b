//! Drops the engine's tables whose rows nobody reads any more.
//!
//! Runs on a thread of its own, because dropping waits for the merge that is going on. Receives ranges
//! from the engine's owner; one that comes while another waits is left out, for a later one includes
//! it.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use fjall::{AbstractTree, Keyspace};
use tracing::warn;

use super::panics::contained;

/// From a key to before another.
type Range = (Vec<u8>, Vec<u8>);

/// The handle of the thread, which ends with it.
pub struct Sweeper {
    ranges: Option<SyncSender<Range>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start(rows: Keyspace) -> io::Result<Self> {
        let (ranges, received) = sync_channel::<Range>(1);
        let sweep = move || {
            for (from, to) in received {
                // A failure costs space; whatever is behind it fails the next write as well.
                match contained(|| rows.tree.drop_range(from..to)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => warn!(%error, "cannot drop what the log no longer keeps"),
                    Err(panic) => warn!(panic, "cannot drop what the log no longer keeps"),
                }
            }
        };
        let thread = thread::Builder::new().name("store sweeper".to_owned()).spawn(sweep)?;
        Ok(Self { ranges: Some(ranges), thread: Some(thread) })
    }

    /// Has the tables dropped whose rows are all in a range, some time.
    pub fn sweep(&self, range: Range) {
        if let Some(ranges) = &self.ranges {
            let _ = ranges.try_send(range);
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.ranges = None;
        if let Some(thread) = self.thread.take() {
            // It catches every panic.
            let _ = thread.join();
        }
    }
}
