//! What can be wrong with a data directory. Each of these errors ends the broker: a write or an fsync that
//! failed is never repeated, because nobody knows what it has left on the disk. A supervisor starts the
//! broker again, which then finds the same error, or a disk that works.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a data directory cannot be used, or cannot be used any more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
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
        "the data directory {dir} has format {found}: it was written by an earlier release of Campanile, whose \
         store this version cannot read, and nothing in it was touched; start that release again, or give \
         another directory: clients then learn once that they may have missed events"
    )]
    OlderFormat { dir: PathBuf, found: u32 },
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
        "the data directory {dir} has lost acknowledged blocks: its file {file} ends at byte {at} with block \
         {found}, but block {acknowledged} was stored; restore a backup of it, or move it away to start \
         with an empty one"
    )]
    Lost {
        dir: PathBuf,
        /// The last file of the log, and where the last block in it ends that is whole.
        file: String,
        at: u64,
        /// The number of the last block that is there.
        found: u64,
        /// The number of the last block that was stored.
        acknowledged: u64,
    },
    #[error("the disk of the data directory {dir} is full; make room and start the broker again")]
    Full { dir: PathBuf },
    /// Any other error of the system.
    #[error("the data directory {dir} cannot be used: {cause}; check its disk")]
    Io { dir: PathBuf, cause: Arc<io::Error> },
    /// The block does not continue the log. Nothing was written.
    #[error(
        "block {found} came for the data directory {dir} where block {expected} was next; this is a \
         bug in the broker, please report it"
    )]
    OutOfSequence { dir: PathBuf, expected: u64, found: u64 },
    /// Something else was ordered that cannot be done now. Nothing was written.
    #[error("{what} in the data directory {dir}; this is a bug in the broker, please report it")]
    Misused { dir: PathBuf, what: &'static str },
    #[error(
        "the broker has stopped writing to the data directory {dir} because of an earlier error"
    )]
    Stopped { dir: PathBuf },
}

impl JournalError {
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
}
