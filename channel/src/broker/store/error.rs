//! What can be wrong with a data directory. Each of these errors ends the broker, because an embedded
//! store does not recover while it is open. A supervisor starts the broker again, which then finds the
//! same error, or a disk that works.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::statvfs;

/// If there is less free space than this when the engine stops, the full disk was the reason, whatever
/// the engine says: it writes tables of some MiB in the background.
const FULL_BELOW_BYTES: u64 = 16 << 20;

/// Why a data directory cannot be used, or cannot be used any more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("{dir} is not a directory; give the data directory another path")]
    NotADirectory { dir: PathBuf },
    #[error("the data directory {dir} cannot be created: {cause}; create it, or give another path")]
    CannotCreate { dir: PathBuf, cause: Arc<io::Error> },
    #[error(
        "the data directory {dir} is not writable: {cause}; let the broker's user own it and all \
         that is in it, on a file system that is not mounted read-only"
    )]
    NotWritable { dir: PathBuf, cause: Arc<io::Error> },
    #[error(
        "another broker runs on the data directory {dir}; stop it, or give this one a directory of \
         its own"
    )]
    InUse { dir: PathBuf },
    #[error(
        "{dir} is neither empty nor a data directory of campanile, and nothing in it was touched; \
         give an empty directory, or one that does not exist yet"
    )]
    Foreign { dir: PathBuf },
    #[error(
        "the data directory {dir} has format {found}, but this version only knows format {known}: it was \
         written by a later release of Campanile; start that release, or a later one"
    )]
    NewerFormat { dir: PathBuf, found: u32, known: u32 },
    #[error(
        "the data directory {dir} is damaged: {what}; restore a backup of it, or move it away to \
         start with an empty one"
    )]
    Damaged { dir: PathBuf, what: String },
    #[error(
        "the data directory {dir} has lost acknowledged changes: it ends at change {found}, but \
         change {acknowledged} was stored; restore a backup of it, or move it away to start with an \
         empty one"
    )]
    Lost {
        dir: PathBuf,
        /// The number of the last change that is there.
        found: u64,
        /// The number of the last change that was stored.
        acknowledged: u64,
    },
    #[error("the disk of the data directory {dir} is full; make room and start the broker again")]
    Full { dir: PathBuf },
    /// Any other error of the system.
    #[error("the data directory {dir} cannot be used: {cause}; check its disk")]
    Io { dir: PathBuf, cause: Arc<io::Error> },
    /// The engine has stopped, or makes no progress.
    #[error(
        "the storage engine of the data directory {dir} has failed: {what}; check its disk and start \
         the broker again"
    )]
    Engine { dir: PathBuf, what: String },
    /// The events do not continue the sequence. Nothing was written.
    #[error(
        "event {found} came for the data directory {dir} where event {expected} was next; this is a \
         bug in the broker, please report it"
    )]
    OutOfSequence { dir: PathBuf, expected: u64, found: u64 },
    #[error(
        "the broker has stopped writing to the data directory {dir} because of an earlier error"
    )]
    Stopped { dir: PathBuf },
}

impl StoreError {
    /// An error of the system while the directory is in use.
    pub(super) fn io(dir: &Path, cause: io::Error) -> Self {
        let dir = dir.to_owned();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { dir },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { dir, cause: Arc::new(cause) }
            }
            _ => Self::Io { dir, cause: Arc::new(cause) },
        }
    }

    pub(super) fn damaged(dir: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { dir: dir.to_owned(), what: what.into() }
    }

    /// An error of the engine while the directory is in use.
    pub(super) fn engine(dir: &Path, error: fjall::Error) -> Self {
        match io_cause(error) {
            Ok(cause) => Self::io(dir, cause),
            Err(error) => Self::stopped_engine(dir, error.to_string()),
        }
    }

    /// The engine has stopped. The reason stays in its background threads, so a full disk is recognised
    /// by the disk itself.
    pub(super) fn stopped_engine(dir: &Path, what: String) -> Self {
        let full = statvfs(dir).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < FULL_BELOW_BYTES);
        let dir = dir.to_owned();
        if full { Self::Full { dir } } else { Self::Engine { dir, what } }
    }

    /// An error of the engine while it opens what it has written.
    pub(super) fn opening(dir: &Path, error: fjall::Error) -> Self {
        match io_cause(error) {
            Ok(cause) => match cause.kind() {
                // A file is missing, ends too early, or has an invalid content.
                io::ErrorKind::NotFound
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::Other => Self::damaged(dir, cause.to_string()),
                _ => Self::io(dir, cause),
            },
            Err(error) => Self::damaged(dir, error.to_string()),
        }
    }
}

fn io_cause(error: fjall::Error) -> Result<io::Error, fjall::Error> {
    match error {
        fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) => Ok(cause),
        other => Err(other),
    }
}
