//! Drops tables of the engine whose rows are never read again.
//!
//! Runs on a thread of its own, because dropping waits for the merge that is under way. Receives ranges
//! from the engine. A range that comes while another one waits is ignored, because a later range will
//! include it.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use fjall::{AbstractTree, Keyspace};
use tracing::warn;

use super::panics::contained;

/// A first key and an excluded end.
type Range = (Vec<u8>, Vec<u8>);

/// The handle of the thread, which ends when this is dropped.
pub struct Sweeper {
    ranges: Option<SyncSender<Range>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(rows: Keyspace) -> io::Result<Self> {
        let (ranges, received) = sync_channel::<Range>(1);
        let sweep = move || {
            for (from, to) in received {
                // A failure only costs space. If it has a deeper cause, the next write fails too.
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

    /// Drops the tables all of whose rows are in a range, at some later time.
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
            // The thread never panics.
            let _ = thread.join();
        }
    }
}
