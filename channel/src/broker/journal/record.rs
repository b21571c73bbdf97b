//! The records of a segment: one for each block, one behind the other.
//!
//! ```text
//! record = length of the block (4 bytes) checksum (8) number (8) block        (little-endian)
//! ```
//!
//! The checksum is the xxh3 of the block. Its seed is the salt of the segment and the number, so that it
//! covers the number too, and a record of another segment is not one here.

use std::io::{self, Read};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many bytes a record has before its block.
pub const RECORD_HEAD_BYTES: usize = 20;

/// Returns what comes before a block in its record.
///
/// # Errors
/// The block has more than 4 GiB.
pub fn head(salt: u64, number: u64, block: &[u8]) -> io::Result<[u8; RECORD_HEAD_BYTES]> {
    let len = u32::try_from(block.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut head = [0; RECORD_HEAD_BYTES];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..12].copy_from_slice(&checksum(salt, number, block).to_le_bytes());
    head[12..].copy_from_slice(&number.to_le_bytes());
    Ok(head)
}

fn checksum(salt: u64, number: u64, block: &[u8]) -> u64 {
    xxh3_64_with_seed(block, salt ^ number)
}

/// Returns length, checksum and number.
fn read_head(head: &[u8; RECORD_HEAD_BYTES]) -> (u32, u64, u64) {
    let (len, rest) = head.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let (checksum, rest) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let number = rest.first_chunk().unwrap_or(&[0; 8]);
    (u32::from_le_bytes(*len), u64::from_le_bytes(*checksum), u64::from_le_bytes(*number))
}

/// What comes next in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A record that is whole.
    Record { number: u64 },
    /// The end.
    End,
    /// Something that is not a whole record.
    Broken,
}

/// Reads the records of a segment in order.
#[derive(Debug)]
pub struct Records<R> {
    reader: R,
    salt: u64,
    at: u64,
    end: u64,
}

impl<R: Read> Records<R> {
    /// Reads from here, which is byte `at` of the segment, up to byte `end`.
    pub fn new(reader: R, salt: u64, at: u64, end: u64) -> Self {
        Self { reader, salt, at, end }
    }

    /// Where the last whole record ends.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Reads the next record, and replaces what is in `block` with its block. Reads nothing that would be
    /// behind the end, and so needs no more memory than the segment has bytes. After [`Next::Broken`] it
    /// must not be called again.
    ///
    /// # Errors
    /// An error of the system, also if the segment became shorter in the meantime.
    pub fn next(&mut self, block: &mut Vec<u8>) -> io::Result<Next> {
        block.clear();
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        let Some(left) = left.checked_sub(RECORD_HEAD_BYTES as u64) else {
            return Ok(Next::Broken);
        };
        let mut head = [0; RECORD_HEAD_BYTES];
        self.reader.read_exact(&mut head)?;
        let (len, sum, number) = read_head(&head);
        if len == 0 || u64::from(len) > left {
            return Ok(Next::Broken);
        }
        block.reserve_exact(len as usize);
        let read = (&mut self.reader).take(len.into()).read_to_end(block)?;
        if read < len as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if sum != checksum(self.salt, number, block) {
            return Ok(Next::Broken);
        }
        self.at += (RECORD_HEAD_BYTES + read) as u64;
        Ok(Next::Record { number })
    }
}

/// Whether there is a whole record anywhere in these bytes that may belong behind the blocks before `next`.
pub fn is_anywhere(bytes: &[u8], salt: u64, next: u64) -> bool {
    let most = next.saturating_add(bytes.len() as u64 / RECORD_HEAD_BYTES as u64);
    bytes.windows(RECORD_HEAD_BYTES).enumerate().any(|(at, head)| {
        let Some((len, sum, number)) = head.first_chunk().map(read_head) else { return false };
        if len == 0 || !(next..=most).contains(&number) {
            return false;
        }
        let block = bytes[at + RECORD_HEAD_BYTES..].get(..len as usize);
        block.is_some_and(|block| sum == checksum(salt, number, block))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u64 = 77;

    fn record(number: u64, block: &[u8]) -> Vec<u8> {
        [&head(SALT, number, block).unwrap(), block].concat()
    }

    /// What is read, and where the last whole record ends.
    fn read(bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, Next, u64) {
        let mut records = Records::new(bytes, SALT, 0, bytes.len() as u64);
        let (mut found, mut block) = (Vec::new(), Vec::new());
        loop {
            match records.next(&mut block).unwrap() {
                Next::Record { number } => found.push((number, block.clone())),
                end => return (found, end, records.at()),
            }
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        assert_eq!(read(&[]), (vec![], Next::End, 0));
        let golden = b"\x03\0\0\0\xa7\xc9\x25\x6b\xd1\x43\xe2\x1b\x05\0\0\0\0\0\0\0abc";
        let bytes = [record(5, b"abc"), record(6, &[7; 9_000])].concat();
        assert_eq!(bytes[..4], golden[..4]);
        assert_eq!(bytes[12..23], golden[12..]);
        let expected = vec![(5, b"abc".to_vec()), (6, vec![7; 9_000])];
        assert_eq!(read(&bytes), (expected, Next::End, bytes.len() as u64));
    }

    #[test]
    fn a_record_is_broken_by_any_bit_and_at_any_byte() {
        let (whole, second) = (record(5, b"abc"), record(6, b"defgh"));
        let first = vec![(5, b"abc".to_vec())];
        let broken = (first, Next::Broken, whole.len() as u64);
        for bit in 0..8 * second.len() {
            let mut damaged = second.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&[whole.clone(), damaged].concat()), broken, "bit {bit}");
        }
        for len in 1..second.len() {
            assert_eq!(read(&[&whole[..], &second[..len]].concat()), broken, "{len} bytes");
        }
        assert_eq!(read(&[&whole[..], &[0; 100]].concat()), broken);
    }

    #[test]
    fn a_huge_length_reserves_no_memory() {
        let bytes = [&u32::MAX.to_le_bytes()[..], &[1; 100]].concat();
        let mut block = Vec::new();
        let mut records = Records::new(&bytes[..], SALT, 0, bytes.len() as u64);
        assert_eq!(records.next(&mut block).unwrap(), Next::Broken);
        assert_eq!(block.capacity(), 0);
    }

    #[test]
    fn a_record_behind_a_broken_one_is_found() {
        let behind = [&[1; 31][..], &record(6, b"defgh")].concat();
        assert!(is_anywhere(&behind, SALT, 5));
        assert!(is_anywhere(&behind, SALT, 6));
        assert!(!is_anywhere(&behind, SALT, 7), "an older record");
        assert!(!is_anywhere(&behind, SALT + 1, 5), "a record of another segment");
        assert!(!is_anywhere(&behind[..behind.len() - 1], SALT, 5));
    }
}
