//! The rows of the store as bytes. Pure.
//!
//! ```text
//! key                                   value
//! 0                                     StoreState, MessagePack
//! 1 sequence (8 bytes, big-endian)      EventHead, MessagePack, and the content's bytes
//! 2 repeat key                          IdValue, MessagePack
//! 3 audience, MessagePack               sequence, MessagePack
//! ```

use std::io::Cursor;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use campanile_messages::link::Number;
use campanile_messages::{
    Address, Audience, Content, ContentKind, Durability, InstanceId, UserName,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::broker::clock::ClockReading;
use crate::broker::record::{KnownId, Record};
use crate::broker::repeat_key::RepeatKey;

const STATE: u8 = 0;
const EVENT: u8 = 1;
const ID: u8 = 2;
const TRIMMED: u8 = 3;

/// The key of the one [`StoreState`].
pub const STATE_KEY: [u8; 1] = [STATE];

/// The state of the directory. Written with every batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreState {
    /// How many batches were written, including this one: the number of the last change.
    pub changes: u64,
    /// The epoch of the events.
    pub epoch: u64,
    /// The sequence of the oldest event that is kept, or one more than `head` if none is.
    pub first: u64,
    /// The last sequence that was ever stored.
    pub head: u64,
    /// All cursors below this sequence are expired.
    pub floor: u64,
    /// The next worker id to give out.
    pub next_worker: u64,
    /// The run of the broker that wrote this.
    pub run: Run,
    /// When it was written, for the clock of the next broker. Early directories do not have it.
    #[serde(default)]
    pub seen: Option<ClockReading>,
}

/// How a broker uses, or used, the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// How durable an accepted event is.
    pub durability: Durability,
    /// The id of the host's boot; `None` if it is not known.
    pub boot: Option<u128>,
    /// The directory that it used.
    pub directory: DirectoryIdentity,
    /// Whether it ended cleanly, with everything on disk.
    pub clean: bool,
}

/// Distinguishes a directory from its copies, by what the file system knows about its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryIdentity {
    /// The marker's inode number.
    pub inode: u64,
    /// When the marker was created, in nanoseconds since 1970, because inode numbers are reused; `None`
    /// if it is not known.
    pub created_nanos: Option<u64>,
}

/// The bytes of a row are not valid.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidRow;

/// What comes before the bytes of the content.
#[derive(Serialize, Deserialize)]
struct EventHead<A> {
    at_millis: u64,
    audience: A,
    kind: ContentKind,
    publisher: InstanceId,
    number: Number,
    gateways: u32,
    matched: u64,
    /// Only written if there is one or a field behind it, so that other rows are the same as before there
    /// were exceptions. The outer `None`: it is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    except: Option<Option<Address>>,
    /// Only written if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<UserName>,
}

#[derive(Serialize, Deserialize)]
struct IdValue {
    digest: [u8; 16],
    at_millis: u64,
    sequence: u64,
    gateways: u32,
    matched: u64,
}

/// The key of an event. Keys have the same order as sequences.
pub fn event_key(sequence: u64) -> [u8; 9] {
    let mut key = [EVENT; 9];
    key[1..].copy_from_slice(&sequence.to_be_bytes());
    key
}

/// The range of the keys of events from a sequence on: its start, and its excluded end.
pub fn event_keys(first: u64) -> (Vec<u8>, Vec<u8>) {
    (event_key(first).to_vec(), vec![EVENT + 1])
}

/// The range of the keys of events below a sequence.
pub fn dead_event_keys(first: u64) -> (Vec<u8>, Vec<u8>) {
    (event_key(0).to_vec(), event_key(first).to_vec())
}

/// See [`event_keys`].
pub fn id_keys() -> (Vec<u8>, Vec<u8>) {
    (vec![ID], vec![ID + 1])
}

/// See [`event_keys`].
pub fn trimmed_keys() -> (Vec<u8>, Vec<u8>) {
    (vec![TRIMMED], vec![TRIMMED + 1])
}

/// The value of an event's row.
pub fn event_value(record: &Record) -> Vec<u8> {
    let head = EventHead {
        at_millis: millis(record.at),
        audience: &record.audience,
        kind: record.content.kind(),
        publisher: record.publisher,
        number: record.number,
        gateways: record.gateways,
        matched: record.matched,
        except: match record.from {
            None => record.except.map(Some),
            Some(_) => Some(record.except),
        },
        from: record.from.clone(),
    };
    let content = record.content.as_bytes();
    let mut value = Vec::with_capacity(content.len() + 64);
    rmp_serde::encode::write(&mut value, &head).expect(MEMORY);
    value.extend_from_slice(content);
    value
}

/// Reads an event's row.
///
/// # Errors
/// [`InvalidRow`].
pub fn event(key: &[u8], value: &[u8]) -> Result<Record, InvalidRow> {
    let (&[EVENT], sequence) = key.split_at_checked(1).ok_or(InvalidRow)? else {
        return Err(InvalidRow);
    };
    let sequence = u64::from_be_bytes(sequence.try_into().map_err(|_| InvalidRow)?);
    let (head, content) = split::<EventHead<Audience>>(value)?;
    // It is copied, because a slice would keep the engine's whole block in memory.
    let content = Bytes::copy_from_slice(content);
    let content = match head.kind {
        ContentKind::Binary => Content::Binary(content),
        ContentKind::Text => Content::Text(ByteString::try_from(content).map_err(|_| InvalidRow)?),
    };
    Ok(Record {
        sequence,
        at: Duration::from_millis(head.at_millis),
        audience: head.audience,
        except: head.except.flatten(),
        content,
        from: head.from,
        publisher: head.publisher,
        number: head.number,
        gateways: head.gateways,
        matched: head.matched,
    })
}

/// The key of an id's row.
pub fn id_key(key: &RepeatKey) -> Vec<u8> {
    [&[ID], key.as_str().as_bytes()].concat()
}

/// The value of an id's row.
pub fn id_value(id: &KnownId) -> Vec<u8> {
    let &KnownId { digest, at, sequence, gateways, matched, .. } = id;
    pack(&IdValue { digest, at_millis: millis(at), sequence, gateways, matched })
}

/// Reads an id's row.
///
/// # Errors
/// [`InvalidRow`].
pub fn id(key: &[u8], value: &[u8]) -> Result<KnownId, InvalidRow> {
    let (&[ID], name) = key.split_at_checked(1).ok_or(InvalidRow)? else {
        return Err(InvalidRow);
    };
    let name = str::from_utf8(name).map_err(|_| InvalidRow)?;
    let IdValue { digest, at_millis, sequence, gateways, matched } = unpack(value)?;
    Ok(KnownId {
        key: RepeatKey::read(name).ok_or(InvalidRow)?,
        digest,
        at: Duration::from_millis(at_millis),
        sequence,
        gateways,
        matched,
    })
}

/// The key of the row with an audience's last dropped sequence.
pub fn trimmed_key(audience: &Audience) -> Vec<u8> {
    let mut key = vec![TRIMMED];
    rmp_serde::encode::write(&mut key, audience).expect(MEMORY);
    key
}

pub fn trimmed_value(sequence: u64) -> Vec<u8> {
    pack(&sequence)
}

/// Reads the row with an audience's last dropped sequence.
///
/// # Errors
/// [`InvalidRow`].
pub fn trimmed(key: &[u8], value: &[u8]) -> Result<(Audience, u64), InvalidRow> {
    let (&[TRIMMED], audience) = key.split_at_checked(1).ok_or(InvalidRow)? else {
        return Err(InvalidRow);
    };
    Ok((unpack(audience)?, unpack(value)?))
}

/// The value of the state's row.
pub fn state_value(state: &StoreState) -> Vec<u8> {
    pack(state)
}

/// Reads the state's row.
///
/// # Errors
/// [`InvalidRow`].
pub fn state(value: &[u8]) -> Result<StoreState, InvalidRow> {
    unpack(value)
}

const MEMORY: &str = "writing to memory does not fail, and every row is MessagePack";

fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec(value).expect(MEMORY)
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InvalidRow> {
    let (value, rest) = split(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(InvalidRow) }
}

fn split<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), InvalidRow> {
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(bytes));
    let value = T::deserialize(&mut deserializer).map_err(|_| InvalidRow)?;
    let end = usize::try_from(deserializer.position()).map_err(|_| InvalidRow)?;
    Ok((value, bytes.get(end..).ok_or(InvalidRow)?))
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
