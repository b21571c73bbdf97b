//! The thread that owns the [`Store`].
//!
//! Receives [`Changes`] from the broker and takes all that is queued as one batch, with one fsync
//! (group commit), then reports. Runs on a thread of its own, for an fsync blocks, perhaps for long:
//! nobody waits for it. Its queue has no bound of its own, so that [`Writer::send`] never blocks; it
//! is counted in [`Writer::held_bytes`], by which whoever sends holds its own senders back.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::disk_wait::DiskWait;
use super::record::Changes;
use super::store::{Store, StoreError};
use crate::watchdog::{Pulse, Watchdog};

/// A batch that has this many bytes takes no more changes: a disk of today writes it within some
/// 10 ms. A single change may be larger.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// What a row costs besides its content and its names.
const ROW_BYTES: usize = 64;

/// What the writer writes to: the [`Store`], or one of a test.
pub trait DurableStore: Send + 'static {
    /// Where the data is.
    fn dir(&self) -> &Path;
    /// The last sequence that was ever stored.
    fn head(&self) -> u64;
    /// See [`Store::write`].
    ///
    /// # Errors
    /// See there.
    fn write(&mut self, changes: &[Changes]) -> Result<(), StoreError>;
    /// See [`Store::set_next_worker`].
    ///
    /// # Errors
    /// See there.
    fn set_next_worker(&mut self, next: u64) -> Result<(), StoreError>;
    /// See [`Store::set_epoch`].
    ///
    /// # Errors
    /// See there.
    fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError>;
    /// See [`Store::note_time`].
    ///
    /// # Errors
    /// See there.
    fn note_time(&mut self) -> Result<(), StoreError>;
    /// See [`Store::close`].
    ///
    /// # Errors
    /// See there.
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

/// What became of what was sent.
#[derive(Debug)]
pub enum Report {
    /// Changes are as durable as the mode says.
    Stored {
        /// The highest sequence that is stored.
        up_to: u64,
    },
    /// The next worker id to give out after a start is on disk.
    NextWorker(u64),
    /// A new epoch has begun on disk.
    Epoch(u64),
    /// The time is on disk.
    TimeNoted,
    /// The store has failed. This is the last report; nothing more is taken, and the broker must end.
    Failed(StoreError),
}

/// How a [`Writer`] was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Everything is on disk, and the directory is marked as cleanly stopped.
    Completely,
    /// Its time was over. The directory is as after a crash.
    GivenUp {
        /// How many events had been sent and may not be stored.
        events: usize,
    },
}

/// The handle of the thread. Dropped without [`Writer::close`], the thread still stores what was
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
    /// Nobody waits for what is left.
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
    /// Starts the thread. `report` is called on it, and must not block for long.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        store: impl DurableStore,
        watchdog: &Watchdog,
        report: impl Fn(Report) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let dir = store.dir().to_owned();
        let (queue, commands) = mpsc::channel();
        let (shared, wait) = (Arc::<Shared>::default(), DiskWait::new());
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn({
                let (shared, wait) = (shared.clone(), wait.clone());
                let pulse = watchdog.watch("writer");
                move || run(store, &commands, &shared, &wait, &pulse, report)
            })
            .map_err(|error| StoreError::Io { dir: dir.clone(), cause: Arc::new(error) })?;
        Ok(Self { queue, thread, dir, shared, wait })
    }

    /// Hands over changes, in order, and never blocks. After a failure nothing is done with them.
    pub fn send(&self, changes: Changes) {
        self.shared.bytes.fetch_add(changes.held_bytes(), Ordering::Relaxed);
        self.shared.events.fetch_add(changes.events.len(), Ordering::Relaxed);
        self.command(Command::Store(changes));
    }

    /// How many bytes were handed over and are not reported as stored yet.
    pub fn held_bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// How long the thread has been waiting for the disk.
    pub fn wait(&self) -> &DiskWait {
        &self.wait
    }

    /// Stores the next worker id to give out after a start, after everything that was sent before,
    /// and reports it. Never blocks.
    pub fn set_next_worker(&self, next: u64) {
        self.command(Command::SetNextWorker(next));
    }

    /// Begins a new epoch, after everything that was sent before, and reports it. Never blocks.
    pub fn set_epoch(&self, epoch: u64) {
        self.command(Command::SetEpoch(epoch));
    }

    /// Notes on disk what time it is, and reports it. Never blocks.
    pub fn note_time(&self) {
        self.command(Command::NoteTime);
    }

    /// Stores everything that was sent before, and with `next_worker` the next worker id to give out;
    /// marks the directory as cleanly stopped, and ends the thread. What is not done within `limit` is
    /// given up: the thread ends as soon as the disk lets it.
    ///
    /// # Errors
    /// See [`StoreError`]. The same error is reported, if it is the first.
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
                // It has let go of the store already.
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
        // A thread that is gone has reported why.
        let _ = self.queue.send(command);
    }
}

fn run<S: DurableStore>(
    mut store: S,
    commands: &Receiver<Command>,
    shared: &Shared,
    wait: &DiskWait,
    pulse: &Pulse,
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
                let done = contained(&dir, wait, pulse, || store.write(&group));
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
                // Whoever asked may be gone.
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

/// All changes that are queued, up to the bound, and what came after them.
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
    let ids = changes.ids.iter().map(|id| id.key.len() + ROW_BYTES);
    events.sum::<usize>() + ids.sum::<usize>() + ROW_BYTES * changes.forgotten_ids.len()
}

/// Does what may wait for the disk. A panic on this thread must not leave a broker that waits for ever.
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
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use campanile_messages::{Audience, Content, Durability, InstanceId};

    use super::super::record::Record;
    use super::super::store::Recovered;
    use super::super::stuck_store::{Gate, StuckStore};
    use super::*;

    fn open(dir: &Path) -> (Store, Recovered) {
        Store::open(dir, Durability::Disk, || 7).unwrap()
    }

    fn event(sequence: u64, len: usize) -> Changes {
        let record = Record {
            sequence,
            at: Duration::ZERO,
            audience: Audience::Everyone,
            except: None,
            content: Content::Binary(vec![0; len].into()),
            publisher: InstanceId(1),
            number: sequence,
            gateways: 0,
            matched: 0,
        };
        Changes { events: vec![record], ..Changes::default() }
    }

    fn close(writer: Writer, next_worker: Option<u64>) -> Result<Closed, StoreError> {
        close_within(writer, next_worker, Duration::from_secs(20))
    }

    fn close_within(
        writer: Writer,
        next_worker: Option<u64>,
        limit: Duration,
    ) -> Result<Closed, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(writer.close(next_worker, limit))
    }

    fn start(store: impl DurableStore) -> (Writer, Receiver<Report>) {
        let (reports, reported) = mpsc::channel();
        let none = Watchdog::none();
        let writer =
            Writer::start(store, &none, move |report| reports.send(report).unwrap()).unwrap();
        (writer, reported)
    }

    #[test]
    fn everything_sent_is_reported_in_order_and_stored_when_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reported) = start(open(dir.path()).0);
        for sequence in 1..=500 {
            writer.send(event(sequence, 10));
        }
        writer.set_next_worker(3);
        close(writer, None).unwrap();
        let reports: Vec<u64> = reported
            .iter()
            .filter_map(|report| match report {
                Report::Stored { up_to } => Some(up_to),
                Report::NextWorker(3) => None,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(reports.is_sorted() && reports.last() == Some(&500), "{reports:?}");
        assert!(reports.len() < 250, "{} batches for 500 changes", reports.len());
        let (_, recovered) = open(dir.path());
        assert_eq!((recovered.events.len(), recovered.next_worker), (500, 3));
    }

    #[test]
    fn a_new_epoch_begins_after_everything_that_was_sent_before() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reported) = start(open(dir.path()).0);
        writer.send(event(1, 10));
        writer.set_epoch(9);
        writer.send(event(2, 10));
        assert_eq!(close(writer, Some(5)).unwrap(), Closed::Completely);
        let reports: Vec<Report> = reported.iter().collect();
        assert!(matches!(reports[1], Report::Epoch(9)), "{reports:?}");
        let (_, recovered) = open(dir.path());
        assert_eq!((recovered.epoch, recovered.head, recovered.next_worker), (9, 2, 5));
        assert_eq!(recovered.events, event(2, 10).events);
    }

    #[test]
    fn a_failure_is_reported_once_and_nothing_more_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reported) = start(open(dir.path()).0);
        writer.send(event(1, 10));
        assert!(matches!(reported.recv().unwrap(), Report::Stored { up_to: 1 }));
        writer.send(event(3, 10));
        writer.send(event(2, 10));
        let failed = reported.recv().unwrap();
        assert!(matches!(failed, Report::Failed(StoreError::OutOfSequence { .. })), "{failed:?}");
        // The thread is gone, and its end of the channel with it.
        reported.recv().unwrap_err();
        writer.send(event(2, 10));
        let stopped = close(writer, None).unwrap_err();
        assert!(matches!(stopped, StoreError::Stopped { .. }), "{stopped}");
        assert_eq!(open(dir.path()).1.events, event(1, 10).events);
    }

    #[test]
    fn without_a_close_it_ends_as_a_crash_does_with_everything_stored() {
        let dir = tempfile::tempdir().unwrap();
        let (Writer { queue, thread, .. }, reported) = start(open(dir.path()).0);
        queue.send(Command::Store(event(1, 10))).unwrap();
        drop(queue);
        thread.join().unwrap();
        assert!(matches!(reported.recv().unwrap(), Report::Stored { up_to: 1 }));
        let (_, recovered) = open(dir.path());
        assert_eq!((recovered.epoch, recovered.head), (7, 1));
    }

    #[test]
    fn what_is_held_counts_until_it_is_stored() {
        let gate = Gate::default();
        let (writer, reported) = start(StuckStore::new(&gate));
        gate.shut();
        let held_bytes: usize = (1..=9)
            .map(|sequence| {
                let changes = event(sequence, 1 << 20);
                let held_bytes = changes.held_bytes();
                writer.send(changes);
                held_bytes
            })
            .sum();
        assert!(held_bytes > 9 << 20);
        assert_eq!(writer.held_bytes(), held_bytes);
        gate.open();
        while !matches!(reported.recv().unwrap(), Report::Stored { up_to: 9 }) {}
        assert_eq!(writer.held_bytes(), 0);
    }

    #[test]
    fn a_stuck_disk_holds_up_a_close_for_its_limit_and_what_waits_is_given_up() {
        let gate = Gate::default();
        let (writer, reported) = start(StuckStore::new(&gate));
        gate.shut();
        writer.send(event(1, 10));
        while gate.calls().is_empty() {
            thread::yield_now();
        }
        writer.send(event(2, 10));
        writer.send(event(3, 10));
        assert!(writer.wait().look().under_way.is_some());
        let given_up = close_within(writer, None, Duration::from_millis(20));
        assert_eq!(given_up.unwrap(), Closed::GivenUp { events: 3 });
        gate.open();
        assert!(matches!(reported.recv().unwrap(), Report::Stored { up_to: 1 }));
        // The thread has ended without touching what was left.
        reported.recv().unwrap_err();
        assert_eq!(gate.calls(), ["write"]);
    }

    #[test]
    fn a_batch_is_bounded_in_bytes_and_ends_where_something_else_is_asked_for() {
        let (queue, commands) = mpsc::channel();
        for sequence in 2..=10 {
            queue.send(Command::Store(event(sequence, 3 << 20))).unwrap();
        }
        let (reply, _answer) = oneshot::channel();
        queue.send(Command::Close { next_worker: None, reply }).unwrap();
        let sizes: Vec<usize> = std::iter::from_fn(|| match commands.try_recv().ok()? {
            Command::Store(first) => {
                let (group, next) = gather(first, &commands);
                assert!(next.is_none() || matches!(next, Some(Command::Close { .. })));
                Some(group.len())
            }
            _ => None,
        })
        .collect();
        assert_eq!(sizes, [3, 3, 3]);
    }
}
