//! Reads a snapshot. Nothing is believed before the checksum of the whole was right.

use std::time::Duration;

use bytes::{Buf, TryGetError};
use bytestring::ByteString;
use campanile_messages::{Audience, GroupName, InstanceId, UserName};
use xxhash_rust::xxh3::xxh3_64;

use super::super::block::{Seen, block_of};
use super::super::numbers::{AcceptedNumber, SettledMark};
use super::super::producers::LastBlock;
use super::super::{Ledger, millis};
use super::{VERSION, tag};
use crate::broker::repeat_key::RepeatKey;

/// The fewest bytes of an id.
const MIN_ID_BYTES: usize = 2 + 1 + 16 + 8 + 8;

/// Why bytes are not a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot has version {found}, and this version reads {VERSION}")]
    OtherVersion { found: u8 },
    #[error("the snapshot is damaged or not complete: its checksum is wrong")]
    Checksum,
    /// No version writes such bytes.
    #[error("the snapshot has a right checksum, but not a valid {0}")]
    Invalid(&'static str),
}

impl From<TryGetError> for SnapshotError {
    fn from(_: TryGetError) -> Self {
        Self::Invalid("length")
    }
}

/// What was in a snapshot: the ledger, the last dropped sequences of audiences, and the sequence up to which others may
/// have lost events.
pub type Restored = (Ledger, Vec<(Audience, u64)>, u64);

/// Reads a snapshot.
///
/// # Errors
/// [`SnapshotError`], whichever byte is missing or another one.
pub fn read(bytes: &[u8]) -> Result<Restored, SnapshotError> {
    match bytes.first() {
        Some(&VERSION) => {}
        Some(&found) => return Err(SnapshotError::OtherVersion { found }),
        None => return Err(SnapshotError::Checksum),
    }
    let (mut rest, checksum) = bytes.split_last_chunk().ok_or(SnapshotError::Checksum)?;
    if xxh3_64(rest) != u64::from_be_bytes(*checksum) {
        return Err(SnapshotError::Checksum);
    }
    let bytes = &mut rest;
    bytes.try_get_u8()?;
    let epoch = bytes.try_get_u64()?;
    let (block, at_millis, print) =
        (bytes.try_get_u64()?, bytes.try_get_u64()?, bytes.try_get_u64()?);
    let mut ledger = Ledger::new(epoch, block);
    ledger.last = Seen { block, at: Duration::from_millis(at_millis), print };
    ledger.start = bytes.try_get_u64()?;
    ledger.next_worker = bytes.try_get_u64()?;
    let floor = bytes.try_get_u64()?;
    let ids = usize::try_from(bytes.try_get_u64()?).unwrap_or(usize::MAX);
    ledger.ids.reserve(ids.min(bytes.len() / MIN_ID_BYTES));
    let (mut trimmed, mut numbers) = (Vec::new(), Vec::new());
    loop {
        let tag = bytes.try_get_u8()?;
        if tag == tag::END {
            break;
        }
        for _ in 0..bytes.try_get_u32()? {
            match tag {
                tag::PRODUCER => read_producer(bytes, &mut ledger)?,
                tag::PUBLISHER => read_publisher(bytes, &mut ledger)?,
                tag::TRIMMED => trimmed.push(read_trimmed(bytes)?),
                tag::ID => read_id(bytes, &mut ledger)?,
                tag::NUMBER => numbers.push(read_number(bytes)?),
                _ => return Err(SnapshotError::Invalid("tag")),
            }
        }
    }
    if !bytes.is_empty() {
        return Err(SnapshotError::Invalid("length"));
    }
    // Those that were held are behind the others, and may be among them.
    numbers.sort_unstable();
    numbers.dedup();
    for (publisher, AcceptedNumber { number, sequence, at_millis }) in numbers {
        ledger.numbers.accept(publisher, number, sequence, at_millis);
    }
    ledger.ids.pass(millis(ledger.last.at), 0);
    Ok((ledger, trimmed, floor))
}

fn read_producer(bytes: &mut &[u8], ledger: &mut Ledger) -> Result<(), SnapshotError> {
    let producer = InstanceId(bytes.try_get_u64()?);
    let (number, at_millis) = (bytes.try_get_u64()?, bytes.try_get_u64()?);
    ledger.producers.recover(producer, LastBlock { number, at_millis });
    Ok(())
}

fn read_publisher(bytes: &mut &[u8], ledger: &mut Ledger) -> Result<(), SnapshotError> {
    let (publisher, heard_millis) = (InstanceId(bytes.try_get_u64()?), bytes.try_get_u64()?);
    ledger.numbers.recover(publisher, heard_millis);
    for _ in 0..bytes.try_get_u32()? {
        let (unanswered, block) = (bytes.try_get_u64()?, bytes.try_get_u64()?);
        let at_millis = bytes.try_get_u64()?;
        if block > ledger.last.block {
            return Err(SnapshotError::Invalid("mark"));
        }
        ledger.numbers.recover_mark(publisher, SettledMark { unanswered, block, at_millis });
    }
    Ok(())
}

fn read_trimmed(bytes: &mut &[u8]) -> Result<(Audience, u64), SnapshotError> {
    let kind = bytes.try_get_u8()?;
    let len = bytes.try_get_u8()?;
    let name = ByteString::from(read_str(bytes, len.into())?);
    let invalid = SnapshotError::Invalid("audience");
    let audience = match kind {
        0 if name.is_empty() => Audience::Everyone,
        1 => Audience::Group(GroupName::new(name).map_err(|_| invalid)?),
        2 => Audience::User(UserName::new(name).map_err(|_| invalid)?),
        _ => return Err(invalid),
    };
    Ok((audience, bytes.try_get_u64()?))
}

fn read_id(bytes: &mut &[u8], ledger: &mut Ledger) -> Result<(), SnapshotError> {
    let len = bytes.try_get_u16()?;
    let key = RepeatKey::read(read_str(bytes, len.into())?).ok_or(SnapshotError::Invalid("key"))?;
    let mut digest = [0; 16];
    bytes.try_copy_to_slice(&mut digest)?;
    let (sequence, at_millis) = (bytes.try_get_u64()?, bytes.try_get_u64()?);
    // They are searched by sequence.
    if sequence <= ledger.ids.last_sequence() || block_of(sequence) > ledger.last.block {
        return Err(SnapshotError::Invalid("sequence"));
    }
    ledger.ids.accept(key, digest, sequence, at_millis);
    Ok(())
}

fn read_number(bytes: &mut &[u8]) -> Result<(InstanceId, AcceptedNumber), SnapshotError> {
    let (publisher, number) = (InstanceId(bytes.try_get_u64()?), bytes.try_get_u64()?);
    let (sequence, at_millis) = (bytes.try_get_u64()?, bytes.try_get_u64()?);
    Ok((publisher, AcceptedNumber { number, sequence, at_millis }))
}

fn read_str<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a str, SnapshotError> {
    let name = bytes.split_off(..len).ok_or(SnapshotError::Invalid("length"))?;
    std::str::from_utf8(name).map_err(|_| SnapshotError::Invalid("string"))
}
