//! The embedded store: fjall, as narrow as the rest needs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, UserKey, UserValue,
};

use super::StoreError;
use super::batch::Edit;
use super::panics::contained;
use super::sweeper::Sweeper;

/// One keyspace for all rows: the engine recovers each keyspace by itself, and a batch is whole or
/// not there at all only within one.
const KEYSPACE: &str = "rows";

/// What is written to memory before it becomes a table on disk, and what an edit costs there besides
/// its bytes. Tests are to have tables too.
const MEMTABLE_BYTES: usize = if cfg!(test) { 16 << 10 } else { 8 << 20 };
const EDIT_BYTES: usize = 64;

/// How large a table becomes. Small, so that the space of trimmed events comes back soon.
const TABLE_BYTES: u64 = MEMTABLE_BYTES as u64;

/// The least that the engine takes.
const JOURNALS_BYTES: u64 = 64 << 20;

/// Rows are read once, at the start.
const CACHE_BYTES: u64 = 1 << 20;

/// More sealed memtables than this, and the next batch waits; a batch seals one at most. The engine
/// itself waits at 4, for ever where its background thread is dead.
const MAX_SEALED: usize = 1;

/// More tables that were not merged than this, and the next batch waits. The engine waits at 30.
const MAX_UNMERGED: usize = 20;

/// How long a batch waits: a disk that has not written 8 MiB by then does not work.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How often it looks.
const STALL_PAUSE: Duration = Duration::from_millis(1);

/// An open engine. When it is dropped it hands what it has to the system and ends its threads.
pub struct Engine {
    dir: PathBuf,
    sweeper: Sweeper,
    rows: Keyspace,
    database: Database,
    memtable_bytes: usize,
}

impl Engine {
    /// Opens an engine's directory, or makes a new one. `dir` is the data directory, for errors;
    /// `journal_bytes` are those that the journals put back into memory, at most.
    ///
    /// # Errors
    /// See [`StoreError`]; also where the engine panics, as it does on some damage.
    pub fn open(dir: &Path, store: &Path, journal_bytes: usize) -> Result<Self, StoreError> {
        let open = || -> fjall::Result<Self> {
            let database = Database::builder(store)
                .manual_journal_persist(true)
                .journal_compression(CompressionType::None)
                .max_journaling_size(JOURNALS_BYTES)
                .cache_size(CACHE_BYTES)
                .worker_threads(1)
                .open()?;
            let rows = database.keyspace(KEYSPACE, || {
                KeyspaceCreateOptions::default()
                    // Sealed by `tidy` instead: asked for by every batch past a bound, it can
                    // fill the queue of the background thread, which then waits for itself.
                    .max_memtable_size(u64::MAX)
                    .data_block_compression_policy(CompressionPolicy::disabled())
                    .compaction_strategy(Arc::new(
                        Leveled::default().with_table_target_size(TABLE_BYTES),
                    ))
            })?;
            let sweeper = Sweeper::start(rows.clone())?;
            Ok(Self { dir: dir.to_owned(), sweeper, rows, database, memtable_bytes: journal_bytes })
        };
        let opened = contained(open).map_err(|panic| StoreError::damaged(dir, panic))?;
        opened.map_err(|error| StoreError::opening(dir, error))
    }

    /// One row, read at the start.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn row(&self, key: &[u8]) -> Result<Option<UserValue>, StoreError> {
        let row = contained(|| self.rows.get(key));
        let row = row.map_err(|panic| StoreError::damaged(&self.dir, panic))?;
        row.map_err(|error| StoreError::opening(&self.dir, error))
    }

    /// The rows from a key to before another, read at the start and passed on one by one.
    ///
    /// # Errors
    /// See [`StoreError`]; the first that there is, or that `take` answers.
    pub fn each_row(
        &self,
        (from, to): (Vec<u8>, Vec<u8>),
        mut take: impl FnMut(UserKey, UserValue) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let read = || {
            for row in self.rows.range(from..to) {
                let row = row.into_inner();
                let (key, value) = row.map_err(|error| StoreError::opening(&self.dir, error))?;
                take(key, value)?;
            }
            Ok(())
        };
        contained(read).map_err(|panic| StoreError::damaged(&self.dir, panic))?
    }

    /// Makes all edits or none, and then as durable as asked, with everything before. `None` leaves
    /// them in memory.
    ///
    /// # Errors
    /// See [`StoreError`]; what was edited may be there or not, as after a crash.
    pub fn commit(
        &mut self,
        edits: Vec<Edit>,
        persist: Option<PersistMode>,
    ) -> Result<(), StoreError> {
        self.memtable_bytes +=
            edits.iter().map(|edit| edit.len_bytes() + EDIT_BYTES).sum::<usize>();
        let commit = || {
            self.wait_for_room()?;
            let mut batch = self.database.batch().durability(persist);
            for edit in edits {
                match edit {
                    Edit::Put(key, value) => batch.insert(&self.rows, key, value),
                    Edit::Remove(key) => batch.remove(&self.rows, key),
                }
            }
            batch.commit().map_err(|error| StoreError::engine(&self.dir, error))
        };
        contained(commit).map_err(|panic| StoreError::stopped_engine(&self.dir, panic))?
    }

    /// Called between commits: makes a table of what is in memory when that is much, and drops the
    /// tables that have rows in the range `dead` only, which nobody reads any more.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn tidy(&mut self, dead: (Vec<u8>, Vec<u8>)) -> Result<(), StoreError> {
        if self.memtable_bytes < MEMTABLE_BYTES {
            return Ok(());
        }
        self.memtable_bytes = 0;
        let seal = || {
            // Nothing is dropped that a state on disk still counts on.
            self.database.persist(PersistMode::SyncAll)?;
            self.rows.rotate_memtable()
        };
        contained(seal)
            .map_err(|panic| StoreError::stopped_engine(&self.dir, panic))?
            .map_err(|error| StoreError::engine(&self.dir, error))?;
        self.sweeper.sweep(dead);
        Ok(())
    }

    fn wait_for_room(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        while self.rows.sealed_memtable_count() > MAX_SEALED
            || self.rows.l0_table_count() > MAX_UNMERGED
        {
            // Says so if a background thread has failed.
            let alive = self.database.persist(PersistMode::Buffer);
            alive.map_err(|error| StoreError::engine(&self.dir, error))?;
            if began.elapsed() > STALL_LIMIT {
                let what = format!("it has written nothing for {STALL_LIMIT:?}");
                return Err(StoreError::stopped_engine(&self.dir, what));
            }
            thread::sleep(STALL_PAUSE);
        }
        Ok(())
    }
}
