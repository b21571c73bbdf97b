//! The head of each segment and each snapshot, which says where it belongs. Pure.
//!
//! ```text
//! magic (8 bytes) format (4) epoch (8) log id (8) first (8) salt (8) xxh3 of all before (8)
//!                                                                             (little-endian)
//! ```

use xxhash_rust::xxh3::xxh3_64;

/// How many bytes a head has.
pub const HEAD_BYTES: usize = 52;

/// The format of the files that begin with a head.
const FORMAT: u32 = 1;

/// What follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records, one behind the other.
    Segment,
    /// What follows from all blocks before `first`, and its checksum.
    Snapshot,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Segment => b"camp-log",
            Self::Snapshot => b"campsnap",
        }
    }
}

/// Where a file belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileHead {
    pub kind: Kind,
    pub epoch: u64,
    pub log_id: u64,
    /// The number of the first block of the segment, or of the first block after the snapshot.
    pub first: u64,
    /// A random number with which the checksums in the file begin, so that nothing that a client has
    /// published can look like a record.
    pub salt: u64,
}

impl FileHead {
    /// Returns its bytes.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(self.kind.magic());
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        let numbers = [self.epoch, self.log_id, self.first, self.salt];
        for (place, number) in bytes[12..44].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = xxh3_64(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the salt of a file that begins with these bytes, and has to belong where `expected` says.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with the file.
    pub fn check(bytes: &[u8], expected: FileHead) -> Result<FileHead, &'static str> {
        let bytes: &[u8; HEAD_BYTES] = bytes.first_chunk().ok_or("ends in its head")?;
        let number = |at: usize| {
            let bytes = bytes[at..].first_chunk().copied();
            bytes.map_or(0, u64::from_le_bytes)
        };
        if number(44) != xxh3_64(&bytes[..44]) {
            return Err("has an invalid head");
        }
        if bytes[..8] != *expected.kind.magic() {
            return Err("is a file of another kind");
        }
        if bytes[8..12] != FORMAT.to_le_bytes() {
            return Err("has a format that this version does not know");
        }
        let head = FileHead {
            epoch: number(12),
            log_id: number(20),
            first: number(28),
            salt: number(36),
            ..expected
        };
        match head {
            _ if head.log_id != expected.log_id => Err("belongs to another log"),
            _ if head.epoch != expected.epoch => Err("belongs to another epoch"),
            _ if head.first != expected.first => Err("has the name of another file"),
            _ => Ok(head),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: FileHead = FileHead { kind: Kind::Segment, epoch: 2, log_id: 3, first: 4, salt: 5 };

    #[test]
    fn a_head_has_golden_bytes() {
        let golden = b"camp-log\x01\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";
        let bytes = HEAD.encode();
        assert_eq!(bytes[..44], golden[..]);
        assert_eq!(FileHead::check(&bytes, FileHead { salt: 0, ..HEAD }), Ok(HEAD));
    }

    #[test]
    fn a_head_that_is_damaged_or_of_another_file_is_refused() {
        for bit in 0..8 * HEAD_BYTES {
            let mut bytes = HEAD.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHead::check(&bytes, HEAD), Err("has an invalid head"));
        }
        for len in 0..HEAD_BYTES {
            assert_eq!(FileHead::check(&HEAD.encode()[..len], HEAD), Err("ends in its head"));
        }
        for (expected, sentence) in [
            (FileHead { kind: Kind::Snapshot, ..HEAD }, "is a file of another kind"),
            (FileHead { log_id: 9, ..HEAD }, "belongs to another log"),
            (FileHead { epoch: 9, ..HEAD }, "belongs to another epoch"),
            (FileHead { first: 9, ..HEAD }, "has the name of another file"),
        ] {
            assert_eq!(FileHead::check(&HEAD.encode(), expected), Err(sentence));
        }
    }
}
