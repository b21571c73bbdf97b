//! What can be wrong with a data directory. Each of these ends the broker: embedded stores do not
//! recover in place, and a supervisor that starts it again finds the same, or a disk that works.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::statvfs;

/// Less free space than this, in bytes, is what stopped the engine, whatever it says itself: it
/// writes tables of some MiB in the background.
const FULL_BELOW_BYTES: u64 = 16 << 20;

/// Why a data directory cannot be used, or not any more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The path exists and is something else.
    #[error("{dir} is not a directory; give the data directory another path")]
    NotADirectory {
        /// The data directory.
        dir: PathBuf,
    },
    /// It does not exist and cannot be made.
    #[error("the data directory {dir} cannot be created: {cause}; create it, or give another path")]
    CannotCreate {
        /// The data directory.
        dir: PathBuf,
        /// What the system says.
        cause: Arc<io::Error>,
    },
    /// The broker may not write there.
    #[error(
        "the data directory {dir} is not writable: {cause}; let the broker's user own it and all \
         that is in it, on a file system that is not mounted read-only"
    )]
    NotWritable {
        /// The data directory.
        dir: PathBuf,
        /// What the system says.
        cause: Arc<io::Error>,
    },
    /// Its lock is taken.
    #[error(
        "another broker runs on the data directory {dir}; stop it, or give this one a directory of \
         its own"
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// There are files in it, and not ours.
    #[error(
        "{dir} is not empty and not a data directory of campanile, nothing in it was touched; give \
         an empty directory, or one that does not exist yet"
    )]
    Foreign {
        /// The data directory.
        dir: PathBuf,
    },
    /// A later version of this program has written it.
    #[error(
        "the data directory {dir} has format {found}, this version knows {known}; start the version \
         that wrote it, or a later one"
    )]
    NewerFormat {
        /// The data directory.
        dir: PathBuf,
        /// The format that its marker names.
        found: u32,
        /// The format of this version.
        known: u32,
    },
    /// Its files are not as they were written.
    #[error(
        "the data directory {dir} is damaged: {what}; restore a backup of it, or move it away to \
         start with an empty one"
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// What was acknowledged is not there.
    #[error(
        "the data directory {dir} has lost what was acknowledged: it ends at change {found}, and \
         change {acknowledged} was stored; restore a backup of it, or move it away to start with an \
         empty one"
    )]
    Lost {
        /// The data directory.
        dir: PathBuf,
        /// The number of the last change that is there.
        found: u64,
        /// The number of the last change that was stored.
        acknowledged: u64,
    },
    /// No space left.
    #[error("the disk of the data directory {dir} is full; make room and start the broker again")]
    Full {
        /// The data directory.
        dir: PathBuf,
    },
    /// Anything else that the system answers.
    #[error("the data directory {dir} cannot be used: {cause}; look after its disk")]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// What the system says.
        cause: Arc<io::Error>,
    },
    /// The engine has stopped itself, or gets nothing done.
    #[error(
        "the storage engine of the data directory {dir} has failed: {what}; look after its disk and \
         start the broker again"
    )]
    Engine {
        /// The data directory.
        dir: PathBuf,
        /// What the engine says.
        what: String,
    },
    /// Events that do not continue the sequence; nothing was written.
    #[error(
        "event {found} was to be written to the data directory {dir} where {expected} was next; \
         this is a bug of the broker, please report it"
    )]
    OutOfSequence {
        /// The data directory.
        dir: PathBuf,
        /// The sequence that comes next.
        expected: u64,
        /// The sequence that was given.
        found: u64,
    },
    /// It was used after an error.
    #[error("the data directory {dir} takes nothing more after an earlier error")]
    Stopped {
        /// The data directory.
        dir: PathBuf,
    },
}

impl StoreError {
    /// An error of the system while the directory was in use.
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

    /// An error of the engine while the directory was in use.
    pub(super) fn engine(dir: &Path, error: fjall::Error) -> Self {
        match io_cause(error) {
            Ok(cause) => Self::io(dir, cause),
            Err(error) => Self::stopped_engine(dir, error.to_string()),
        }
    }

    /// The engine has stopped itself. Its own error stays in its background threads, so a full disk
    /// is told from the disk.
    pub(super) fn stopped_engine(dir: &Path, what: String) -> Self {
        let full = statvfs(dir).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < FULL_BELOW_BYTES);
        let dir = dir.to_owned();
        if full { Self::Full { dir } } else { Self::Engine { dir, what } }
    }

    /// An error of the engine while it was opening what it had written.
    pub(super) fn opening(dir: &Path, error: fjall::Error) -> Self {
        match io_cause(error) {
            Ok(cause) => match cause.kind() {
                // A file is missing, or ends too early, or says something that makes no sense.
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
