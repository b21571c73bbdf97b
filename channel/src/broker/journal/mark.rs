//! The mark: a small file that says, independently of the segments, what was acknowledged.
//!
//! A record at the end of the newest segment that is not whole can be the trace of a crash, or damage to
//! something that somebody was told is stored. So the number of the last block is noted here, after it has
//! become as durable as it had to be and before anybody learns of it. A log that ends before that block has
//! lost something.
//!
//! ```text
//! file = slot (at byte 0) zeros slot (at byte 512) zeros, 1024 bytes in all
//! slot = "campmark" synced written boot (16 bytes) xxh3 of all before       (little-endian)
//! ```
//!
//! There was an fsync for blocks up to `synced`. Blocks up to `written` were at least handed to the
//! kernel, whose boot id follows (0 if it is not known). A loss of power loses nothing up to `synced`,
//! and the end of the process nothing up to `written`.
//!
//! The file is overwritten in place, without an fsync of its own. So after a loss of power it may be
//! older than the log, but never newer: it proves less, but nothing wrong. The slots are written in
//! turn and are in different sectors, so that an interrupted write can only spoil one of them. So no
//! crash leaves a mark without a valid slot. Such a mark proves nothing, which is logged, and a log
//! whose end would have to be cut off is refused then.

use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::files::{WrittenFile, open_or_create};

const MAGIC: &[u8; 8] = b"campmark";
const SLOT_BYTES: usize = 48;
/// The smallest sector of disks.
const SLOT_DISTANCE: usize = 512;
const FILE_BYTES: usize = 2 * SLOT_DISTANCE;

/// What is known to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogMark {
    /// The number of the last block for which there was an fsync.
    pub synced: u64,
    /// The number of the last block that was handed to the kernel, at least `synced`.
    pub written: u64,
    /// The boot id of that kernel; `None` if it is not known.
    pub boot: Option<u128>,
}

impl LogMark {
    /// The number of the last block that must be there in this boot.
    pub fn acknowledged(&self, boot: Option<u128>) -> u64 {
        if boot.is_some() && boot == self.boot { self.written } else { self.synced }
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(MAGIC);
        slot[8..16].copy_from_slice(&self.synced.to_le_bytes());
        slot[16..24].copy_from_slice(&self.written.to_le_bytes());
        slot[24..40].copy_from_slice(&self.boot.unwrap_or(0).to_le_bytes());
        let checksum = xxh3_64(&slot[..40]);
        slot[40..].copy_from_slice(&checksum.to_le_bytes());
        slot
    }

    fn decode(slot: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (magic, rest) = slot.split_first_chunk::<8>()?;
        let (synced, rest) = rest.split_first_chunk()?;
        let (written, rest) = rest.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk()?;
        let checksum = rest.first_chunk()?;
        let valid = magic == MAGIC && xxh3_64(&slot[..40]) == u64::from_le_bytes(*checksum);
        valid.then(|| Self {
            synced: u64::from_le_bytes(*synced),
            written: u64::from_le_bytes(*written),
            boot: Some(u128::from_le_bytes(*boot)).filter(|boot| *boot != 0),
        })
    }
}

/// The open file.
#[derive(Debug)]
pub struct MarkFile {
    file: WrittenFile,
    next_slot: usize,
    mark: LogMark,
}

impl MarkFile {
    /// Reads the mark. Returns `None` if neither of its slots is valid.
    ///
    /// # Errors
    /// An error of the system, except that the file is missing or too short.
    pub fn read(path: &Path) -> io::Result<Option<LogMark>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let slots = [0, SLOT_DISTANCE].into_iter();
        let marks = slots.filter_map(|at| LogMark::decode(bytes.get(at..)?.first_chunk()?));
        Ok(marks.max_by_key(|mark| (mark.written, mark.synced)))
    }

    /// Opens or creates the file, and writes `mark` to both slots, durably.
    ///
    /// # Errors
    /// An error of the system.
    pub fn start(path: &Path, mark: LogMark) -> io::Result<Self> {
        let file = open_or_create(path)?;
        file.set_len(FILE_BYTES as u64)?;
        let mut opened = Self { file, next_slot: 0, mark };
        // One after the other, so that one slot is always valid.
        opened.write(mark)?;
        opened.file.sync()?;
        opened.write(mark)?;
        opened.file.sync()?;
        Ok(opened)
    }

    /// Notes that everything up to a block is stored.
    ///
    /// # Errors
    /// An error of the system.
    pub fn note(&mut self, block: u64, synced: bool) -> io::Result<()> {
        let synced = if synced { block } else { self.mark.synced };
        self.write(LogMark { synced, written: block, ..self.mark })
    }

    /// The number of the last block for which there was an fsync.
    pub fn synced(&self) -> u64 {
        self.mark.synced
    }

    fn write(&mut self, mark: LogMark) -> io::Result<()> {
        let at = self.next_slot * SLOT_DISTANCE;
        self.file.write_at(&mark.encode(), at as u64)?;
        self.next_slot = 1 - self.next_slot;
        self.mark = mark;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: LogMark = LogMark { synced: 3, written: 5, boot: Some(9) };

    #[test]
    fn only_the_bytes_of_a_mark_are_read_as_one() {
        assert_eq!(LogMark::decode(&MARK.encode()), Some(MARK));
        for byte in 0..SLOT_BYTES {
            let mut slot = MARK.encode();
            slot[byte] ^= 1;
            assert_eq!(LogMark::decode(&slot), None, "byte {byte}");
        }
    }

    #[test]
    fn written_blocks_count_as_long_as_the_kernel_runs() {
        assert_eq!(MARK.acknowledged(Some(9)), 5);
        assert_eq!(MARK.acknowledged(Some(8)), 3);
        assert_eq!(MARK.acknowledged(None), 3);
        assert_eq!(LogMark { boot: None, ..MARK }.acknowledged(None), 3);
    }

    #[test]
    fn the_newer_slot_counts_and_a_broken_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert_eq!(MarkFile::read(&path).unwrap(), None);
        let mut file = MarkFile::start(&path, MARK).unwrap();
        for block in 6..9 {
            file.note(block, block == 7).unwrap();
            let expected =
                LogMark { synced: if block < 7 { 3 } else { 7 }, written: block, ..MARK };
            assert_eq!(MarkFile::read(&path).unwrap(), Some(expected));
            let whole = std::fs::read(&path).unwrap();
            assert_eq!(whole.len(), FILE_BYTES);
            for slot in [0, SLOT_DISTANCE] {
                let mut torn = whole.clone();
                torn[slot + 20] ^= 0xff;
                std::fs::write(&path, &torn).unwrap();
                let left = MarkFile::read(&path).unwrap().unwrap();
                assert!(left.written >= block - 1, "{left:?}");
            }
            std::fs::write(&path, &whole).unwrap();
        }
        std::fs::write(&path, [0; FILE_BYTES]).unwrap();
        assert_eq!(MarkFile::read(&path).unwrap(), None);
        std::fs::write(&path, []).unwrap();
        assert_eq!(MarkFile::read(&path).unwrap(), None);
    }
}
