//! Blocks as bytes.

use std::time::Duration;

use bytes::Bytes;
use campanile_messages::link::Number;
use campanile_messages::{Audience, ContentKind, InstanceId};

use super::flags::{
    ASKS, BINARY, EVERYONE, EXCEPT, FROM, GROUP, ID, SAME_PUBLISHER, USER, WORKERS,
};
use super::{BLOCK_VERSION, Block, Entry, MAX_ENTRIES, Push, Seen};

/// The longest LEB128 number.
const LONGEST_NUMBER: usize = 10;

/// How many bytes of the head of a block do not belong to a list.
const FIXED_BYTES: usize = 1 + 4 + 8 + 8 + 7 * LONGEST_NUMBER;

/// How many bytes a settled number has at most.
const SETTLED_BYTES: usize = 8 + LONGEST_NUMBER;

/// How many bytes of a push do not depend on its fields: flags, publisher, number, length of the content.
const PUSH_BYTES: usize = 1 + 8 + LONGEST_NUMBER + 4;

/// How long a block is at most, without its entries.
pub fn head_bytes(settled: usize) -> usize {
    FIXED_BYTES + settled * SETTLED_BYTES
}

impl Entry {
    /// How many bytes it adds to an encoded block, at most.
    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Workers { .. } => 1 + LONGEST_NUMBER,
            Self::Push(push) => push.len_bytes(),
        }
    }
}

impl Push {
    /// As for [`Entry::len_bytes`].
    pub fn len_bytes(&self) -> usize {
        let string = |text: &str| 2 + text.len();
        PUSH_BYTES
            + self.audience.name().len()
            + 2
            + self.id.as_ref().map_or(0, |(key, digest)| string(key.as_str()) + digest.len())
            + self.except.map_or(0, |_| 2 * LONGEST_NUMBER)
            + self.from.as_deref().map_or(0, string)
            + self.content.as_bytes().len()
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let audience = match self.audience {
            Audience::Everyone => EVERYONE,
            Audience::Group(_) => GROUP,
            Audience::User(_) => USER,
        };
        audience
            | flag(self.content.kind() == ContentKind::Binary, BINARY)
            | flag(self.id.is_some(), ID)
            | flag(self.asks, ASKS)
            | flag(self.except.is_some(), EXCEPT)
            | flag(self.from.is_some(), FROM)
    }
}

impl Block {
    /// How many bytes it has when it is encoded, at most.
    pub fn len_bytes(&self) -> usize {
        let entries = self.entries.iter().map(Entry::len_bytes).sum::<usize>();
        head_bytes(self.settled.len()) + entries
    }

    /// Encodes it.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        self.encode_to(&mut bytes);
        bytes.into()
    }

    /// Adds its bytes to others.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        debug_assert!(self.entries.len() <= MAX_ENTRIES, "{} entries", self.entries.len());
        out.reserve(self.len_bytes());
        out.push(BLOCK_VERSION);
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.put_head(out);
        let length = out.len() - length_at - 4;
        let length = u32::try_from(length).expect("a head is much shorter than 4 GiB");
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        for entry in &self.entries {
            if let Entry::Push(push) = entry {
                out.extend_from_slice(push.content.as_bytes());
            }
        }
    }

    fn put_head(&self, out: &mut Vec<u8>) {
        let Self { epoch, producer, number, at, seen, settled, entries } = self;
        let Seen { block, at: seen_at, print } = seen;
        out.extend_from_slice(&epoch.to_be_bytes());
        out.extend_from_slice(&producer.0.to_be_bytes());
        for number in [*number, millis(*at), *block, millis(*seen_at), *print] {
            put_number(out, number);
        }
        put_number(out, settled.len() as u64);
        for (publisher, unanswered) in settled {
            out.extend_from_slice(&publisher.0.to_be_bytes());
            put_number(out, *unanswered);
        }
        put_number(out, entries.len() as u64);
        let mut before = None;
        for entry in entries {
            match entry {
                Entry::Push(push) => {
                    put_push(out, push, before);
                    before = Some((push.publisher, push.number));
                }
                Entry::Workers { below } => {
                    out.push(WORKERS);
                    put_number(out, *below);
                }
            }
        }
    }
}

fn put_push(out: &mut Vec<u8>, push: &Push, before: Option<(InstanceId, Number)>) {
    match before {
        Some((publisher, number)) if publisher == push.publisher => {
            out.push(push.flags() | SAME_PUBLISHER);
            put_number(out, zigzag(push.number.wrapping_sub(number)));
        }
        _ => {
            out.push(push.flags());
            out.extend_from_slice(&push.publisher.0.to_be_bytes());
            put_number(out, push.number);
        }
    }
    match &push.audience {
        Audience::Everyone => {}
        Audience::Group(name) => put_string(out, name),
        Audience::User(name) => put_string(out, name),
    }
    if let Some((key, digest)) = &push.id {
        put_string(out, key.as_str());
        out.extend_from_slice(digest);
    }
    if let Some(except) = push.except {
        put_number(out, except.worker.0);
        put_number(out, except.connection.0);
    }
    if let Some(from) = &push.from {
        put_string(out, from);
    }
    put_number(out, push.content.as_bytes().len() as u64);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Makes small numbers of small differences, whatever their sign.
fn zigzag(difference: u64) -> u64 {
    difference << 1 ^ if difference >> 63 == 1 { u64::MAX } else { 0 }
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}
