//! A snapshot: a file beside a segment with what follows from all blocks before it, so that these blocks are
//! not needed. What is in it is the broker's.
//!
//! ```text
//! head content xxh3 of the content, with the salt of the head as its seed (8 bytes, little-endian)
//! ```

use std::fs::File;
use std::io::{self, BufReader, IoSlice, Read as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::files::{WrittenFile, remove, rename, unfinished};
use super::header::{FileHead, HEAD_BYTES};
use super::segment::Unreadable;

const CHECKSUM_BYTES: usize = 8;

/// After this many bytes there is an fsync, so that the last one is not long: blocks wait for each.
const SYNC_BYTES: usize = 1 << 20;

const READ_BYTES: usize = 256 << 10;

/// A snapshot that is being written, under a name for unfinished files.
pub struct SnapshotWriter {
    path: PathBuf,
    file: WrittenFile,
    checksum: Xxh3,
    unsynced: usize,
}

impl SnapshotWriter {
    /// Begins a snapshot, in place of one that was not finished.
    ///
    /// # Errors
    /// An error of the system.
    pub fn create(path: &Path, head: FileHead) -> io::Result<Self> {
        let mut file = WrittenFile::create(&unfinished(path))?;
        file.write(&mut [IoSlice::new(&head.encode())])?;
        let checksum = Xxh3::with_seed(head.salt);
        Ok(Self { path: path.to_owned(), file, checksum, unsynced: 0 })
    }

    /// Adds to its content.
    ///
    /// # Errors
    /// An error of the system.
    pub fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        self.checksum.update(piece);
        for part in piece.chunks(SYNC_BYTES) {
            self.file.write(&mut [IoSlice::new(part)])?;
            self.unsynced += part.len();
            if self.unsynced >= SYNC_BYTES {
                self.file.sync()?;
                self.unsynced = 0;
            }
        }
        Ok(())
    }

    /// Finishes it and gives it its name, which is as durable as the next fsync of the directory makes it.
    ///
    /// # Errors
    /// An error of the system.
    pub fn finish(mut self) -> io::Result<()> {
        let checksum = self.checksum.digest().to_le_bytes();
        self.file.write(&mut [IoSlice::new(&checksum)])?;
        self.file.sync()?;
        rename(&unfinished(&self.path), &self.path)
    }

    /// Removes what is there of it.
    ///
    /// # Errors
    /// An error of the system.
    pub fn discard(self) -> io::Result<()> {
        remove(&unfinished(&self.path))
    }
}

/// Reads a snapshot piece by piece, and checks everything in it.
///
/// # Errors
/// See [`Unreadable`].
pub fn inspect(
    path: &Path,
    expected: FileHead,
    mut take: impl FnMut(&[u8]),
) -> Result<(), Unreadable> {
    let file = File::open(path)?;
    let mut left = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    (&mut reader).take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    let head = FileHead::check(&bytes, expected)
        .map_err(|what| Unreadable::Damaged(format!("{what} at byte 0")))?;
    left = (left.checked_sub((HEAD_BYTES + CHECKSUM_BYTES) as u64))
        .ok_or_else(|| Unreadable::Damaged(format!("ends in its checksum at byte {left}")))?;
    let mut checksum = Xxh3::with_seed(head.salt);
    let mut piece = vec![0; READ_BYTES];
    while left > 0 {
        let len = usize::try_from(left).map_or(READ_BYTES, |left| left.min(READ_BYTES));
        reader.read_exact(&mut piece[..len])?;
        checksum.update(&piece[..len]);
        take(&piece[..len]);
        left -= len as u64;
    }
    let mut kept = [0; CHECKSUM_BYTES];
    reader.read_exact(&mut kept)?;
    if u64::from_le_bytes(kept) != checksum.digest() {
        let what = format!("fails the checksum of all that comes after byte {HEAD_BYTES}");
        return Err(Unreadable::Damaged(what));
    }
    Ok(())
}
