//! The thread that owns the [`Store`](super::store::Store).
//!
//! Receives [`Changes`] from the broker, writes everything that is queued as one batch with one fsync
//! (group commit), and then reports. Runs on a thread of its own, because an fsync may block for long.
//! Its queue has no bound, so that [`Writer::send`] never blocks. Instead, the broker holds its
//! publishers back by [`Writer::held_bytes`].

mod durable_store;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::config::BrokerConfig;
use super::disk_wait::DiskWait;
use super::meters::BrokerMeters;
use super::record::Changes;
use super::store::StoreError;
use crate::watchdog::Pulse;

pub use durable_store::DurableStore;

/// A batch of this size takes no more changes. A disk of today writes it in about 10 ms. A single change
/// may be larger.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// How many bytes a row takes in addition to its content and its names.
const ROW_BYTES: usize = 64;

/// What the thread has done.
#[derive(Debug)]
pub enum Report {
    /// Events up to this sequence are as durable as the mode says.
    Stored {
        up_to: u64,
    },
    /// The worker id from which the next broker counts is on disk.
    NextWorker(u64),
    /// A new epoch has begun on disk.
    Epoch(u64),
    TimeNoted,
    /// The store has failed. This is the last report: nothing more is written, and the broker must end.
    Failed(StoreError),
}

/// How a [`Writer`] was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Everything is on disk, and the directory is marked as cleanly stopped.
    Completely,
    /// There was not enough time. The directory is left as after a crash, and this many events that
    /// were sent may not be stored.
    GivenUp { events: usize },
}

/// The handle of the thread. If it is dropped without [`Writer::close`], the thread still stores what was
/// sent before, and leaves the directory as after a crash.
#[derive(Debug)]
pub struct Writer {
    queue: Sender<Command>,
    thread: JoinHandle<()>,
    dir: PathBuf,
    shared: Arc<Shared>,
    wait: DiskWait,
}

/// What was sent and is not stored yet.
#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    events: AtomicUsize,
    /// Whether nobody waits for what is left.
    is_abandoned: AtomicBool,
}

#[derive(Debug)]
enum Command {
    Store(Changes),
    SetNextWorker(u64),
    SetEpoch(u64),
    NoteTime,
    Close { next_worker: Option<u64>, reply: oneshot::Sender<Result<(), StoreError>> },
}

impl Writer {
    /// Starts the thread, which calls `report`. That must not block for long.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(
        store: impl DurableStore,
        config: &BrokerConfig,
        report: impl Fn(Report) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let dir = store.dir().to_owned();
        let (queue, commands) = mpsc::channel();
        let (shared, wait) = (Arc::<Shared>::default(), DiskWait::new());
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn({
                let (shared, wait) = (shared.clone(), wait.clone());
                let (pulse, meters) = (config.watchdog.watch("writer"), config.meters.clone());
                move || run(store, &commands, &shared, (&wait, &pulse, &meters), report)
            })
            .map_err(|error| StoreError::Io { dir: dir.clone(), cause: Arc::new(error) })?;
        Ok(Self { queue, thread, dir, shared, wait })
    }

    /// Hands over changes, in order. Never blocks. After a failure they are dropped.
    pub fn send(&self, changes: Changes) {
        self.shared.bytes.fetch_add(changes.held_bytes(), Ordering::Relaxed);
        self.shared.events.fetch_add(changes.events.len(), Ordering::Relaxed);
        self.command(Command::Store(changes));
    }

    /// How many bytes were handed over and are not stored yet.
    pub fn held_bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// How long the thread has been waiting for the disk.
    pub fn wait(&self) -> &DiskWait {
        &self.wait
    }

    /// Stores the worker id from which the next broker counts, after everything that was sent before, and
    /// reports it. Never blocks.
    pub fn set_next_worker(&self, next: u64) {
        self.command(Command::SetNextWorker(next));
    }

    /// Begins a new epoch, after everything that was sent before, and reports it. Never blocks.
    pub fn set_epoch(&self, epoch: u64) {
        self.command(Command::SetEpoch(epoch));
    }

    /// Notes the time on disk, and reports it. Never blocks.
    pub fn note_time(&self) {
        self.command(Command::NoteTime);
    }

    /// Stores everything that was sent before, and the worker id from which the next broker counts, if
    /// there is one. Then marks the directory as cleanly stopped and ends the thread. What is not done
    /// within `limit` is given up: the thread ends as soon as the disk lets it.
    ///
    /// # Errors
    /// See [`StoreError`]. If it is the first error, it is reported too.
    pub async fn close(
        self,
        next_worker: Option<u64>,
        limit: Duration,
    ) -> Result<Closed, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Close { next_worker, reply });
        let stopped = StoreError::Stopped { dir: self.dir };
        match timeout(limit, answer).await {
            Ok(Ok(closed)) => {
                // The thread has closed the store already.
                let ended = self.thread.join();
                closed.and(ended.map_err(|_| stopped)).map(|()| Closed::Completely)
            }
            Ok(Err(_)) => Err(stopped),
            Err(_) => {
                self.shared.is_abandoned.store(true, Ordering::Relaxed);
                let events = self.shared.events.load(Ordering::Relaxed);
                Ok(Closed::GivenUp { events })
            }
        }
    }

    fn command(&self, command: Command) {
        // If the thread is gone, it has reported why.
        let _ = self.queue.send(command);
    }
}

fn run<S: DurableStore>(
    mut store: S,
    commands: &Receiver<Command>,
    shared: &Shared,
    (wait, pulse, meters): (&DiskWait, &Pulse, &BrokerMeters),
    report: impl Fn(Report),
) {
    let dir = store.dir().to_owned();
    let mut waiting = None;
    let next = |waiting: &mut Option<Command>| {
        let _in_kernel = pulse.enter_kernel();
        waiting.take().or_else(|| commands.recv().ok())
    };
    while let Some(command) = next(&mut waiting) {
        pulse.beat();
        if shared.is_abandoned.load(Ordering::Relaxed) {
            return;
        }
        let done = match command {
            Command::Store(first) => {
                let group;
                (group, waiting) = gather(first, commands);
                let started = Instant::now();
                let done = contained(&dir, wait, pulse, || store.write(&group));
                meters.wrote(started.elapsed());
                let bytes = group.iter().map(Changes::held_bytes).sum();
                let events = group.iter().map(|changes| changes.events.len()).sum();
                drop(group);
                shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
                shared.events.fetch_sub(events, Ordering::Relaxed);
                done.map(|()| Report::Stored { up_to: store.head() })
            }
            Command::SetNextWorker(next) => {
                let done = contained(&dir, wait, pulse, || store.set_next_worker(next));
                done.map(|()| Report::NextWorker(next))
            }
            Command::SetEpoch(epoch) => {
                let done = contained(&dir, wait, pulse, || store.set_epoch(epoch));
                done.map(|()| Report::Epoch(epoch))
            }
            Command::NoteTime => {
                contained(&dir, wait, pulse, || store.note_time()).map(|()| Report::TimeNoted)
            }
            Command::Close { next_worker, reply } => {
                let done = contained(&dir, wait, pulse, || {
                    next_worker.map_or(Ok(()), |next| store.set_next_worker(next))?;
                    store.close()
                });
                if let Err(error) = &done {
                    report(Report::Failed(error.clone()));
                }
                // Nobody may wait for this any more.
                let _ = reply.send(done);
                return;
            }
        };
        match done {
            Ok(done) => report(done),
            Err(error) => return report(Report::Failed(error)),
        }
    }
}

/// All queued changes up to the bound, and the command that came after them.
fn gather(first: Changes, commands: &Receiver<Command>) -> (Vec<Changes>, Option<Command>) {
    let mut bytes = len_bytes(&first);
    let mut group = vec![first];
    while bytes < MAX_BATCH_BYTES {
        match commands.try_recv() {
            Ok(Command::Store(changes)) => {
                bytes += len_bytes(&changes);
                group.push(changes);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

fn len_bytes(changes: &Changes) -> usize {
    let events = changes.events.iter().map(|record| record.content.as_bytes().len() + ROW_BYTES);
    let ids = changes.ids.iter().map(|id| id.key.as_str().len() + ROW_BYTES);
    events.sum::<usize>() + ids.sum::<usize>() + ROW_BYTES * changes.forgotten_ids.len()
}

/// Runs something that may wait for the disk. If it panics, that is an error: otherwise the broker would
/// wait forever.
fn contained(
    dir: &Path,
    wait: &DiskWait,
    pulse: &Pulse,
    run: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let _in_kernel = pulse.enter_kernel();
    catch_unwind(AssertUnwindSafe(|| wait.during(run))).unwrap_or_else(|_| {
        let cause = Arc::new(io::Error::other("the store has panicked"));
        Err(StoreError::Io { dir: dir.to_owned(), cause })
    })
}

#[cfg(test)]
mod tests;
