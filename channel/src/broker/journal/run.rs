//! What the last broker has left in the directory, in the file `run`. It is replaced as a whole, by each
//! start, each orderly stop, each new epoch, and whenever segments are deleted: these are the steps that
//! need to happen at one moment.
//!
//! ```text
//! "camp-run" version (4 bytes) durability (1) clean (1) boot (16) inode (8) is created known (1) created (8)
//!     log id (8) epoch (8) oldest (8) last (8) xxh3 of all before (8)         (little-endian)
//! ```

use std::fs;
use std::io;

use campanile_messages::Durability;
use xxhash_rust::xxh3::xxh3_64;

use super::JournalError;
use super::directory::{Directory, DirectoryIdentity};
use super::files::replace;

const MAGIC: &[u8; 8] = b"camp-run";
const VERSION: u32 = 1;
const RUN_BYTES: usize = 87;

/// How a broker uses, or used, the directory, and where its log begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How durable an accepted event is.
    pub durability: Durability,
    /// Whether it ended cleanly, with everything on disk.
    pub clean: bool,
    /// The id of the host's boot; `None` if it is not known.
    pub boot: Option<u128>,
    /// The directory that it used.
    pub directory: DirectoryIdentity,
    /// The random id of the log, which no other directory has.
    pub log_id: u64,
    /// The epoch of all blocks.
    pub epoch: u64,
    /// The first block of the oldest segment. Segments before it are no longer needed.
    pub oldest: u64,
    /// The number of a block up to which the log was on disk when this was written.
    pub last: u64,
}

impl Run {
    /// Reads what the last broker left behind. Returns `None` if the file is missing.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn read(directory: &Directory) -> Result<Option<Self>, JournalError> {
        let bytes = match fs::read(directory.run()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(JournalError::io(directory.path(), error)),
        };
        let run = Self::decode(&bytes);
        run.map(Some).map_err(|what| {
            JournalError::damaged(directory.path(), format!("its file run {what} at byte 0"))
        })
    }

    /// Replaces what the last broker has left. It is on disk when this returns.
    ///
    /// # Errors
    /// An error of the system.
    pub fn leave(&self, directory: &Directory) -> io::Result<()> {
        replace(&directory.run(), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RUN_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(match self.durability {
            Durability::Disk => 0,
            Durability::Written => 1,
            Durability::Memory => 2,
        });
        bytes.push(self.clean.into());
        bytes.extend_from_slice(&self.boot.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&self.directory.inode.to_le_bytes());
        bytes.push(self.directory.created_nanos.is_some().into());
        bytes.extend_from_slice(&self.directory.created_nanos.unwrap_or(0).to_le_bytes());
        for number in [self.log_id, self.epoch, self.oldest, self.last] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (content, checksum) = bytes.split_last_chunk().ok_or("is too short")?;
        if xxh3_64(content) != u64::from_le_bytes(*checksum) {
            return Err("fails its checksum");
        }
        Self::decode_content(content).ok_or("has a content that this version does not know")
    }

    fn decode_content(mut rest: &[u8]) -> Option<Self> {
        let rest = &mut rest;
        if take(rest)? != *MAGIC || take(rest)? != VERSION.to_le_bytes() {
            return None;
        }
        let durability = match take(rest)? {
            [0] => Durability::Disk,
            [1] => Durability::Written,
            [2] => Durability::Memory,
            _ => return None,
        };
        let run = Self {
            durability,
            clean: take(rest)? == [1],
            boot: Some(u128::from_le_bytes(take(rest)?)).filter(|boot| *boot != 0),
            directory: DirectoryIdentity {
                inode: u64::from_le_bytes(take(rest)?),
                created_nanos: {
                    let [is_known] = take(rest)?;
                    Some(u64::from_le_bytes(take(rest)?)).filter(|_| is_known == 1)
                },
            },
            log_id: u64::from_le_bytes(take(rest)?),
            epoch: u64::from_le_bytes(take(rest)?),
            oldest: u64::from_le_bytes(take(rest)?),
            last: u64::from_le_bytes(take(rest)?),
        };
        rest.is_empty().then_some(run)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run {
        durability: Durability::Written,
        clean: true,
        boot: Some(3),
        directory: DirectoryIdentity { inode: 4, created_nanos: Some(5) },
        log_id: 6,
        epoch: 7,
        oldest: 8,
        last: 9,
    };

    #[test]
    fn a_run_is_read_as_it_was_left() {
        let unknown = DirectoryIdentity { inode: 4, created_nanos: None };
        for run in [
            RUN,
            Run { durability: Durability::Disk, clean: false, boot: None, ..RUN },
            Run { durability: Durability::Memory, directory: unknown, ..RUN },
        ] {
            let bytes = run.encode();
            assert_eq!(bytes.len(), RUN_BYTES);
            assert_eq!(Run::decode(&bytes), Ok(run));
        }
        let golden = b"camp-run\x01\0\0\0\x01\x01\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\
            \x01\x05\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0";
        assert_eq!(RUN.encode()[..RUN_BYTES - 8], golden[..]);
    }

    #[test]
    fn a_damaged_run_is_not_read() {
        for bit in 0..8 * RUN_BYTES {
            let mut bytes = RUN.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Run::decode(&bytes), Err("fails its checksum"));
        }
        for len in 0..RUN_BYTES {
            Run::decode(&RUN.encode()[..len]).unwrap_err();
        }
        let mut newer = RUN.encode();
        newer.truncate(RUN_BYTES - 8);
        newer[8] = 2;
        newer.extend_from_slice(&xxh3_64(&newer).to_le_bytes());
        Run::decode(&newer).unwrap_err();
    }
}
