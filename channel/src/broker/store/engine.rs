//! The storage engine, fjall, reduced to what the store needs.

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

/// All rows are in one keyspace, because the engine recovers each keyspace separately, and a batch is
/// atomic only within one.
const KEYSPACE: &str = "rows";

/// How much is kept in memory before it becomes a table on disk, and how many bytes an edit takes there
/// in addition to its own. It is small in tests, so that there are tables too.
const MEMTABLE_BYTES: usize = if cfg!(test) { 16 << 10 } else { 8 << 20 };
const EDIT_BYTES: usize = 64;

/// The size of a table. It is small, so that the space of trimmed events is freed soon.
const TABLE_BYTES: u64 = MEMTABLE_BYTES as u64;

/// The least that the engine accepts.
const JOURNALS_BYTES: u64 = 64 << 20;

/// Small, because rows are only read at the start.
const CACHE_BYTES: u64 = 1 << 20;

/// While there are more sealed memtables than this, the next batch waits. A batch seals at most one. The
/// engine itself waits at 4, even forever if its background thread is dead.
const MAX_SEALED: usize = 1;

/// While there are more unmerged tables than this, the next batch waits. The engine itself waits at 30.
const MAX_UNMERGED: usize = 20;

/// How long a batch waits at most. A disk that has not written 8 MiB by then does not work.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How often a waiting batch checks again.
const STALL_PAUSE: Duration = Duration::from_millis(1);

/// An open engine. When it is dropped, it hands everything to the system and ends its threads.
pub struct Engine {
    dir: PathBuf,
    sweeper: Sweeper,
    rows: Keyspace,
    database: Database,
    memtable_bytes: usize,
}

impl Engine {
    /// Opens the engine's files, or makes new ones. `dir` is the data directory, for errors, and
    /// `journal_bytes` how much the journals bring back into memory at most.
    ///
    /// # Errors
    /// See [`StoreError`]. A panic of the engine is an error, too.
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
                    // `tidy` does it instead. Otherwise every batch above a bound would request
                    // it, and fill the queue of the background thread, which then waits for itself.
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

    /// Reads one row. Only used at the start.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn row(&self, key: &[u8]) -> Result<Option<UserValue>, StoreError> {
        let row = contained(|| self.rows.get(key));
        let row = row.map_err(|panic| StoreError::damaged(&self.dir, panic))?;
        row.map_err(|error| StoreError::opening(&self.dir, error))
    }

    /// Reads the rows in a range of keys and passes them on one by one. Only used at the start.
    ///
    /// # Errors
    /// See [`StoreError`]. It stops at the first error, also of `take`.
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

    /// Makes all edits or none. They become as durable as `persist` says, together with everything
    /// before them; `None` leaves them in memory.
    ///
    /// # Errors
    /// See [`StoreError`]. As after a crash, the edits may have been made or not.
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

    /// Called between commits. If there is much in memory, makes a table of it, and drops the tables all
    /// of whose rows are in the range `dead`, which is never read again.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn tidy(&mut self, dead: (Vec<u8>, Vec<u8>)) -> Result<(), StoreError> {
        if self.memtable_bytes < MEMTABLE_BYTES {
            return Ok(());
        }
        self.memtable_bytes = 0;
        let seal = || {
            // Tables may only be dropped if the state on disk no longer needs them.
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
            // This is an error if a background thread has failed.
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
