//! The broker's durable store: what the log, the idempotency keys and the worker counter need to
//! survive the process.
//!
//! ```text
//! Exchange ─Changes─▶ Writer (a thread) ─▶ Store ─▶ batch (pure) ─▶ engine (fjall) ─▶ mark
//! ```
//!
//! A group of changes is one atomic batch, together with the state: epoch, head, worker counter, and a
//! number for the change. Nothing is read after the start.
//!
//! # What is checked at the start
//! These checks are made in this order, and nothing is cut off before all others have passed: the
//! directory is ours and not in use (`directory`); the journals continue each other (`journal`); the
//! trees are whole (`trees`); the id of the log is one (`log_id`); the journals contain everything that was acknowledged (`mark`); the engine
//! opens, and ends where its journals end; every event from the oldest to the head is there. An
//! incomplete batch at the end of the journal that was not acknowledged is the trace of a crash and is
//! cut off. Everything else is a [`StoreError`]: the broker never continues with fewer events or a new
//! epoch instead.
//!
//! A directory that passes may still not be the one that the last broker left, or not all of it
//! (`continuity`): it may be a copy that was restored, or parts of its log may only have been in memory,
//! or in a kernel that was restarted. Then a new epoch begins, which is logged. A copy is recognised by
//! its marker, which is not the file that the state names. A renamed directory is not a copy. A disk, a
//! volume or a snapshot that was restored as a whole is not detected, nor are files that were copied
//! back into the original directory: the directory has to be removed first.
//!
//! # Why fjall
//! For each batch it makes one sequential write and one fsync to its journal. What it has written
//! survives the process even without an fsync, which is all that `--durability written` promises. The
//! other candidate, redb 4, has commits with an fsync and commits that are lost with the process. Both
//! are equally fast. Relative to a bare append and fdatasync of the same bytes on the same disk, with a
//! window of 50,000 events that are trimmed again, the rates were 1.0 (redb 0.9) with 1 event per batch,
//! 0.4 to 0.7 (0.5 to 0.7) with 64 events, and 0.16 to 0.20 (0.15 to 0.20) with 1,000 events, where both
//! are limited by the CPU. 10 million events of 100 bytes in such a window never took more than 160 MiB
//! of disk, most of it journals, and 40 MB of memory. A million events of 64 bytes are read back in
//! 1.1 s.
//!
//! Three things are done around it. `engine` seals its memtables, because its own requests can fill the
//! queue of its background thread, which then waits for itself and never writes again. `sweeper` drops
//! trimmed events as whole tables, because as tombstones they kept ten times the window on disk. And
//! `journal` and `trees` check what the engine does not check.

mod batch;
mod continuity;
mod directory;
mod engine;
mod error;
mod journal;
mod log_id;
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
use continuity::Broken;
use directory::Directory;
use engine::Engine;
pub use error::StoreError;
use journal::Unreadable;
use mark::{MarkFile, StoreMark};
use rows::{DirectoryIdentity, Run, STATE_KEY, StoreState};

/// What was found at the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The epoch of the events: a new one where continuity could not be proven.
    pub epoch: u64,
    /// The last sequence that was ever stored, or 0. The next event has the one after it.
    pub head: u64,
    /// The next worker id to give out.
    pub next_worker: u64,
    /// The events of the epoch that are kept, without a gap, up to the head.
    pub events: Vec<Record>,
    /// The idempotency keys of the epoch, in no particular order.
    pub ids: Vec<KnownId>,
    /// The last dropped sequence of each audience, in no particular order.
    pub trimmed: Vec<(Audience, u64)>,
    /// All cursors below this sequence are expired.
    pub floor: u64,
    /// How many bytes of an unfinished write were cut off. None of them was acknowledged.
    pub torn_bytes: u64,
}

/// An open data directory. If it is dropped without [`Store::close`], it is as after a crash of the
/// process.
pub struct Store {
    engine: Engine,
    mark: MarkFile,
    state: StoreState,
    clock: Clock,
    log_id: u64,
    failed: bool,
    // Dropped last, because it holds the lock.
    directory: Directory,
}

impl Store {
    /// Opens a data directory, or makes a new one. From then on it is marked as not cleanly stopped.
    /// `random` makes a new epoch if one is needed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(
        dir: &Path,
        durability: Durability,
        random: impl FnMut() -> u64,
    ) -> Result<(Self, Recovered), StoreError> {
        Self::open_in(dir, durability, opening::boot(), Directory::identity, random)
    }

    /// Like [`Store::open`], in a given boot of the host, and with a given way to recognise copies.
    fn open_in(
        dir: &Path,
        durability: Durability,
        boot: Option<u128>,
        identify: impl FnOnce(&Directory) -> io::Result<DirectoryIdentity>,
        mut random: impl FnMut() -> u64,
    ) -> Result<(Self, Recovered), StoreError> {
        let directory = Directory::take(dir)?;
        let io = |error| StoreError::io(dir, error);
        let identity = identify(&directory).map_err(io)?;
        let run = Run { durability, boot, directory: identity, clean: false };
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
        let kept_id = log_id::find(dir)?;
        let torn_bytes = opening::cut_torn_end(dir, &journals, mark, boot)?;
        let mut engine = Engine::open(dir, &directory.store(), journals.len_bytes)?;
        let mut state = opening::read_state(&engine, dir)?;
        let acknowledged = mark.map_or(0, |mark| mark.acknowledged(boot));
        if journals.last_change.is_some_and(|last| state.changes != last) {
            return Err(StoreError::damaged(dir, "its tables and its journals do not match"));
        }
        if state.changes < acknowledged {
            let dir = dir.to_owned();
            return Err(StoreError::Lost { dir, found: state.changes, acknowledged });
        }
        if mark.is_none() && state.changes > 1 {
            warn!(dir = %dir.display(), "the data directory has no valid mark: a new one is made");
        }
        let mut recovered = opening::read(&engine, dir, &state)?;
        recovered.torn_bytes = torn_bytes;
        let kernel = Kernel { boot, uptime: clock::uptime() };
        let clock = Clock::starting_at(opening::time(&state, &recovered, kernel));
        let mut edits = Vec::new();
        let broken = continuity::broken(&state.run, &run);
        // The original of a copy may be in use, so the copy is another log from now on.
        let kept_id = kept_id.filter(|_| broken != Some(Broken::Copied));
        let log_id = kept_id.map_or_else(|| log_id::renew(dir), Ok).map_err(io)?;
        if let Some(broken) = broken {
            warn!(
                dir = %dir.display(),
                forgotten = recovered.events.len(),
                "it cannot be proven that the log of the last broker is complete: {}; its events and \
                 idempotency keys are forgotten, and a new epoch begins",
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
        let mark = StoreMark { synced: state.changes, written: state.changes, boot };
        let mark = MarkFile::start(&directory.mark(), mark).map_err(io)?;
        directory.sync().map_err(io)?;
        let store = Self { engine, mark, state, clock, log_id, failed: false, directory };
        Ok((store, recovered))
    }

    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// The broker's clock. It continues that of the last broker, and has advanced in between as far as
    /// that can be proven.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The random id of the log, which no other directory has.
    pub fn log_id(&self) -> u64 {
        self.log_id
    }

    /// The last sequence that was ever stored.
    pub fn head(&self) -> u64 {
        self.state.head
    }

    /// Stores a group of changes, in order and as a whole, as durable as the mode says.
    ///
    /// # Errors
    /// See [`StoreError`]. After an error nothing more is stored. As after a crash, these changes may or
    /// may not be there at the next start.
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
        if changes.iter().any(Changes::are_of_clients) && !self.failed {
            // An earlier release must not take what follows for damage.
            self.failed = true;
            self.directory.allow_clients()?;
            self.failed = false;
        }
        self.commit(edits, state, self.persist())
    }

    /// Notes the time, as durable as the mode says. Every write does that too, so this is for times
    /// without writes.
    ///
    /// # Errors
    /// See [`Store::write`].
    pub fn note_time(&mut self) -> Result<(), StoreError> {
        self.commit(Vec::new(), self.state.clone(), self.persist())
    }

    /// Stores the worker id from which the next broker counts. It is on disk in every mode, and so is
    /// everything that was stored before.
    ///
    /// # Errors
    /// See [`Store::write`].
    pub fn set_next_worker(&mut self, next: u64) -> Result<(), StoreError> {
        let state = StoreState { next_worker: next, ..self.state.clone() };
        self.commit(Vec::new(), state, Some(PersistMode::SyncData))
    }

    /// Begins a new epoch: forgets events, idempotency keys, dropped sequences and the floor, and
    /// continues to count sequences and worker ids. Keys are forgotten because they stand for positions
    /// that no longer exist. It is on disk in every mode, as a whole or not at all.
    ///
    /// # Errors
    /// See [`Store::write`].
    pub fn set_epoch(&mut self, epoch: u64) -> Result<(), StoreError> {
        let (edits, state) = renewal(&self.engine, &self.state, epoch)?;
        self.commit(edits, state, Some(PersistMode::SyncData))
    }

    /// Writes everything to disk and marks the directory as cleanly stopped.
    ///
    /// # Errors
    /// See [`Store::write`]. The directory is then left as after a crash.
    pub fn close(mut self) -> Result<(), StoreError> {
        let run = Run { clean: true, ..self.state.run.clone() };
        let state = StoreState { run, ..self.state.clone() };
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
        mut state: StoreState,
        persist: Option<PersistMode>,
    ) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Stopped { dir: self.dir().to_owned() });
        }
        self.failed = true;
        // This comes first, because if it fails nothing has been stored.
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

fn renewal(
    engine: &Engine,
    state: &StoreState,
    epoch: u64,
) -> Result<(Vec<Edit>, StoreState), StoreError> {
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
