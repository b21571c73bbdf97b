//! The thread that owns the [`Store`].
//!
//! Receives [`Changes`] from the broker and takes all that is queued as one batch, with one fsync
//! (group commit), then reports. Runs on a thread of its own, for an fsync blocks. Its queue has no
//! bound of its own, so that [`Writer::send`] never blocks: whoever sends bounds what was sent and
//! not yet reported as stored.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use super::record::Changes;
use super::store::{Store, StoreError};

/// A batch that has this many bytes takes no more changes: a disk of today writes it within some
/// 10 ms. A single change may be larger.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// What a row costs besides its content and its names.
const ROW_BYTES: usize = 64;

/// What became of what was sent.
#[derive(Debug)]
pub enum Report {
    /// It is as durable as the mode says.
    Stored {
        /// The highest sequence that is stored.
        up_to: u64,
    },
    /// The store has failed. This is the last report; nothing more is taken, and the broker must end.
    Failed(StoreError),
}

/// The handle of the thread. Dropped without [`Writer::close`], the thread still stores what was
/// sent before, and leaves the directory as after a crash.
#[derive(Debug)]
pub struct Writer {
    queue: Sender<Command>,
    thread: JoinHandle<()>,
    dir: PathBuf,
}

type Reply = Sender<Result<(), StoreError>>;

#[derive(Debug)]
enum Command {
    Store(Changes),
    SetNextWorker(u64, Reply),
    SetEpoch(u64, Reply),
    Close(Reply),
}

impl Writer {
    /// Starts the thread. `report` is called on it, and must not block for long.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        store: Store,
        report: impl Fn(Report) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let dir = store.dir().to_owned();
        let (queue, commands) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(store, &commands, report))
            .map_err(|error| StoreError::Io { dir: dir.clone(), cause: Arc::new(error) })?;
        Ok(Self { queue, thread, dir })
    }

    /// Hands over changes, in order, and never blocks. After a failure nothing is done with them.
    pub fn send(&self, changes: Changes) {
        // A thread that is gone has reported why.
        let _ = self.queue.send(Command::Store(changes));
    }

    /// Stores the next worker id to give out, after everything that was sent before. Blocks until
    /// it is on disk.
    ///
    /// # Errors
    /// See [`StoreError`]. The same error is reported, if it is the first.
    pub fn set_next_worker(&self, next: u64) -> Result<(), StoreError> {
        self.ask(|reply| Command::SetNextWorker(next, reply))
    }

    /// Begins a new epoch, after everything that was sent before. Blocks until it is on disk.
    ///
    /// # Errors
    /// See [`Writer::set_next_worker`].
    pub fn set_epoch(&self, epoch: u64) -> Result<(), StoreError> {
        self.ask(|reply| Command::SetEpoch(epoch, reply))
    }

    /// Stores everything that was sent before, marks the directory as cleanly stopped, and ends the
    /// thread. Blocks.
    ///
    /// # Errors
    /// See [`Writer::set_next_worker`].
    pub fn close(self) -> Result<(), StoreError> {
        let closed = self.ask(Command::Close);
        drop(self.queue);
        let ended = self.thread.join();
        closed.and(ended.map_err(|_| StoreError::Stopped { dir: self.dir }))
    }

    fn ask(&self, command: impl FnOnce(Reply) -> Command) -> Result<(), StoreError> {
        let (reply, answer) = mpsc::channel();
        let stopped = || StoreError::Stopped { dir: self.dir.clone() };
        self.queue.send(command(reply)).map_err(|_| stopped())?;
        answer.recv().unwrap_or_else(|_| Err(stopped()))
    }
}

fn run(mut store: Store, commands: &Receiver<Command>, report: impl Fn(Report)) {
    let dir = store.dir().to_owned();
    let mut waiting = None;
    while let Some(command) = waiting.take().or_else(|| commands.recv().ok()) {
        let (done, reply) = match command {
            Command::Store(first) => {
                let group;
                (group, waiting) = gather(first, commands);
                let done = contained(&dir, || store.write(&group));
                if done.is_ok() {
                    report(Report::Stored { up_to: store.head() });
                }
                (done, None)
            }
            Command::SetNextWorker(next, reply) => {
                (contained(&dir, || store.set_next_worker(next)), Some(reply))
            }
            Command::SetEpoch(epoch, reply) => {
                (contained(&dir, || store.set_epoch(epoch)), Some(reply))
            }
            Command::Close(reply) => {
                let done = contained(&dir, || store.close());
                if let Err(error) = &done {
                    report(Report::Failed(error.clone()));
                }
                let _ = reply.send(done);
                return;
            }
        };
        let failed = done.is_err();
        if let Err(error) = &done {
            report(Report::Failed(error.clone()));
        }
        if let Some(reply) = reply {
            // Whoever asked may be gone.
            let _ = reply.send(done);
        }
        if failed {
            return;
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

/// A panic on this thread must not leave a broker that waits for ever.
fn contained(dir: &Path, run: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
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

    fn start(store: Store) -> (Writer, Receiver<Report>) {
        let (reports, reported) = mpsc::channel();
        let writer = Writer::start(store, move |report| reports.send(report).unwrap()).unwrap();
        (writer, reported)
    }

    #[test]
    fn everything_sent_is_reported_in_order_and_stored_when_it_closes() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reported) = start(open(dir.path()).0);
        for sequence in 1..=500 {
            writer.send(event(sequence, 10));
        }
        writer.set_next_worker(3).unwrap();
        writer.close().unwrap();
        let reports: Vec<u64> = reported
            .iter()
            .map(|report| match report {
                Report::Stored { up_to } => up_to,
                Report::Failed(error) => panic!("{error}"),
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
        let (writer, _reported) = start(open(dir.path()).0);
        writer.send(event(1, 10));
        writer.set_epoch(9).unwrap();
        writer.send(event(2, 10));
        writer.close().unwrap();
        let (_, recovered) = open(dir.path());
        assert_eq!((recovered.epoch, recovered.head), (9, 2));
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
        let stopped = writer.set_next_worker(1).unwrap_err();
        assert!(matches!(stopped, StoreError::Stopped { .. }), "{stopped}");
        let stopped = writer.set_epoch(1).unwrap_err();
        assert!(matches!(stopped, StoreError::Stopped { .. }), "{stopped}");
        let stopped = writer.close().unwrap_err();
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
    fn a_batch_is_bounded_in_bytes_and_ends_where_something_else_is_asked_for() {
        let (queue, commands) = mpsc::channel();
        for sequence in 2..=10 {
            queue.send(Command::Store(event(sequence, 3 << 20))).unwrap();
        }
        let (reply, _answer) = mpsc::channel();
        queue.send(Command::Close(reply)).unwrap();
        let sizes: Vec<usize> = std::iter::from_fn(|| match commands.try_recv().ok()? {
            Command::Store(first) => {
                let (group, next) = gather(first, &commands);
                assert!(next.is_none() || matches!(next, Some(Command::Close(_))));
                Some(group.len())
            }
            _ => None,
        })
        .collect();
        assert_eq!(sizes, [3, 3, 3]);
    }
}
