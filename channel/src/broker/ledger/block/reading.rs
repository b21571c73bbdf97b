//! Bytes as blocks. Nothing is allocated for a claim: a list gets room for as many items as its bytes can
//! have.

use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use campanile_messages::event::MAX_CONTENT_BYTES;
use campanile_messages::link::Number;
use campanile_messages::{
    Address, Audience, ConnectionId, Content, GroupName, InstanceId, UserName, WorkerId,
};

use super::flags::{
    ASKS, BINARY, EVERYONE, EXCEPT, FROM, GROUP, ID, KIND, SAME_PUBLISHER, WORKERS,
};
use super::{BLOCK_VERSION, Block, BlockError, Entry, MAX_ENCODED_BYTES, MAX_ENTRIES, Push, Seen};
use crate::broker::repeat_key::RepeatKey;

/// The version and the length of the head.
const HEAD_AT: usize = 5;

/// The fewest bytes of a settled number.
const LEAST_SETTLED: usize = 9;

/// The fewest bytes of an entry.
const LEAST_ENTRY: usize = 2;

impl Block {
    /// Reads a block. Its contents are slices of the bytes and keep them in memory; its names do not.
    ///
    /// # Errors
    /// [`BlockError`], if the bytes are anything but one whole block as [`Block::encode`] returns it.
    pub fn decode(mut bytes: Bytes) -> Result<Self, BlockError> {
        match bytes.first() {
            None => return Err(BlockError::Incomplete { at: 0 }),
            Some(&BLOCK_VERSION) => {}
            Some(0) => return Err(BlockError::Malformed { what: "version", at: 0 }),
            Some(&version) => return Err(BlockError::Newer { version, reads: BLOCK_VERSION }),
        }
        let len_bytes = bytes.len();
        if len_bytes > MAX_ENCODED_BYTES {
            return Err(BlockError::TooLong { len_bytes });
        }
        let incomplete = BlockError::Incomplete { at: len_bytes };
        let Some(length) = bytes.get(1..).and_then(|bytes| bytes.first_chunk()) else {
            return Err(incomplete);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let end = HEAD_AT.saturating_add(length);
        if end > len_bytes {
            return Err(incomplete);
        }
        let contents = bytes.split_off(end);
        let mut head =
            Head { rest: &bytes[HEAD_AT..], end, contents, contents_at: end, before: None };
        let block = head.block()?;
        if !head.rest.is_empty() {
            return Err(head.malformed("length of its head"));
        }
        match head.contents.len() {
            0 => Ok(block),
            extra_bytes => Err(BlockError::Trailing { extra_bytes }),
        }
    }
}

/// The unread part of a block.
struct Head<'a> {
    /// What is left of the head.
    rest: &'a [u8],
    /// The offset in the block at which the head ends.
    end: usize,
    /// What is left of the contents.
    contents: Bytes,
    /// The offset in the block of what is left of the contents.
    contents_at: usize,
    /// The publisher and the number of the last push.
    before: Option<(InstanceId, Number)>,
}

impl<'a> Head<'a> {
    fn block(&mut self) -> Result<Block, BlockError> {
        Ok(Block {
            epoch: u64::from_be_bytes(self.array("epoch")?),
            producer: self.instance("producer")?,
            number: self.number("number")?,
            at: self.time("time")?,
            seen: Seen {
                block: self.number("seen block")?,
                at: self.time("seen time")?,
                print: self.number("seen print")?,
            },
            settled: self.list("settled numbers", LEAST_SETTLED, usize::MAX, |head| {
                Ok((head.instance("settled publisher")?, head.number("settled number")?))
            })?,
            entries: self.list("entries", LEAST_ENTRY, MAX_ENTRIES, Self::entry)?,
        })
    }

    fn entry(&mut self) -> Result<Entry, BlockError> {
        let [flags] = self.array("flags")?;
        match flags & KIND {
            WORKERS if flags != WORKERS => Err(self.malformed("flags")),
            WORKERS => Ok(Entry::Workers { below: self.number("worker id")? }),
            _ => Ok(Entry::Push(self.push(flags)?)),
        }
    }

    fn push(&mut self, flags: u8) -> Result<Push, BlockError> {
        let has = |flag| flags & flag != 0;
        let (publisher, number) = self.numbered(has(SAME_PUBLISHER))?;
        Ok(Push {
            publisher,
            number,
            audience: match flags & KIND {
                EVERYONE => Audience::Everyone,
                GROUP => Audience::Group(self.name("group", GroupName::new)?),
                _ => Audience::User(self.name("user", UserName::new)?),
            },
            id: has(ID).then(|| Ok((self.key()?, self.array("digest")?))).transpose()?,
            asks: has(ASKS),
            except: has(EXCEPT).then(|| self.address()).transpose()?,
            from: has(FROM).then(|| self.name("pushing user", UserName::new)).transpose()?,
            content: self.content(has(BINARY))?,
        })
    }

    fn numbered(&mut self, is_same: bool) -> Result<(InstanceId, Number), BlockError> {
        let numbered = match (self.before, is_same) {
            (None, true) => return Err(self.malformed("flags")),
            (Some((publisher, before)), true) => {
                let difference = unzigzag(self.number("push's number")?);
                (publisher, before.wrapping_add(difference))
            }
            (before, false) => {
                let publisher = self.instance("publisher")?;
                if before.is_some_and(|(before, _)| before == publisher) {
                    return Err(self.malformed("publisher"));
                }
                (publisher, self.number("push's number")?)
            }
        };
        self.before = Some(numbered);
        Ok(numbered)
    }

    fn key(&mut self) -> Result<RepeatKey, BlockError> {
        let text = self.string("key")?;
        RepeatKey::read(text).ok_or_else(|| self.malformed("key"))
    }

    fn address(&mut self) -> Result<Address, BlockError> {
        let worker = WorkerId(self.number("worker")?);
        Ok(Address { worker, connection: ConnectionId(self.number("connection")?) })
    }

    fn content(&mut self, is_binary: bool) -> Result<Content, BlockError> {
        let length = self.length("length of a content")?;
        if length > MAX_CONTENT_BYTES {
            return Err(self.malformed("length of a content"));
        }
        if length > self.contents.len() {
            return Err(BlockError::Incomplete { at: self.contents_at + self.contents.len() });
        }
        let content = self.contents.split_to(length);
        self.contents_at += length;
        if is_binary {
            return Ok(Content::Binary(content));
        }
        let malformed = BlockError::Malformed { what: "text", at: self.contents_at };
        ByteString::try_from(content).map(Content::Text).map_err(|_| malformed)
    }

    fn list<T>(
        &mut self,
        what: &'static str,
        least_bytes: usize,
        most: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, BlockError>,
    ) -> Result<Vec<T>, BlockError> {
        let count = self.length(what)?;
        if count > most || count > self.rest.len() / least_bytes {
            return Err(self.malformed(what));
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(list)
    }

    fn name<T, E>(
        &mut self,
        what: &'static str,
        new: impl FnOnce(ByteString) -> Result<T, E>,
    ) -> Result<T, BlockError> {
        // It is copied, because it may be remembered for longer than the contents.
        let name = ByteString::from(self.string(what)?);
        new(name).map_err(|_| self.malformed(what))
    }

    fn string(&mut self, what: &'static str) -> Result<&'a str, BlockError> {
        let length = self.length(what)?;
        let Some((string, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.malformed(what));
        };
        self.rest = rest;
        str::from_utf8(string).map_err(|_| self.malformed(what))
    }

    fn instance(&mut self, what: &'static str) -> Result<InstanceId, BlockError> {
        self.array(what).map(|bytes| InstanceId(u64::from_be_bytes(bytes)))
    }

    fn time(&mut self, what: &'static str) -> Result<Duration, BlockError> {
        self.number(what).map(Duration::from_millis)
    }

    fn length(&mut self, what: &'static str) -> Result<usize, BlockError> {
        let length = self.number(what)?;
        usize::try_from(length).map_err(|_| self.malformed(what))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], BlockError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed(what))?;
        self.rest = rest;
        Ok(*array)
    }

    fn number(&mut self, what: &'static str) -> Result<u64, BlockError> {
        let mut number = 0;
        for place in 0u32.. {
            let [byte] = self.array(what)?;
            let bits = u64::from(byte & 0x7f);
            // A tenth byte has room for one bit, and a last byte without bits is one too many.
            if place > 9 || place == 9 && byte > 1 || place > 0 && byte == 0 {
                break;
            }
            number |= bits << (7 * place);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.malformed(what))
    }

    fn malformed(&self, what: &'static str) -> BlockError {
        BlockError::Malformed { what, at: self.end - self.rest.len() }
    }
}

fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ if number & 1 == 1 { u64::MAX } else { 0 }
}
