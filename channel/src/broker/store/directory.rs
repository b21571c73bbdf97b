//! The data directory itself: whether it is ours, whether it is in use, and which format it has.
//!
//! ```text
//! campanile   the marker: "campanile data directory, format 1"; locked while a broker runs, and
//!             used to recognise a copy of the directory. Format 2 has rows of clients that have published,
//!             which a version that only knows format 1 cannot read
//! log-id      the random id of the log, see `log_id.rs`
//! mark        what was acknowledged, see `mark.rs`
//! store/      the engine's files
//! store.new/  the same, while the directory is being made
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::StoreError;
use super::rows::DirectoryIdentity;

/// The format of a new directory.
const FIRST_FORMAT: u32 = 1;

/// The format of a directory to which a client has published, and the last one that this version knows. It has
/// as many digits as the first one, so that only one byte has to be replaced.
const FORMAT: u32 = 2;

const MARKER: &str = "campanile";
const MARKER_TEXT: &str = "campanile data directory, format ";

/// How long to wait for the lock. A broker that was killed may not be gone yet, and a process that a
/// broker is just starting has the broker's open files for a moment.
const LOCK_LIMIT: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A data directory. As long as this exists, no other broker can use it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    marker: File,
    format: u32,
}

impl Directory {
    /// Locks a directory, and makes it if it does not exist. If the directory is not ours, nothing in it
    /// is touched.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(StoreError::NotADirectory { dir: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            Err(error) => return Err(cannot_create(path, error)),
        }
        let lock = match open(path) {
            Ok(marker) => marker,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !is_empty(path)? {
                    return Err(StoreError::Foreign { dir: path.to_owned() });
                }
                let marker = path.join(MARKER);
                let mut options = OpenOptions::new();
                options.read(true).write(true).create(true).truncate(false);
                options.open(marker).map_err(|error| not_writable(path, error))?
            }
            Err(error) => return Err(not_writable(path, error)),
        };
        take_lock(path, &lock)?;
        let format = check_format(path, &lock)?;
        Ok(Self { path: path.to_owned(), marker: lock, format })
    }

    /// Makes versions that only know the first format refuse the directory from now on, and say why. It is on
    /// disk when this returns.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn allow_clients(&mut self) -> Result<(), StoreError> {
        if self.format < FORMAT {
            // A single byte is never half written.
            let digit = FORMAT.to_string();
            self.marker
                .write_all_at(digit.as_bytes(), MARKER_TEXT.len() as u64)
                .and_then(|()| self.marker.sync_all())
                .map_err(|error| StoreError::io(&self.path, error))?;
            self.format = FORMAT;
        }
        Ok(())
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

    /// The engine's files.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// The engine's files while the directory is being made.
    pub fn new_store(&self) -> PathBuf {
        self.path.join("store.new")
    }

    pub fn mark(&self) -> PathBuf {
        self.path.join("mark")
    }

    /// Makes the names of new files durable.
    ///
    /// # Errors
    /// An error of the system.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn take_lock(path: &Path, marker: &File) -> Result<(), StoreError> {
    let began = Instant::now();
    loop {
        match marker.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_LIMIT => {
                thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { dir: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io(path, error)),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path.join(MARKER))
}

fn create(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|error| cannot_create(path, error))?;
    // The name of the directory must be as durable as what will be in it.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(|error| StoreError::io(path, error))
}

fn is_empty(path: &Path) -> Result<bool, StoreError> {
    let mut entries = fs::read_dir(path).map_err(|error| StoreError::io(path, error))?;
    // File systems often have this directory at their root.
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found")))
}

/// Reads the marker, or writes it if it is new or was not finished. Returns the format.
fn check_format(path: &Path, mut marker: &File) -> Result<u32, StoreError> {
    let mut text = String::new();
    // A marker is short, but another file of this name may have any size.
    (&mut marker).take(256).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => StoreError::Foreign { dir: path.to_owned() },
        _ => StoreError::io(path, error),
    })?;
    for known in FIRST_FORMAT..=FORMAT {
        if text == format!("{MARKER_TEXT}{known}\n") {
            return Ok(known);
        }
    }
    let own = format!("{MARKER_TEXT}{FIRST_FORMAT}\n");
    if own.starts_with(&text) && is_alone(path)? {
        write_marker(marker, &own, path).map_err(|error| not_writable(path, error))?;
        return Ok(FIRST_FORMAT);
    }
    let format = text.strip_prefix(MARKER_TEXT).and_then(|rest| rest.trim_end().parse().ok());
    match format {
        Some(found) if found > FORMAT => {
            Err(StoreError::NewerFormat { dir: path.to_owned(), found, known: FORMAT })
        }
        _ if text.starts_with(MARKER_TEXT) => {
            Err(StoreError::damaged(path, format!("its file {MARKER} does not name a format")))
        }
        _ => Err(StoreError::Foreign { dir: path.to_owned() }),
    }
}

fn is_alone(path: &Path) -> Result<bool, StoreError> {
    let mut entries = fs::read_dir(path).map_err(|error| StoreError::io(path, error))?;
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

fn cannot_create(path: &Path, cause: io::Error) -> StoreError {
    StoreError::CannotCreate { dir: path.to_owned(), cause: Arc::new(cause) }
}

fn not_writable(path: &Path, cause: io::Error) -> StoreError {
    match cause.kind() {
        io::ErrorKind::StorageFull => StoreError::Full { dir: path.to_owned() },
        _ => StoreError::NotWritable { dir: path.to_owned(), cause: Arc::new(cause) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(dir: &Path, text: impl AsRef<[u8]>) {
        fs::write(dir.join(MARKER), text).unwrap();
    }

    #[test]
    fn a_new_directory_is_made_and_marked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        drop(Directory::take(&path).unwrap());
        let text = fs::read_to_string(path.join(MARKER)).unwrap();
        assert_eq!(text, "campanile data directory, format 1\n");
        drop(Directory::take(&path).unwrap());
    }

    #[test]
    fn a_file_is_not_a_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Directory::take(file.path()).unwrap_err();
        assert!(matches!(error, StoreError::NotADirectory { .. }), "{error}");
        let below = Directory::take(&file.path().join("below")).unwrap_err();
        assert!(matches!(below, StoreError::CannotCreate { .. }), "{below}");
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_named() {
        let error = Directory::take(Path::new("/proc/campanile/data")).unwrap_err();
        assert!(matches!(error, StoreError::CannotCreate { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("/proc/campanile/data cannot be created: "), "{error}");
    }

    #[test]
    fn a_foreign_directory_is_refused_and_not_touched() {
        for (name, content) in [
            ("notes.txt", &b"mine"[..]),
            ("version", b"FJL\x03"),
            // Our name with another content.
            (MARKER, b"a campanile is a tower"),
            (MARKER, &[0xff, 0xfe]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), content).unwrap();
            let error = Directory::take(dir.path()).unwrap_err();
            assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
            let entries: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
            assert_eq!(entries.len(), 1, "{name}");
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), content);
        }
    }

    #[test]
    fn an_empty_marker_among_other_files_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        marker(dir.path(), "");
        fs::write(dir.path().join("other"), "x").unwrap();
        let error = Directory::take(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(dir.path().join(MARKER)).unwrap(), b"");
    }

    #[test]
    fn an_unfinished_marker_is_written_again() {
        for text in ["", "campanile d", "campanile data directory, format "] {
            let dir = tempfile::tempdir().unwrap();
            marker(dir.path(), text);
            drop(Directory::take(dir.path()).unwrap());
            let text = fs::read_to_string(dir.path().join(MARKER)).unwrap();
            assert_eq!(text, "campanile data directory, format 1\n");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let dir = tempfile::tempdir().unwrap();
        marker(dir.path(), "campanile data directory, format 12\n");
        let error = Directory::take(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 12, known: 2, .. }), "{error}");
        let written_by = "it was written by a later release of Campanile";
        assert!(error.to_string().contains(written_by), "{error}");
    }

    #[test]
    fn a_directory_with_rows_of_clients_has_another_format() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = Directory::take(dir.path()).unwrap();
        let identity = directory.identity().unwrap();
        directory.allow_clients().unwrap();
        directory.allow_clients().unwrap();
        let text = fs::read_to_string(dir.path().join(MARKER)).unwrap();
        assert_eq!(text, "campanile data directory, format 2\n");
        drop(directory);
        let again = Directory::take(dir.path()).unwrap();
        assert_eq!((again.format, again.identity().unwrap()), (2, identity));
    }

    #[test]
    fn two_brokers_cannot_use_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::take(dir.path()).unwrap();
        let error = Directory::take(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        drop(first);
        drop(Directory::take(dir.path()).unwrap());
    }
}
