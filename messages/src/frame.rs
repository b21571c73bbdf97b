//! The bytes of a link.
//!
//! ```text
//! frame  = length (4 bytes, big-endian, of what follows) head [content]
//! head   = one MessagePack value: `ToBroker` or `FromBroker`
//! content = one MessagePack bin, where the head's message carries content
//!
//! the first frame of each direction:
//! hello   = length "campanile" version Hello                      (three MessagePack values)
//! welcome = length "campanile" version {"Ok": Welcome} | {"Err": reason}
//! ```
//!
//! The content stands last and raw, so that it is neither copied nor encoded: a received content is
//! a slice of its frame, a sent one is written as it is.

use std::io::Cursor;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::MAX_CONTENT_BYTES;
use crate::link::{PROTOCOL_VERSION, Welcome};
use crate::{Content, ContentKind, Event, FromBroker, Hello, ToBroker};

/// The largest frame, without its length: the largest content and a head.
pub const MAX_FRAME_BYTES: usize = MAX_CONTENT_BYTES + (64 << 10);

/// The bytes that say a frame's length.
const LENGTH_BYTES: usize = 4;

/// Contents up to this size are copied behind their head: one small copy costs less than a second
/// slice in every `writev`.
const JOIN_UP_TO_BYTES: usize = 512;

const MAGIC: &str = "campanile";

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
    /// The other side speaks another version.
    #[error("the peer speaks version {theirs} of the link protocol, this side {ours}")]
    VersionMismatch {
        /// The peer's version.
        theirs: u16,
        /// [`PROTOCOL_VERSION`].
        ours: u16,
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
pub fn encode_hello(hello: &Hello) -> EncodedFrame {
    encode_first(hello)
}

/// Reads the first frame to a broker, without its length.
///
/// # Errors
/// A peer that speaks something else, or another version.
pub fn decode_hello(frame: Bytes) -> Result<Hello, DecodeError> {
    decode_first(frame)
}

/// The first frame from a broker: its welcome, or why there is none.
pub fn encode_welcome(welcome: &Result<Welcome, String>) -> EncodedFrame {
    encode_first(welcome)
}

/// Reads the first frame from a broker, without its length.
///
/// # Errors
/// A peer that speaks something else, or another version.
pub fn decode_welcome(frame: Bytes) -> Result<Result<Welcome, String>, DecodeError> {
    decode_first(frame)
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
    let mut buffer = start_frame();
    write(&mut buffer, head);
    let Some(content) = content else {
        return finish_frame(buffer, None);
    };
    let len = u32::try_from(content.len()).expect("contents are at most MAX_CONTENT_BYTES");
    rmp::encode::write_bin_len(&mut (&mut buffer).writer(), len).expect(MEMORY);
    if content.len() <= JOIN_UP_TO_BYTES {
        buffer.extend_from_slice(&content);
        return finish_frame(buffer, None);
    }
    finish_frame(buffer, Some(content))
}

fn encode_first<B: Serialize>(body: &B) -> EncodedFrame {
    let mut buffer = start_frame();
    write(&mut buffer, &MAGIC);
    write(&mut buffer, &PROTOCOL_VERSION);
    write(&mut buffer, body);
    finish_frame(buffer, None)
}

const MEMORY: &str = "writing to memory does not fail, and every message is MessagePack";

fn start_frame() -> BytesMut {
    let mut buffer = BytesMut::with_capacity(128);
    buffer.put_bytes(0, LENGTH_BYTES);
    buffer
}

fn write<T: Serialize>(buffer: &mut BytesMut, value: &T) {
    rmp_serde::encode::write(&mut buffer.writer(), value).expect(MEMORY);
}

fn finish_frame(mut buffer: BytesMut, content: Option<Bytes>) -> EncodedFrame {
    let len = buffer.len() - LENGTH_BYTES + content.as_ref().map_or(0, Bytes::len);
    let len = u32::try_from(len).expect("a frame is far below 4 GiB");
    buffer[..LENGTH_BYTES].copy_from_slice(&len.to_be_bytes());
    EncodedFrame { head: buffer.freeze(), content }
}

/// Reads one MessagePack value and what stands behind it.
fn decode_head<T: DeserializeOwned>(frame: Bytes) -> Result<(T, Bytes), DecodeError> {
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(&frame[..]));
    let head = T::deserialize(&mut deserializer)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    let end = usize::try_from(deserializer.position()).expect("a place in a frame");
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

fn decode_first<T: DeserializeOwned>(frame: Bytes) -> Result<T, DecodeError> {
    let (magic, rest) = decode_head::<String>(frame).map_err(|_| DecodeError::NotCampanile)?;
    if magic != MAGIC {
        return Err(DecodeError::NotCampanile);
    }
    let (theirs, rest) = decode_head::<u16>(rest)?;
    if theirs != PROTOCOL_VERSION {
        return Err(DecodeError::VersionMismatch { theirs, ours: PROTOCOL_VERSION });
    }
    let (body, rest) = decode_head::<T>(rest)?;
    nothing_left(&rest).map(|()| body)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::{InterestChange, Outcome, Role, Ticket};
    use crate::{Address, Audience, ConnectionId, GroupName, InstanceId, Position, WorkerId};

    fn wire(frame: EncodedFrame) -> Vec<u8> {
        [&frame.head[..], frame.content.as_deref().unwrap_or_default()].concat()
    }

    fn body(frame: EncodedFrame) -> Bytes {
        let mut buffer = BytesMut::from(&wire(frame)[..]);
        let body = take_frame(&mut buffer, MAX_FRAME_BYTES).expect("a frame").expect("complete");
        assert!(buffer.is_empty());
        body
    }

    fn news() -> Audience {
        Audience::Group(GroupName::new("news").expect("a name"))
    }

    #[test]
    fn the_bytes_of_a_publish() {
        let publish =
            ToBroker::Publish { number: 5, audience: Audience::Everyone, content: "hi".into() };
        let expected: &[u8] = b"\x00\x00\x00\x1a\x81\xa7Publish\x93\x05\xa8Everyone\xa1t\xc4\x02hi";
        assert_eq!(wire(publish.encode()), expected);
    }

    #[test]
    fn the_bytes_of_an_event_for_a_group() {
        let event = Event {
            sequence: 300,
            audience: news(),
            content: Content::Binary(Bytes::from_static(&[0xff])),
        };
        let expected: &[u8] =
            b"\x00\x00\x00\x1c\x81\xa5Event\x93\xcd\x01\x2c\x81\xa5Group\xa4news\xa1b\xc4\x01\xff";
        assert_eq!(wire(FromBroker::Event(event).encode()), expected);
    }

    #[test]
    fn the_bytes_of_a_hello() {
        let hello = Hello { instance: InstanceId(1), role: Role::Publisher };
        let expected: &[u8] = b"\x00\x00\x00\x17\xa9campanile\x01\x92\x01\xa9Publisher";
        assert_eq!(wire(encode_hello(&hello)), expected);
        assert_eq!(decode_hello(body(encode_hello(&hello))), Ok(hello));
    }

    #[test]
    fn every_message_survives_its_frame() {
        let to = Address { worker: WorkerId(1 << 52), connection: ConnectionId(7) };
        let ticket = Ticket { link: 3, number: 9 };
        for message in [
            ToBroker::Heartbeat,
            ToBroker::Interest {
                revision: 1,
                changes: vec![
                    InterestChange { audience: Audience::Everyone, connections: Some(0) },
                    InterestChange { audience: news(), connections: None },
                ],
            },
            ToBroker::Attach { cursor: Some(Position { epoch: u64::MAX, sequence: 0 }) },
            ToBroker::Delivered { ticket, outcome: Outcome::UnknownConnection },
            ToBroker::Publish { number: 1, audience: news(), content: "".into() },
            ToBroker::Push { number: 2, to, content: "쉿".into() },
        ] {
            assert_eq!(ToBroker::decode(body(message.clone().encode())), Ok(message));
        }
        for message in [
            FromBroker::Heartbeat,
            FromBroker::Confirmed { revision: 1, head: 9 },
            FromBroker::Attached { lost: 2 },
            FromBroker::Event(Event {
                sequence: 1,
                audience: Audience::Everyone,
                content: "x".into(),
            }),
            FromBroker::Deliver { ticket, to, content: "y".into() },
            FromBroker::Accepted { number: 1, sequence: 2, gateways: 3, matched: 4 },
            FromBroker::Refused { number: 1, refusal: crate::link::Refusal::LogFull },
            FromBroker::Answered { number: 1, outcome: Outcome::Written },
            FromBroker::Goodbye { reason: "bye".to_owned() },
        ] {
            assert_eq!(FromBroker::decode(body(message.clone().encode())), Ok(message));
        }
    }

    #[test]
    fn a_large_content_is_not_copied() {
        let content = Bytes::from(vec![7; 1 << 20]);
        let push = ToBroker::Publish {
            number: 1,
            audience: Audience::Everyone,
            content: Content::Binary(content.clone()),
        };
        let sent = push.encode().content.expect("behind its head");
        assert_eq!(sent.as_ptr(), content.as_ptr());

        let frame = body(
            ToBroker::Publish {
                number: 1,
                audience: Audience::Everyone,
                content: Content::Binary(content),
            }
            .encode(),
        );
        let range = frame.as_ptr_range();
        let Ok(ToBroker::Publish { content, .. }) = ToBroker::decode(frame) else {
            panic!("not a publish")
        };
        assert!(range.contains(&content.as_bytes().as_ptr()));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_reserved() {
        let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xff][..]);
        let capacity = buffer.capacity();
        assert_eq!(
            take_frame(&mut buffer, 100),
            Err(DecodeError::TooLarge { len_bytes: u32::MAX as usize, max_bytes: 100 })
        );
        assert_eq!(buffer.capacity(), capacity);
    }

    #[test]
    fn an_incomplete_frame_is_not_an_error() {
        let whole = wire(ToBroker::Heartbeat.encode());
        for end in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..end]);
            assert_eq!(take_frame(&mut buffer, 100), Ok(None));
            assert_eq!(&buffer[..], &whole[..end]);
        }
    }

    #[test]
    fn a_text_that_is_not_utf8_is_refused() {
        let message = ToBroker::Publish {
            number: 1,
            audience: Audience::Everyone,
            content: Content::Binary(Bytes::from_static(b"\xff")),
        };
        let mut frame = body(message.encode()).to_vec();
        let kind = frame.len() - 4;
        assert_eq!(frame[kind], b'b');
        frame[kind] = b't';
        assert_eq!(ToBroker::decode(frame.into()), Err(DecodeError::NotUtf8));
    }

    #[test]
    fn bytes_behind_the_message_are_refused() {
        let mut frame = body(ToBroker::Heartbeat.encode()).to_vec();
        frame.push(0);
        assert_eq!(ToBroker::decode(frame.into()), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn another_version_is_told_from_another_protocol() {
        let mut frame =
            body(encode_hello(&Hello { instance: InstanceId(1), role: Role::Publisher })).to_vec();
        frame[10] = 2;
        // What follows the version of a later protocol is its own affair.
        frame.truncate(12);
        assert_eq!(
            decode_hello(frame.into()),
            Err(DecodeError::VersionMismatch { theirs: 2, ours: 1 })
        );
        assert_eq!(
            decode_hello(Bytes::from_static(b"GET / HTTP/1.1\r\n")),
            Err(DecodeError::NotCampanile)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic_a_decoder(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = ToBroker::decode(bytes.clone());
            let _ = FromBroker::decode(bytes.clone());
            let _ = decode_hello(bytes.clone());
            let _ = decode_welcome(bytes.clone());
            let _ = take_frame(&mut BytesMut::from(&bytes[..]), 100);
        }
    }
}
