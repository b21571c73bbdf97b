//! The bytes of a link.
//!
//! ```text
//! frame   = length (4 bytes, big-endian, of what follows) head [content]
//! head    = one MessagePack value: `ToBroker` or `FromBroker`
//! content = one MessagePack bin, where the head's message carries content
//!
//! the first frames, each a sequence of MessagePack values (least, most: versions):
//! to the broker    hello  = length "campanile" least most Offer
//! from the broker  answer = length "campanile" least most HelloAnswer
//! to the broker    proof  = length "campanile" least most Proof      after a challenge only
//! ```
//!
//! An enum is the name of its variant, or a map from that name to what it holds; a struct is an array
//! of its fields in their order, which may be longer than the reader knows (see [`crate::hello`]).
//!
//! The content stands last and raw, so that it is neither copied nor encoded: a received content is
//! a slice of its frame, a sent one is written as it is.

mod tolerant;

use std::io::Cursor;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tolerant::Tolerant;

use crate::hello::{HelloAnswer, Offer, Proof, VERSIONS, Versions};
use crate::{Content, ContentKind, Event, FromBroker, ToBroker};

pub use crate::hello::MAX_FRAME_BYTES;

/// The bytes that say a frame's length.
const LENGTH_BYTES: usize = 4;

/// Contents up to this size are copied behind their head: one small copy costs less than a second
/// slice in every `writev`.
const JOIN_UP_TO_BYTES: usize = 512;

/// The first room for a frame: most have no more.
const FRAME_ROOM_BYTES: usize = 128;

const MAGIC: &str = "campanile";

/// The version that says a range of versions in its first frames.
const FIRST_WITH_RANGE: u16 = 4;

/// Why bytes are no frame of this protocol. Each of them ends the link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length is above the limit; nothing was reserved for it.
    #[error("a frame of {len_bytes} bytes, at most {max_bytes} are accepted")]
    TooLarge {
        /// The announced length.
        len_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The head is not the MessagePack that was expected.
    #[error("a malformed frame: {0}")]
    Malformed(String),
    /// Bytes after the end of the message.
    #[error("{0} bytes too many in a frame")]
    Trailing(usize),
    /// A text that is not UTF-8.
    #[error("a text content that is not UTF-8")]
    NotUtf8,
    /// The first frame does not begin as this protocol does.
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

/// A frame ready to be written: first the head, then the content where it was not joined to it.
/// Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The length and the head.
    pub head: Bytes,
    /// A large content, as it came.
    pub content: Option<Bytes>,
}

impl EncodedFrame {
    /// How many bytes it puts on the wire.
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.content.as_ref().map_or(0, Bytes::len)
    }
}

impl ToBroker {
    /// The frame of this message.
    pub fn encode(self) -> EncodedFrame {
        let (head, content) = split(|replace| self.try_map_content(replace));
        encode_with_content(&head, content)
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// Whatever is not exactly one message.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        let (head, mut rest) = decode_head::<ToBroker<ContentKind>>(frame)?;
        let message = head.try_map_content(|kind| take_content(kind, &mut rest))?;
        nothing_left(&rest).map(|()| message)
    }
}

impl ToBroker<ContentKind> {
    /// Adds the frame of this message to `buffer`, with the content that it carries. A large one is
    /// not copied: it is answered, and belongs directly behind what the buffer has then.
    pub fn encode_to(&self, content: &Bytes, buffer: &mut BytesMut) -> Option<Bytes> {
        add_with_content(buffer, self, content)
    }
}

impl FromBroker {
    /// The frame of this message.
    pub fn encode(self) -> EncodedFrame {
        let (head, content) = split(|replace| self.try_map_content(replace));
        encode_with_content(&head, content)
    }

    /// Reads a frame, without its length.
    ///
    /// # Errors
    /// Whatever is not exactly one message.
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

/// The first frame to a broker.
pub fn encode_hello(offer: &Offer) -> EncodedFrame {
    encode_first(offer.versions, offer)
}

/// Reads the first frame to a broker, without its length.
///
/// # Errors
/// A peer that speaks something else, or no version of [`VERSIONS`].
pub fn decode_hello(frame: Bytes) -> Result<Offer, DecodeError> {
    let (versions, offer) = decode_first(frame)?;
    Ok(Offer { versions, ..offer })
}

/// The first frame from a broker.
pub fn encode_answer(answer: &HelloAnswer) -> EncodedFrame {
    encode_first(VERSIONS, answer)
}

/// Reads the first frame from a broker, without its length.
///
/// # Errors
/// A peer that speaks something else, or no version of [`VERSIONS`].
pub fn decode_answer(frame: Bytes) -> Result<HelloAnswer, DecodeError> {
    decode_first(frame).map(|(_, answer)| answer)
}

/// What a caller says to a challenge.
pub fn encode_proof(proof: &Proof) -> EncodedFrame {
    encode_first(VERSIONS, proof)
}

/// Reads the answer to a challenge, without its length.
///
/// # Errors
/// As [`decode_hello`].
pub fn decode_proof(frame: Bytes) -> Result<Proof, DecodeError> {
    decode_first(frame).map(|(_, proof)| proof)
}

/// Takes the next whole frame from the front of a read buffer, without its length and without a
/// copy; `None` if it is not all there yet.
///
/// # Errors
/// [`DecodeError::TooLarge`], as soon as the length is there.
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

/// Puts the length of a frame, of which `rest_bytes` are elsewhere, in front of it.
fn write_length(frame: &mut [u8], rest_bytes: usize) {
    let len = frame.len() - LENGTH_BYTES + rest_bytes;
    let len = u32::try_from(len).expect("a frame is far below 4 GiB");
    frame[..LENGTH_BYTES].copy_from_slice(&len.to_be_bytes());
}

/// Reads one MessagePack value, which may have more fields than are known here, and what stands
/// behind it.
fn decode_head<T: DeserializeOwned>(frame: Bytes) -> Result<(T, Bytes), DecodeError> {
    let mut deserializer = rmp_serde::Deserializer::new(&frame[..]);
    let head = T::deserialize(Tolerant(&mut deserializer))
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let end = frame.len() - deserializer.get_ref().len();
    Ok((head, frame.slice(end..)))
}

fn take_content(kind: ContentKind, rest: &mut Bytes) -> Result<Content, DecodeError> {
    let mut reader = Cursor::new(&rest[..]);
    let len = rmp::decode::read_bin_len(&mut reader)
        .map_err(|error| DecodeError::Malformed(error.to_string()))? as usize;
    rest.advance(usize::try_from(reader.position()).expect("a place in a frame"));
    if len > rest.len() {
        return Err(DecodeError::Malformed("the content is cut off".to_owned()));
    }
    let bytes = rest.split_to(len);
    match kind {
        ContentKind::Binary => Ok(Content::Binary(bytes)),
        ContentKind::Text => {
            ByteString::try_from(bytes).map(Content::Text).map_err(|_| DecodeError::NotUtf8)
        }
    }
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
    // Before there were ranges, there was one number.
    let (most, rest) = match least < FIRST_WITH_RANGE {
        true => (least, rest),
        false => decode_head::<u16>(rest)?,
    };
    let theirs = Versions { least, most };
    if least > most {
        return Err(DecodeError::Malformed(format!("{theirs}")));
    }
    // What follows the versions of another protocol is its own affair.
    if VERSIONS.common(theirs).is_none() {
        return Err(DecodeError::VersionMismatch { theirs, ours: VERSIONS });
    }
    let (body, rest) = decode_head::<T>(rest)?;
    nothing_left(&rest).map(|()| (theirs, body))
}

#[cfg(test)]
mod tests;
