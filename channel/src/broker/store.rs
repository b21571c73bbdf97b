//! The broker's durable store: what the log, the idempotency keys and the worker counter need to
//! survive the process.
//!
//! ```text
//! Exchange ─Changes─▶ Writer (a thread) ─▶ Store ─▶ batch (pure) ─▶ engine (fjall) ─▶ mark
//! ```
//!
//! Everything of one group of changes is one atomic batch, and with it the state: epoch, head, worker
//! counter, and a number for the change. Nothing is read after the start.
//!
//! # What is checked at the start
//! In this order, and nothing is cut before the rest was found whole: the directory is ours and free
//! (`directory`); the journals continue each other (`journal`); the trees are whole (`trees`); the
//! journals reach what was acknowledged (`mark`); the engine opens, and ends where its journals do;
//! every event from the oldest to the head is there. An end of the journal that is no whole batch, and
//! was not acknowledged, is what a crash has torn off: it is cut. Everything else is a [`StoreError`],
//! never fewer events and never a new epoch.
//!
//! What is whole may still not be what the last broker left, or not all of it (`continuity`): a copy
//! of the directory that was put back, or a log that only memory or a kernel that has ended knew. Then
//! a new epoch begins, which is said in the log. A copy is told by its marker, which is another file
//! than the one that the state names; a renamed directory goes on. Not told are a disk, a volume or a
//! snapshot that was put back as a whole, and files that were written back into the directory's own:
//! whoever does that removes the directory first.
//!
//! # Why fjall
//! Its journal is one sequential write and one fsync a batch, and what it has written survives the
//! process without an fsync, which is all that `--durability written` asks for; redb 4, the other
//! candidate, has commits that are fsynced and commits that only the process knows. In speed they are
//! equal, as parts of a bare append and fdatasync of the same bytes on the same disk, with a window of
//! 50,000 events that are trimmed again: with 1 event a batch 1.0 (redb 0.9), with 64 events 0.4 to 0.7
//! (0.5 to 0.7), with 1,000 events 0.16 to 0.20 (0.15 to 0.20), both then bound by the processor.
//! 10 million events of 100 bytes in such a window never took more than 160 MiB of disk, most of it
//! journals, and 40 MB of memory; a million events of 64 bytes are read back in 1.1 s.
//!
//! What it does not do by itself is done around it: its memtables are sealed by `engine`, for its own
//! requests can fill the queue of its background thread, which then waits for itself and never writes
//! again; trimmed events leave by whole tables (`sweeper`), for as tombstones they kept ten times the
//! window on disk; and `journal` and `trees` check what it takes on trust.

mod batch;
mod continuity;
mod directory;
mod engine;
mod error;
mod journal;
mod mark;
mod opening;
mod panics;
mod rows;
mod sweeper;
mod trees;

use std::io;
use std::path::Path;

use campanile_messages::{Audience, Durability};
use fjall::PersistMode;
use tracing::warn;

use super::clock::{self, Clock, ClockReading, Kernel};
use super::record::{Changes, KnownId, Record};

use batch::Edit;
use directory::Directory;
use engine::Engine;
pub use error::StoreError;
use journal::Unreadable;
use mark::{Mark, MarkFile};
use rows::{Place, Run, STATE_KEY, State};

/// What was found at the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The epoch of the events: a new one where continuity could not be proven.
    pub epoch: u64,
    /// The last sequence that was ever stored, 0 if none; the next event is one after it.
    pub head: u64,
    /// The next worker id to give out.
    pub next_worker: u64,
    /// The events of the epoch that are kept, without a gap up to the head.
    pub events: Vec<Record>,
    /// The idempotency keys of the epoch, in no particular order.
    pub ids: Vec<KnownId>,
    /// The trimmed table, in no particular order.
    pub trimmed: Vec<(Audience, u64)>,
    /// Cursors below it are expired.
    pub floor: u64,
    /// How many bytes a crash has torn off the end; none of them was acknowledged.
    pub torn_bytes: u64,
}

/// An open data directory. Dropped without [`Store::close`] it is as after a crash of the process.
pub struct Store {
    engine: Engine,
    mark: MarkFile,
    state: State,
    clock: Clock,
    failed: bool,
    // The last to go: it holds the lock.
    directory: Directory,
}

impl Store {
    /// Opens a data directory, or makes a new one; from here on it is marked as not cleanly stopped.
    /// `random` is asked for a new epoch where one is needed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        dir: &Path,
        durability: Durability,
        random: impl FnMut() -> u64,
    ) -> Result<(Self, Recovered), StoreError> {
        Self::open_in(dir, durability, opening::boot(), Directory::place, random)
    }

    /// [`Store::open`] in a given start of the host's kernel, with a given way to tell copies.
    fn open_in(
        dir: &Path,
        durability: Durability,
        boot: Option<u128>,
        place: impl FnOnce(&Directory) -> io::Result<Place>,
        mut random: impl FnMut() -> u64,
    ) -> Result<(Self, Recovered), StoreError> {
        let directory = Directory::take(dir)?;
        let io = |error| StoreError::io(dir, error);
        let place = place(&directory).map_err(io)?;
        let run = Run { durability, boot, place, clean: false };
        let mark = MarkFile::read(&directory.mark()).map_err(io)?;
        if !directory.store().try_exists().map_err(io)? {
            if mark.is_some() {
                return Err(StoreError::damaged(dir, "its folder store is missing"));
            }
            opening::make(&directory, random(), run.clone())?;
        }
        let journals = journal::inspect(&directory.store()).map_err(|error| match error {
            Unreadable::Io(error) => StoreError::io(dir, error),
            Unreadable::Damaged(what) => StoreError::damaged(dir, what),
        })?;
        trees::check(dir, &directory.store())?;
        let torn_bytes = opening::cut_torn_end(dir, &journals, mark, boot)?;
        let mut engine = Engine::open(dir, &directory.store(), journals.len_bytes)?;
        let mut state = opening::read_state(&engine, dir)?;
        let acknowledged = mark.map_or(0, |mark| mark.acknowledged(boot));
        if journals.last_change.is_some_and(|last| state.changes != last) {
            return Err(StoreError::damaged(dir, "its tables and its journals do not fit"));
        }
        if state.changes < acknowledged {
            let dir = dir.to_owned();
            return Err(StoreError::Lost { dir, found: state.changes, acknowledged });
        }
        if mark.is_none() && state.changes > 1 {
            warn!(dir = %dir.display(), "the data directory has no valid mark, it is made anew");
        }
        let mut recovered = opening::read(&engine, dir, &state)?;
        recovered.torn_bytes = torn_bytes;
        let kernel = Kernel { boot, uptime: clock::uptime() };
        let clock = Clock::starting_at(opening::time(&state, &recovered, kernel));
        let mut edits = Vec::new();
        if let Some(broken) = continuity::broken(&state.run, &run) {
            warn!(
                dir = %dir.display(),
                forgotten = recovered.events.len(),
                "nothing proves that the log of the last broker is complete: {}; its events and \
                 idempotency keys are forgotten and a new epoch begins",
                broken.sentence()
            );
            let epoch = opening::another(state.epoch, random);
            (edits, state) = renewal(&engine, &state, epoch)?;
            recovered = Recovered {
                epoch,
                events: Vec::new(),
                ids: Vec::new(),
                trimmed: Vec::new(),
                floor: state.floor,
                ..recovered
            };
        }
        state.run = run;
        state.changes += 1;
        state.seen = Some(ClockReading::now(clock));
        edits.push(Edit::Put(STATE_KEY.to_vec(), rows::state_value(&state)));
        engine.commit(edits, Some(PersistMode::SyncAll))?;
        let mark = Mark { synced: state.changes, written: state.changes, boot };
        let mark = MarkFile::start(&directory.mark(), mark).map_err(io)?;
        directory.sync().map_err(io)?;
        Ok((Self { engine, mark, state, clock, failed: false, directory }, recovered))
    }

    /// Where the data is.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The broker's clock, which goes on where that of the last broker stood, as far as the time in
    /// between can be proven.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The last sequence that was ever stored.
    pub fn head(&self) -> u64 {
        self.state.head
    }

    /// Stores a group of changes, in its order and all or nothing, as durable as the mode says.
    ///
    /// # Errors
    /// See [`StoreError`]. Nothing is taken after one; what was given may be there after the next
    /// start or not, as after a crash.
    pub fn write(&mut self, changes: &[Changes]) -> Result<(), StoreError> {
        let (edits, state) =
            batch::edits(&self.state, changes).map_err(|wrong| StoreError::OutOfSequence {
                dir: self.dir().to_owned(),
                expected: wrong.expected,
                found: wrong.found,
            })?;
        if edits.is_empty() && state == self.state {
            return Ok(());
        }
        self.commit(edits, state, self.persist())
    }

    /// Notes what time it is, as durable as the mode says: every write does that, so this is for when
    /// there is none, and somebody remembers something.
    ///
    /// # Errors
    /// See [`Store::write`].
    pub fn note_time(&mut self) -> Result<(), StoreError> {
        self.commit(Vec::new(), self.state.clone(), self.persist())
    }

    /// Stores the next worker id to give out; on disk in every mode, and with it all before.
    ///
    /// # Errors
    /// See [`Store::write`].
    pub fn set_next_worker(&mut self, next: u64) -> Result<(), StoreError> {
        let state = State { next_worker: next, ..self.state.clone() };
        self.commit(Vec::new(), state, Some(PersistMode::SyncData))
    }

    /// Begins a new epoch: forgets all events, the idempotency keys, the trimmed table and the floor,
    /// and goes on counting sequences and worker ids. A key goes with its event: what it would answer is
    /// a position in the log that is gone. On disk in every mode, all or nothing.
    ///
    /// # Errors
    /// See [`Store::write`].
    pub fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError> {
        let (edits, state) = renewal(&self.engine, &self.state, epoch)?;
        self.commit(edits, state, Some(PersistMode::SyncData))
    }

    /// Puts everything on disk and marks the directory as cleanly stopped.
    ///
    /// # Errors
    /// See [`Store::write`]; the directory is then as after a crash.
    pub fn close(mut self) -> Result<(), StoreError> {
        let run = Run { clean: true, ..self.state.run.clone() };
        let state = State { run, ..self.state.clone() };
        self.commit(Vec::new(), state, Some(PersistMode::SyncAll))
    }

    fn persist(&self) -> Option<PersistMode> {
        match self.state.run.durability {
            Durability::Disk => Some(PersistMode::SyncData),
            Durability::Written => Some(PersistMode::Buffer),
            Durability::Memory => None,
        }
    }

    fn commit(
        &mut self,
        mut edits: Vec<Edit>,
        mut state: State,
        persist: Option<PersistMode>,
    ) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Stopped { dir: self.dir().to_owned() });
        }
        self.failed = true;
        // Before and not after: where this fails, nothing was stored.
        self.engine.tidy(rows::dead_event_keys(self.state.first))?;
        state.changes += 1;
        state.seen = Some(ClockReading::now(self.clock));
        edits.push(Edit::Put(STATE_KEY.to_vec(), rows::state_value(&state)));
        self.engine.commit(edits, persist)?;
        if let Some(mode) = persist {
            let synced = mode != PersistMode::Buffer;
            let noted = self.mark.note(state.changes, synced);
            noted.map_err(|error| StoreError::io(self.dir(), error))?;
        }
        self.state = state;
        self.failed = false;
        Ok(())
    }
}

fn renewal(engine: &Engine, state: &State, epoch: u64) -> Result<(Vec<Edit>, State), StoreError> {
    let mut forgotten = Vec::new();
    for keys in [rows::id_keys(), rows::trimmed_keys()] {
        engine.each_row(keys, |key, _| {
            forgotten.push(key.to_vec());
            Ok(())
        })?;
    }
    Ok(batch::renewal(state, epoch, forgotten))
}

#[cfg(test)]
mod tests;
