//! The data directory itself: whether it is ours, whether it is in use, which format it has, and how its files
//! are called.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::JournalError;
use super::files::{self, UNFINISHED};

/// The format of the directories that this version reads and writes. Formats 1 and 2 were another store.
const FORMAT: u32 = 3;

const MARKER: &str = "campanile";
const MARKER_TEXT: &str = "campanile data directory, format ";

/// How long to wait for the lock. A broker that was killed may not be gone yet, and a process that a
/// broker is just starting has the broker's open files for a moment.
const LOCK_LIMIT: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

const SEGMENT: &str = ".log";
const SNAPSHOT: &str = ".state";

/// The files of a log.
#[derive(Debug, Default)]
pub struct Listing {
    /// The first block of each segment.
    pub segments: BTreeSet<u64>,
    /// The first block after each snapshot.
    pub snapshots: BTreeSet<u64>,
    /// Files that were not finished.
    pub unfinished: Vec<PathBuf>,
}

/// A data directory. As long as this exists, no other broker can use it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    marker: File,
}

/// Distinguishes a directory from its copies, by what the file system knows about its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryIdentity {
    /// The marker's inode number.
    pub inode: u64,
    /// When the marker was created, in nanoseconds since 1970, because inode numbers are reused; `None`
    /// if it is not known.
    pub created_nanos: Option<u64>,
}

impl Directory {
    /// Locks a directory, and makes it if it does not exist. If the directory is not ours, nothing in it
    /// is touched.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn take(path: &Path) -> Result<Self, JournalError> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(JournalError::NotADirectory { dir: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(cannot_create(path, error)),
        }
        let lock = match open(path) {
            Ok(marker) => marker,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !is_empty(path)? {
                    return Err(JournalError::Foreign { dir: path.to_owned() });
                }
                let marker = path.join(MARKER);
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false);
                options.open(marker).map_err(|error| not_writable(path, error))?
            }
            Err(error) => return Err(not_writable(path, error)),
        };
        take_lock(path, &lock)?;
        check_format(path, &lock)?;
        Ok(Self { path: path.to_owned(), marker: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Identifies the directory. A renamed directory is still the same, and a copy is not, because the
    /// marker is written in place and never replaced.
    ///
    /// # Errors
    /// An error of the system.
    pub fn identity(&self) -> io::Result<DirectoryIdentity> {
        let marker = self.marker.metadata()?;
        let created = marker.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let created_nanos = created.and_then(|since| u64::try_from(since.as_nanos()).ok());
        Ok(DirectoryIdentity { inode: marker.ino(), created_nanos })
    }

    /// What was acknowledged.
    pub fn mark(&self) -> PathBuf {
        self.path.join("mark")
    }

    /// What the last broker has left.
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// The id of the log, for people.
    pub fn log_id(&self) -> PathBuf {
        self.path.join("log-id")
    }

    /// The segment that begins with this block.
    pub fn segment(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}{SEGMENT}"))
    }

    /// The snapshot of what follows from all blocks before this one.
    pub fn snapshot(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}{SNAPSHOT}"))
    }

    /// The files of the log. Files that a broker does not make are left out.
    ///
    /// # Errors
    /// An error of the system.
    pub fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(finished) = name.strip_suffix(UNFINISHED) {
                let others = ["run", "log-id"];
                let is_ours =
                    numbered(finished, SEGMENT).or(numbered(finished, SNAPSHOT)).is_some();
                if is_ours || others.contains(&finished) {
                    listing.unfinished.push(self.path.join(name));
                }
            } else if let Some(first) = numbered(name, SEGMENT) {
                listing.segments.insert(first);
            } else if let Some(first) = numbered(name, SNAPSHOT) {
                listing.snapshots.insert(first);
            }
        }
        Ok(listing)
    }

    /// Makes the names of new files durable.
    ///
    /// # Errors
    /// An error of the system.
    pub fn sync(&self) -> io::Result<()> {
        files::sync_names(&self.path)
    }
}

/// The number in a name of 20 digits and an extension.
fn numbered(name: &str, extension: &str) -> Option<u64> {
    let digits = name.strip_suffix(extension)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

fn take_lock(path: &Path, marker: &File) -> Result<(), JournalError> {
    let began = Instant::now();
    loop {
        match marker.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_LIMIT => {
                thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse { dir: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(JournalError::io(path, error)),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path.join(MARKER))
}

fn create(path: &Path) -> Result<(), JournalError> {
    fs::create_dir_all(path).map_err(|error| cannot_create(path, error))?;
    // The name of the directory must be as durable as what will be in it.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(|error| JournalError::io(path, error))
}

fn is_empty(path: &Path) -> Result<bool, JournalError> {
    let mut entries = fs::read_dir(path).map_err(|error| JournalError::io(path, error))?;
    // File systems often have this directory at their root.
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found")))
}

/// Reads the marker, or writes it if it is new or was not finished.
fn check_format(path: &Path, mut marker: &File) -> Result<(), JournalError> {
    let dir = path.to_owned();
    let mut text = String::new();
    // A marker is short, but another file of this name may have any size.
    (&mut marker).take(256).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => JournalError::Foreign { dir: path.to_owned() },
        _ => JournalError::io(path, error),
    })?;
    let own = format!("{MARKER_TEXT}{FORMAT}\n");
    if text == own {
        return Ok(());
    }
    if own.starts_with(&text) && is_alone(path)? {
        return write_marker(marker, &own, path).map_err(|error| not_writable(path, error));
    }
    let Some(format) = text.strip_prefix(MARKER_TEXT) else {
        return Err(JournalError::Foreign { dir });
    };
    match format.trim_end().parse() {
        Ok(found @ 1..FORMAT) => Err(JournalError::OlderFormat { dir, found }),
        Ok(found) if found > FORMAT => Err(JournalError::NewerFormat { dir, found, known: FORMAT }),
        _ => Err(JournalError::damaged(path, format!("its file {MARKER} does not name a format"))),
    }
}

fn is_alone(path: &Path) -> Result<bool, JournalError> {
    let mut entries = fs::read_dir(path).map_err(|error| JournalError::io(path, error))?;
    let ours = ["lost+found", MARKER];
    Ok(entries
        .all(|entry| entry.is_ok_and(|entry| ours.iter().any(|name| entry.file_name() == *name))))
}

fn write_marker(mut marker: &File, text: &str, path: &Path) -> io::Result<()> {
    marker.set_len(0)?;
    io::Seek::rewind(&mut marker)?;
    marker.write_all(text.as_bytes())?;
    marker.sync_all()?;
    File::open(path)?.sync_all()
}

fn cannot_create(path: &Path, cause: io::Error) -> JournalError {
    JournalError::CannotCreate { dir: path.to_owned(), cause: Arc::new(cause) }
}

fn not_writable(path: &Path, cause: io::Error) -> JournalError {
    match cause.kind() {
        io::ErrorKind::StorageFull => JournalError::Full { dir: path.to_owned() },
        _ => JournalError::NotWritable { dir: path.to_owned(), cause: Arc::new(cause) },
    }
}

#[cfg(test)]
mod tests;
