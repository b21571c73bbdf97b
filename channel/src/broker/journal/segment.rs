//! A segment: a file with a head and the records of some blocks, to which blocks are appended.

use std::fs::File;
use std::io::{self, BufReader, IoSlice, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::files::{WrittenFile, rename, unfinished};
use super::header::{FileHead, HEAD_BYTES};
use super::record::{self, Next, RECORD_HEAD_BYTES, Records};

/// Most records are read in one piece. It is more than most of them have.
const READ_BYTES: usize = 256 << 10;

/// The segment to which blocks are appended.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    file: WrittenFile,
    head: FileHead,
    next: u64,
    len_bytes: u64,
}

impl Segment {
    /// Makes a segment under a name for unfinished files. It is on disk when this returns, and its name is
    /// as durable as the next fsync of the directory makes it.
    ///
    /// # Errors
    /// An error of the system.
    pub fn create(path: &Path, head: FileHead) -> io::Result<Self> {
        let mut file = WrittenFile::create(&unfinished(path))?;
        file.write(&mut [IoSlice::new(&head.encode())])?;
        file.sync()?;
        let len_bytes = HEAD_BYTES as u64;
        Ok(Self { path: path.to_owned(), file, head, next: head.first, len_bytes })
    }

    /// Gives a new segment its name.
    ///
    /// # Errors
    /// An error of the system.
    pub fn settle(&self) -> io::Result<()> {
        rename(&unfinished(&self.path), &self.path)
    }

    /// Opens a segment that was read, to append behind the last block that was whole.
    ///
    /// # Errors
    /// An error of the system.
    pub fn open(path: &Path, extent: &Extent) -> io::Result<Self> {
        let file = WrittenFile::open(path, extent.end)?;
        let Extent { head, next, end, .. } = *extent;
        Ok(Self { path: path.to_owned(), file, head, next, len_bytes: end })
    }

    /// Cuts off what comes behind the last block, durably.
    ///
    /// # Errors
    /// An error of the system.
    pub fn cut(&self) -> io::Result<()> {
        self.file.set_len(self.len_bytes)?;
        self.file.sync()
    }

    /// Hands the next block to the system.
    ///
    /// # Errors
    /// An error of the system. Any part of the block may be in the segment then.
    pub fn append(&mut self, block: &[u8]) -> io::Result<()> {
        let head = record::head(self.head.salt, self.next, block)?;
        self.file.write(&mut [IoSlice::new(&head), IoSlice::new(block)])?;
        self.next += 1;
        self.len_bytes += (RECORD_HEAD_BYTES + block.len()) as u64;
        Ok(())
    }

    /// Makes everything in it durable.
    ///
    /// # Errors
    /// An error of the system.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// The number of its first block.
    pub fn first(&self) -> u64 {
        self.head.first
    }

    /// The number of the next block.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How long it is.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

/// What was found in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub head: FileHead,
    /// The number after that of its last block.
    pub next: u64,
    /// Where its last whole record ends.
    pub end: u64,
    /// How long it is. What comes behind `end` is not a whole record.
    pub len_bytes: u64,
}

/// Why a segment cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// An error of the system.
    Io(io::Error),
    /// What is wrong with it, as the end of a sentence that begins with the file.
    Damaged(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a whole segment once and checks everything in it.
///
/// # Errors
/// See [`Unreadable`].
pub fn inspect(path: &Path, expected: FileHead) -> Result<Extent, Unreadable> {
    let mut file = File::open(path)?;
    let len_bytes = file.metadata()?.len();
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    let head = FileHead::check(&bytes, expected)
        .map_err(|what| Unreadable::Damaged(format!("{what} at byte 0")))?;
    let mut records = records(file, &head, HEAD_BYTES as u64, len_bytes);
    let (mut next, mut block) = (head.first, Vec::new());
    loop {
        let at = records.at();
        match records.next(&mut block)? {
            Next::Record { number } if number == next => next += 1,
            Next::Record { number } => {
                let what = format!("has block {number} where block {next} should be, at byte {at}");
                return Err(Unreadable::Damaged(what));
            }
            Next::End | Next::Broken => return Ok(Extent { head, next, end: at, len_bytes }),
        }
    }
}

/// Whether a whole record that belongs there comes somewhere behind the end.
///
/// # Errors
/// An error of the system.
pub fn goes_on(path: &Path, extent: &Extent) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(extent.end))?;
    let mut tail = Vec::new();
    file.take(extent.len_bytes - extent.end).read_to_end(&mut tail)?;
    Ok(record::is_anywhere(&tail, extent.head.salt, extent.next))
}

/// Reads the blocks of a segment that was inspected.
///
/// # Errors
/// An error of the system.
pub fn read(path: &Path, extent: &Extent) -> io::Result<Records<BufReader<File>>> {
    let mut file = File::open(path)?;
    let start = HEAD_BYTES as u64;
    file.seek(SeekFrom::Start(start))?;
    Ok(records(file, &extent.head, start, extent.end))
}

fn records(file: File, head: &FileHead, at: u64, end: u64) -> Records<BufReader<File>> {
    Records::new(BufReader::with_capacity(READ_BYTES, file), head.salt, at, end)
}
