//! From the bytes of a websocket to whole messages. Pure; frames are read by `actix-http`'s codec, which
//! is only shown whole ones: it would judge a size when all of the frame is there.

use actix_http::ws::{CloseCode, Codec, Frame, Item, ProtocolError};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tokio_util::codec::Decoder as _;

/// How many fragments a message may have.
const MAX_FRAGMENTS: usize = 1_024;

/// An empty buffer with more room than this gives it back.
const KEPT_BYTES: usize = 256 << 10;

/// One whole message, or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Text(ByteString),
    Binary(Bytes),
    /// Wants a pong with this payload.
    Ping(Bytes),
    Pong,
    /// The caller's last frame.
    Close,
}

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    /// RFC 6455.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// A text.
    #[error("a text that is not UTF-8")]
    NotUtf8,
    /// A message, over all its fragments.
    #[error("a message of more than {max_bytes} bytes")]
    TooBig {
        /// The limit.
        max_bytes: usize,
    },
    /// A message.
    #[error("a message of more than {MAX_FRAGMENTS} fragments")]
    TooManyFragments,
}

impl Violation {
    pub(super) fn close_code(&self) -> CloseCode {
        match self {
            Self::Protocol(_) => CloseCode::Protocol,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::TooBig { .. } | Self::TooManyFragments => CloseCode::Size,
        }
    }
}

/// Reads messages.
#[derive(Debug)]
pub(super) struct Intake {
    codec: Codec,
    buffer: BytesMut,
    /// The fragments so far of a message that is not complete.
    partial: Option<Partial>,
    max_message_bytes: usize,
}

#[derive(Debug)]
struct Partial {
    is_text: bool,
    payload: Vec<u8>,
    fragments: usize,
}

impl Intake {
    /// At the start of a stream of messages of up to `max_message_bytes`.
    pub(super) fn new(max_message_bytes: usize) -> Self {
        // A control frame may have 125 bytes, whatever the limit is.
        let codec = Codec::new().max_size(max_message_bytes.max(125));
        Self { codec, buffer: BytesMut::new(), partial: None, max_message_bytes }
    }

    /// The next bytes of the stream. Should be fed when [`next`](Self::next) has nothing more: then it
    /// holds no more than a message and what it is fed.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes are held.
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len() + self.partial.as_ref().map_or(0, |partial| partial.payload.len())
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// A [`Violation`]; nothing more must be asked for.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Violation> {
        while self.has_whole_frame()? {
            let Some(frame) = self.codec.decode(&mut self.buffer)? else {
                return Ok(None);
            };
            let incoming = match frame {
                Frame::Text(payload) => Some(text(payload)?),
                Frame::Binary(payload) => Some(Incoming::Binary(payload)),
                Frame::Continuation(item) => self.continued(item)?,
                Frame::Ping(payload) => Some(Incoming::Ping(payload)),
                Frame::Pong(_) => Some(Incoming::Pong),
                Frame::Close(_) => Some(Incoming::Close),
            };
            if incoming.is_some() {
                return Ok(incoming);
            }
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = BytesMut::new();
        }
        Ok(None)
    }

    /// Judges a frame by its header.
    fn has_whole_frame(&self) -> Result<bool, Violation> {
        let Some((head_bytes, payload_bytes)) = announced(&self.buffer) else {
            return Ok(false);
        };
        let partial = self.partial.as_ref().map_or(0, |partial| partial.payload.len());
        let is_control = self.buffer[0] & 0x08 != 0;
        let max_bytes = self.max_message_bytes;
        match usize::try_from(payload_bytes) {
            // The codec refuses a control frame by its header where it is shown all of it.
            Ok(bytes) if is_control && bytes <= 125 => Ok(self.buffer.len() >= head_bytes + bytes),
            _ if is_control => Err(ProtocolError::InvalidLength(126).into()),
            Ok(bytes) if bytes <= max_bytes.saturating_sub(partial) => {
                Ok(self.buffer.len() >= head_bytes + bytes)
            }
            _ => Err(Violation::TooBig { max_bytes }),
        }
    }

    fn continued(&mut self, item: Item) -> Result<Option<Incoming>, Violation> {
        let (payload, is_last) = match item {
            Item::FirstText(payload) | Item::FirstBinary(payload) if self.partial.is_some() => {
                drop(payload);
                return Err(ProtocolError::ContinuationStarted.into());
            }
            Item::FirstText(payload) => {
                self.partial = Some(Partial { is_text: true, payload: vec![], fragments: 0 });
                (payload, false)
            }
            Item::FirstBinary(payload) => {
                self.partial = Some(Partial { is_text: false, payload: vec![], fragments: 0 });
                (payload, false)
            }
            Item::Continue(payload) => (payload, false),
            Item::Last(payload) => (payload, true),
        };
        let partial = self.partial.as_mut().ok_or(ProtocolError::ContinuationNotStarted)?;
        partial.payload.extend_from_slice(&payload);
        partial.fragments += 1;
        if partial.fragments > MAX_FRAGMENTS {
            return Err(Violation::TooManyFragments);
        }
        match self.partial.take_if(|_| is_last) {
            None => Ok(None),
            Some(Partial { is_text: true, payload, .. }) => text(payload.into()).map(Some),
            Some(Partial { payload, .. }) => Ok(Some(Incoming::Binary(payload.into()))),
        }
    }
}

fn text(payload: Bytes) -> Result<Incoming, Violation> {
    ByteString::try_from(payload).map(Incoming::Text).map_err(|_| Violation::NotUtf8)
}

/// How long a frame's head and its payload are, if its head is there.
fn announced(buffer: &[u8]) -> Option<(usize, u64)> {
    let second = *buffer.get(1)?;
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    let (head_bytes, payload_bytes) = match second & 0x7f {
        126 => (4, u16::from_be_bytes(*buffer.get(2..)?.first_chunk()?).into()),
        127 => (10, u64::from_be_bytes(*buffer.get(2..)?.first_chunk()?)),
        len => (2, len.into()),
    };
    Some((head_bytes + mask_bytes, payload_bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// A client's frame; `first` has the opcode and the flags.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len @ 126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn all(stream: &[u8], piece: usize) -> Result<Vec<Incoming>, Violation> {
        let mut intake = Intake::new(1_000);
        let mut all = Vec::new();
        for piece in stream.chunks(piece) {
            intake.feed(piece);
            while let Some(incoming) = intake.next()? {
                all.push(incoming);
            }
        }
        Ok(all)
    }

    fn code(stream: &[u8]) -> u16 {
        all(stream, stream.len()).expect_err("a violation").close_code().into()
    }

    #[test]
    fn fragments_are_one_message_and_control_frames_may_stand_between() {
        let stream = [
            frame(0x01, "안".as_bytes().split_at(1).0),
            frame(0x89, b"ping"),
            frame(0x80, "안".as_bytes().split_at(1).1),
            frame(0x82, b"binary"),
            frame(0x8a, b""),
            frame(0x88, &1000u16.to_be_bytes()),
        ];
        let expected = [
            Incoming::Ping(Bytes::from_static(b"ping")),
            Incoming::Text("안".into()),
            Incoming::Binary(Bytes::from_static(b"binary")),
            Incoming::Pong,
            Incoming::Close,
        ];
        for piece in [1, 2, 7, 1_000] {
            assert_eq!(all(&stream.concat(), piece).expect("messages"), expected);
        }
    }

    #[test]
    fn each_violation_has_its_close_code() {
        assert_eq!(code(&[0x81, 0x01, b'a']), 1002, "not masked");
        assert_eq!(code(&frame(0xc1, b"{}")), 1002, "compressed");
        assert_eq!(code(&frame(0x83, b"")), 1002, "no such opcode");
        assert_eq!(code(&frame(0x80, b"{}")), 1002, "nothing to continue");
        assert_eq!(code(&[frame(0x01, b"{"), frame(0x81, b"}")].concat()), 1002, "interleaved");
        assert_eq!(code(&[frame(0x01, b"{"), frame(0x01, b"}")].concat()), 1002, "interleaved");
        assert_eq!(code(&frame(0x89, &[0; 126])), 1002, "a long ping");
        assert_eq!(code(&frame(0x09, b"")), 1002, "a fragment of a ping");
        assert_eq!(code(&frame(0x88, &[0])), 1002, "half a close code");
        assert_eq!(code(&frame(0x81, b"\xff")), 1007, "not UTF-8");
        assert_eq!(code(&[frame(0x01, b"\xff"), frame(0x80, b"")].concat()), 1007, "not UTF-8");
        assert_eq!(code(&frame(0x81, &[b' '; 1_001])), 1009, "too big");
        let pieces = [frame(0x01, &[b' '; 600]), frame(0x80, &[b' '; 401])];
        assert_eq!(code(&pieces.concat()), 1009, "too big together");
        let pieces = [frame(0x01, b""), frame(0x00, b"").repeat(MAX_FRAGMENTS)];
        assert_eq!(code(&pieces.concat()), 1009, "too many fragments");
    }

    #[test]
    fn a_frame_is_judged_by_its_header() {
        let huge = [&[0x81, 0xff][..], &u64::MAX.to_be_bytes()].concat();
        assert_eq!(code(&huge), 1009);
        let over = [&[0x81, 0xfe][..], &1_001u16.to_be_bytes()].concat();
        assert_eq!(code(&over), 1009);
        let fits = [&[0x81, 0xfe][..], &1_000u16.to_be_bytes()].concat();
        assert_eq!(all(&fits, 1).expect("not all there").len(), 0);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_panics(stream: Vec<u8>, piece in 1usize..9) {
            let whole = all(&stream, stream.len().max(1)).map_err(|violation| violation.to_string());
            prop_assert_eq!(all(&stream, piece).map_err(|violation| violation.to_string()), whole);
        }
    }
}
