//! The bytes of a link.
//!
//! ```text
//! frame   = length (4 bytes, big-endian, of what follows) head [content]
//! head    = one MessagePack value: `ToBroker` or `FromBroker`
//! content = one MessagePack bin, if the message in the head carries content
//!
//! the first frames, each a sequence of MessagePack values (least and most are versions):
//! to the broker    hello  = length "campanile" least most Offer
//! from the broker  answer = length "campanile" least most HelloAnswer
//! to the broker    proof  = length "campanile" least most Proof      only after a challenge
//! ```
//!
//! An enum is the name of its variant, or a map from that name to what the variant holds. A struct is
//! an array of its fields in their order, which may be longer than the reader expects (see
//! [`crate::hello`]).
//!
//! The content comes last and unencoded, so that it need not be copied: a content that was received is
//! a slice of its frame, and a content that is sent is written as it is.

mod tolerant;

use std::fmt;
use std::io::Cursor;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tolerant::Tolerant;

use crate::hello::{HelloAnswer, Offer, Proof, VERSIONS, Versions};
use crate::{Content, ContentKind, Event, FromBroker, ToBroker};

pub use crate::hello::MAX_FRAME_BYTES;

/// The size of the length in front of a frame.
const LENGTH_BYTES: usize = 4;

/// Contents up to this size are copied behind their head, because one small copy costs less than a
/// second slice in every `writev`.
const JOIN_UP_TO_BYTES: usize = 512;

/// The initial capacity for a frame: enough for most of them.
const FRAME_ROOM_BYTES: usize = 128;

/// How deep the values of a head may be nested. Its own reach about ten; those of a later release, which
/// are skipped, have some room.
const MAX_DEPTH: usize = 32;

/// About how long the reason of a [`DecodeError::Malformed`] may be.
const MAX_REASON_BYTES: usize = 200;

const MAGIC: &str = "campanile";

/// The first version whose first frames name a range of versions.
const FIRST_WITH_RANGE: u16 = 4;

/// Why bytes are not a frame of this protocol. Each of these errors ends the link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length is above the limit. No memory was reserved for it.
    #[error("a frame of {len_bytes} bytes, but at most {max_bytes} are accepted")]
    TooLarge {
        /// The length that was announced, in bytes.
        len_bytes: usize,
        /// The limit, in bytes.
        max_bytes: usize,
    },
    /// The head is not MessagePack, or not such a message. The reason may quote the peer, so it is
    /// short, and without control characters.
    #[error("a malformed frame: {0}")]
    Malformed(String),
    /// There are this many bytes after the end of the message.
    #[error("a frame has {0} bytes after the end of its message")]
    Trailing(usize),
    /// A text content is not UTF-8.
    #[error("a content is marked as text and is not UTF-8")]
    NotUtf8,
    /// The first frame does not begin like one of this protocol.
    #[error("the peer does not speak the protocol of campanile's links")]
    NotCampanile,
    /// The two sides have no version in common.
    #[error("the peer speaks {theirs} of the link protocol, this side {ours}")]
    VersionMismatch {
        /// The peer's versions.
        theirs: Versions,
        /// [`VERSIONS`].
        ours: Versions,
    },
}

/// A frame that is ready to be written: first the head, then the content, if that was not copied behind
/// the head. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The length and the head, and a small content.
    pub head: Bytes,
    /// A large content, which was not copied.
    pub content: Option<Bytes>,
}

impl EncodedFrame {
    /// A frame of which nothing was left out of the head, without its length: what the other side reads.
    pub fn payload(&self) -> &[u8] {
        debug_assert!(self.content.is_none(), "a frame with a large content");
        &self.head[LENGTH_BYTES..]
    }

    /// Its size on the wire, length included.
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.content.as_ref().map_or(0, Bytes::len)
    }
}

impl ToBroker {
    /// Encodes the message.
    pub fn encode(self) -> EncodedFrame {
        let (head, content) = split(|replace| self.try_map_content(replace));
        encode_with_content(&head, content)
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The bytes are not exactly one message.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let (head, mut rest) = decode_head::<ToBroker<ContentKind>>(frame)?;
        let message = head.try_map_content(|kind| take_content(kind, &mut rest))?;
        nothing_left(&rest).map(|()| message)
    }
}

impl ToBroker<ContentKind> {
    /// Appends the frame of this message and its content to `buffer`. A large content is not copied but
    /// returned: it has to be written directly after what the buffer then contains.
    pub fn encode_to(&self, content: &Bytes, buffer: &mut BytesMut) -> Option<Bytes> {
        add_with_content(buffer, self, content)
    }
}

impl FromBroker {
    /// Encodes the message.
    pub fn encode(self) -> EncodedFrame {
        let (head, content) = split(|replace| self.try_map_content(replace));
        encode_with_content(&head, content)
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// The bytes are not exactly one message.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let (head, mut rest) = decode_head::<FromBroker<ContentKind>>(frame)?;
        let message = head.try_map_content(|kind| take_content(kind, &mut rest))?;
        nothing_left(&rest).map(|()| message)
    }
}

impl From<Event> for FromBroker {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// Encodes the first frame to a broker.
pub fn encode_hello(offer: &Offer) -> EncodedFrame {
    encode_first(offer.versions, offer)
}

/// Reads the first frame to a broker, without its length.
///
/// # Errors
/// The peer does not speak this protocol, or no version of [`VERSIONS`].
pub fn decode_hello(frame: Bytes) -> Result<Offer, DecodeError> {
    let (versions, offer) = decode_first(frame)?;
    Ok(Offer { versions, ..offer })
}

/// Encodes the first frame from a broker.
pub fn encode_answer(answer: &HelloAnswer) -> EncodedFrame {
    encode_first(VERSIONS, answer)
}

/// Reads the first frame from a broker, without its length.
///
/// # Errors
/// See [`decode_hello`].
pub fn decode_answer(frame: Bytes) -> Result<HelloAnswer, DecodeError> {
    decode_first(frame).map(|(_, answer)| answer)
}

/// Encodes the answer to a challenge.
pub fn encode_proof(proof: &Proof) -> EncodedFrame {
    encode_first(VERSIONS, proof)
}

/// Reads the answer to a challenge, without its length.
///
/// # Errors
/// See [`decode_hello`].
pub fn decode_proof(frame: Bytes) -> Result<Proof, DecodeError> {
    decode_first(frame).map(|(_, proof)| proof)
}

/// Takes the next frame from the front of a read buffer, without its length and without copying it;
/// `None` if the frame is not complete yet.
///
/// # Errors
/// [`DecodeError::TooLarge`], as soon as the length has come.
pub fn take_frame(buffer: &mut BytesMut, max_bytes: usize) -> Result<Option<Bytes>, DecodeError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let len_bytes = u32::from_be_bytes(*length) as usize;
    if len_bytes > max_bytes {
        return Err(DecodeError::TooLarge { len_bytes, max_bytes });
    }
    if buffer.len() < LENGTH_BYTES + len_bytes {
        buffer.reserve(LENGTH_BYTES + len_bytes - buffer.len());
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Some(buffer.split_to(len_bytes).freeze()))
}

/// Separates a message into its head and its content.
fn split<H>(
    map: impl FnOnce(
        &mut dyn FnMut(Content) -> Result<ContentKind, std::convert::Infallible>,
    ) -> Result<H, std::convert::Infallible>,
) -> (H, Option<Bytes>) {
    let mut taken = None;
    let Ok(head) = map(&mut |content: Content| {
        taken = Some(content.as_bytes().clone());
        Ok(content.kind())
    });
    (head, taken)
}

fn encode_with_content<H: Serialize>(head: &H, content: Option<Bytes>) -> EncodedFrame {
    let Some(content) = content else {
        let mut buffer = start_frame();
        write(&mut buffer, head);
        return finish_frame(buffer, None);
    };
    let mut buffer = BytesMut::with_capacity(FRAME_ROOM_BYTES);
    let content = add_with_content(&mut buffer, head, &content);
    EncodedFrame { head: buffer.freeze(), content }
}

fn add_with_content<H: Serialize>(
    buffer: &mut BytesMut,
    head: &H,
    content: &Bytes,
) -> Option<Bytes> {
    let start = buffer.len();
    buffer.put_bytes(0, LENGTH_BYTES);
    write(buffer, head);
    let len = u32::try_from(content.len()).expect("contents are at most MAX_CONTENT_BYTES");
    rmp::encode::write_bin_len(&mut (&mut *buffer).writer(), len).expect(MEMORY);
    let separate = content.len() > JOIN_UP_TO_BYTES;
    if !separate {
        buffer.extend_from_slice(content);
    }
    let rest_bytes = if separate { content.len() } else { 0 };
    write_length(&mut buffer[start..], rest_bytes);
    separate.then(|| content.clone())
}

fn encode_first<B: Serialize>(Versions { least, most }: Versions, body: &B) -> EncodedFrame {
    let mut buffer = start_frame();
    write(&mut buffer, &MAGIC);
    write(&mut buffer, &least);
    write(&mut buffer, &most);
    write(&mut buffer, body);
    finish_frame(buffer, None)
}

const MEMORY: &str = "writing to memory does not fail, and every message is MessagePack";

fn start_frame() -> BytesMut {
    let mut buffer = BytesMut::with_capacity(FRAME_ROOM_BYTES);
    buffer.put_bytes(0, LENGTH_BYTES);
    buffer
}

fn write<T: Serialize>(buffer: &mut BytesMut, value: &T) {
    rmp_serde::encode::write(&mut buffer.writer(), value).expect(MEMORY);
}

fn finish_frame(mut buffer: BytesMut, content: Option<Bytes>) -> EncodedFrame {
    write_length(&mut buffer, content.as_ref().map_or(0, Bytes::len));
    EncodedFrame { head: buffer.freeze(), content }
}

/// Writes the length to the front of a frame of which `rest_bytes` more are not in the slice.
fn write_length(frame: &mut [u8], rest_bytes: usize) {
    let len = frame.len() - LENGTH_BYTES + rest_bytes;
    let len = u32::try_from(len).expect("a frame is far below 4 GiB");
    frame[..LENGTH_BYTES].copy_from_slice(&len.to_be_bytes());
}

/// Reads one MessagePack value, which may have more fields than are known here. Also returns what comes
/// after it.
fn decode_head<T: DeserializeOwned>(frame: Bytes) -> Result<(T, Bytes), DecodeError> {
    let mut deserializer = rmp_serde::Deserializer::new(&frame[..]);
    deserializer.set_max_depth(MAX_DEPTH);
    let head = T::deserialize(Tolerant(&mut deserializer)).map_err(malformed)?;
    let end = frame.len() - deserializer.get_ref().len();
    Ok((head, frame.slice(end..)))
}

fn take_content(kind: ContentKind, rest: &mut Bytes) -> Result<Content, DecodeError> {
    let mut reader = Cursor::new(&rest[..]);
    let len = rmp::decode::read_bin_len(&mut reader).map_err(malformed)? as usize;
    rest.advance(usize::try_from(reader.position()).expect("a place in a frame"));
    if len > rest.len() {
        return Err(DecodeError::Malformed("the content is incomplete".to_owned()));
    }
    let bytes = rest.split_to(len);
    match kind {
        ContentKind::Binary => Ok(Content::Binary(bytes)),
        ContentKind::Text => {
            ByteString::try_from(bytes).map(Content::Text).map_err(|_| DecodeError::NotUtf8)
        }
    }
}

/// An error of a decoder. Its text may contain anything that the peer has sent.
fn malformed(error: impl fmt::Display) -> DecodeError {
    DecodeError::Malformed(quoted(&error.to_string()))
}

/// A peer's text for a log: its beginning, without characters that a terminal would obey.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars() {
        if quoted.len() >= MAX_REASON_BYTES {
            return quoted + "...";
        }
        match character {
            '"' | '\'' | '\\' => quoted.push(character),
            _ => quoted.extend(character.escape_debug()),
        }
    }
    quoted
}

fn nothing_left(rest: &Bytes) -> Result<(), DecodeError> {
    if rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(rest.len())) }
}

fn decode_first<T: DeserializeOwned>(frame: Bytes) -> Result<(Versions, T), DecodeError> {
    let (magic, rest) = decode_head::<String>(frame).map_err(|_| DecodeError::NotCampanile)?;
    if magic != MAGIC {
        return Err(DecodeError::NotCampanile);
    }
    let (least, rest) = decode_head::<u16>(rest)?;
    // Earlier versions name a single version.
    let (most, rest) = match least < FIRST_WITH_RANGE {
        true => (least, rest),
        false => decode_head::<u16>(rest)?,
    };
    let theirs = Versions { least, most };
    if least > most {
        return Err(DecodeError::Malformed(format!("it names {theirs}")));
    }
    // In other versions, anything may follow.
    if VERSIONS.common(theirs).is_none() {
        return Err(DecodeError::VersionMismatch { theirs, ours: VERSIONS });
    }
    let (body, rest) = decode_head::<T>(rest)?;
    nothing_left(&rest).map(|()| (theirs, body))
}

#[cfg(test)]
mod tests;
