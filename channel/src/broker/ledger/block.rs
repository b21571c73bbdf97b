//! A block: what a broker writes to the log at once, the positions of the events in it, and its bytes.
//!
//! ```text
//! block    = version (1 byte) length (4 bytes, of the head) head content*
//! head     = epoch (8 bytes) producer (8 bytes) number at seen.block seen.at seen.print
//!            count settled* count entry*
//! settled  = publisher (8 bytes) number
//! entry    = flags (1 byte) push | flags (1 byte) below
//! push     = [publisher (8 bytes)] number [group or user] [key digest (16 bytes)]
//!            [worker connection] [from] length of its content
//! ```
//!
//! Numbers with a length in bytes are big-endian. All others are LEB128: 7 bits a byte, least first, in as
//! few bytes as they need. A string has its length in front. The flags say what a push has (`flags.rs`).
//! A push of the same publisher as the push before it leaves the publisher out, and its number is the
//! difference to the number before it, zigzag encoded. Each block has only one encoding.
//!
//! The contents come last, as they are and in the order of their pushes, so that decoding only slices them.

mod error;
mod flags;
mod reading;
#[cfg(test)]
mod tests;
mod writing;

use std::time::Duration;

use campanile_messages::event::MAX_CONTENT_BYTES;
use campanile_messages::link::Number;
use campanile_messages::{Address, Audience, Content, InstanceId, UserName};

use crate::broker::repeat_key::RepeatKey;

pub use super::digest::Digest;
pub use error::BlockError;
pub use writing::head_bytes;

/// The version of the format. It changes whenever a reader of the version before could not read what is
/// written: flags that a reader does not know are an error for it.
pub const BLOCK_VERSION: u8 = 1;

/// How many bits of a sequence are the place of an event in its block.
pub const PLACE_BITS: u32 = 16;

/// The most entries of a block: places begin at 1, and the last place stands for the end of the block.
pub const MAX_ENTRIES: usize = 65_534;

/// How many bytes a block may have, unless it has only one entry.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;

/// How many bytes an encoded block may have. A block of one entry has a content, and everything else in it
/// fits into [`MAX_BLOCK_BYTES`].
pub const MAX_ENCODED_BYTES: usize = MAX_CONTENT_BYTES + MAX_BLOCK_BYTES;

/// Returns the sequence of the event at a place of a block, counted from 1.
pub fn sequence(block: u64, place: u16) -> u64 {
    block << PLACE_BITS | u64::from(place)
}

/// Returns the sequence at which a block ends, above those of all its events.
pub fn end_of(block: u64) -> u64 {
    sequence(block, u16::MAX)
}

/// Returns the number of the block to which a sequence belongs.
pub fn block_of(sequence: u64) -> u64 {
    sequence >> PLACE_BITS
}

/// What a broker writes at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The epoch of the log for which it was formed.
    pub epoch: u64,
    /// The run of a broker that formed it.
    pub producer: InstanceId,
    /// How many blocks its producer has formed, with this one.
    pub number: u64,
    /// When it was formed, in log time. Whole milliseconds; never before the block before it.
    pub at: Duration,
    /// The last block that its producer had applied.
    pub seen: Seen,
    /// Publishers with numbers below which every push has its answer, as far as their producer has news.
    pub settled: Vec<(InstanceId, Number)>,
    /// What it brings, at most [`MAX_ENTRIES`]; the first has place 1. A block without entries is a beat.
    pub entries: Vec<Entry>,
}

/// How far a producer had applied the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The number of the last block that was applied, or 0.
    pub block: u64,
    /// The time of that block, in log time. Whole milliseconds.
    pub at: Duration,
    /// A hash of that block's bytes, for logs that can diverge; 0 where they cannot.
    pub print: u64,
}

/// What a block brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An event, if it is accepted.
    Push(Push),
    /// All worker ids below this one are given out, or reserved for the producer.
    Workers {
        /// The least id that is still to be given out.
        below: u64,
    },
}

/// A push, as its publisher sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The process that pushed.
    pub publisher: InstanceId,
    /// Its number for the push.
    pub number: Number,
    /// The key under which it may be repeated, and the digest of what it pushes.
    pub id: Option<(RepeatKey, Digest)>,
    /// Whether its publisher wants the counts of its receipt.
    pub asks: bool,
    /// Who it is for.
    pub audience: Audience,
    /// The one connection of the audience that does not get it.
    pub except: Option<Address>,
    /// What was pushed.
    pub content: Content,
    /// The user whose client pushed; `None` for a backend.
    pub from: Option<UserName>,
}
