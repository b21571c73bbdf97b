//! Reads whole messages from the bytes of a websocket. Pure. A message in one frame is not copied out of
//! the buffer.

use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;
use campanile_edge::websocket::{
    Header, Limits, Opcode, Role, Unfinished, Violation, closing_code, mask,
};

/// How many fragments a message may have.
const MAX_FRAGMENTS: u32 = 1_024;

/// An empty buffer with more capacity than this is freed.
const KEPT_BYTES: usize = 256 << 10;

/// One whole message, or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Text(ByteString),
    Binary(Bytes),
    /// Must be answered by a pong with this payload.
    Ping(Bytes),
    Pong,
    /// The caller's last frame.
    Close,
}

impl Incoming {
    /// Whether it is a message of the caller, and not a control frame.
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Binary(_))
    }

    /// How long its payload is.
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) => bytes.len(),
            Self::Pong | Self::Close => 0,
        }
    }
}

/// Reads messages.
#[derive(Debug)]
pub(super) struct Intake {
    limits: Limits,
    buffer: BytesMut,
    /// The fragments of a message that is not complete yet.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    is_text: bool,
    payload: Vec<u8>,
    fragments: u32,
}

impl Intake {
    /// Starts a stream of messages of up to `max_message_bytes`.
    pub(super) fn new(max_message_bytes: usize) -> Self {
        let limits = Limits { max_message_bytes, max_fragments: MAX_FRAGMENTS };
        Self { limits, buffer: BytesMut::new(), partial: None }
    }

    /// Accepts larger messages from now on.
    pub(super) fn accept(&mut self, max_message_bytes: usize) {
        self.limits.max_message_bytes = max_message_bytes;
    }

    /// Adds the next bytes of the stream. If this is only called when [`next`](Self::next) returns nothing,
    /// no more is held than a message and these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes are held.
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len() + self.partial.as_ref().map_or(0, |partial| partial.payload.len())
    }

    /// Returns the next message, if it is complete.
    ///
    /// # Errors
    /// A [`Violation`]. After that, this must not be called again.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Violation> {
        while let Some((header, payload_at)) = Header::parse(&self.buffer, Role::Client)? {
            let unfinished = self.partial.as_ref().map(|partial| Unfinished {
                len_bytes: partial.payload.len(),
                fragments: partial.fragments,
            });
            header.check(unfinished, self.limits)?;
            if self.buffer.len() - payload_at < header.len {
                return Ok(None);
            }
            self.buffer.advance(payload_at);
            let mut payload = self.buffer.split_to(header.len);
            mask(&mut payload, header.mask, 0);
            if let Some(incoming) = self.take(&header, payload.freeze())? {
                return Ok(Some(incoming));
            }
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES {
            self.buffer = BytesMut::new();
        }
        Ok(None)
    }

    /// Takes a complete and valid frame, and returns the message that it completes.
    fn take(&mut self, header: &Header, payload: Bytes) -> Result<Option<Incoming>, Violation> {
        match header.opcode {
            Opcode::Ping => return Ok(Some(Incoming::Ping(payload))),
            Opcode::Pong => return Ok(Some(Incoming::Pong)),
            Opcode::Close => return closing_code(&payload).map(|_| Some(Incoming::Close)),
            Opcode::Text if header.fin => return text(payload).map(Some),
            Opcode::Binary if header.fin => return Ok(Some(Incoming::Binary(payload))),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {}
        }
        let is_text = header.opcode == Opcode::Text;
        let partial =
            self.partial.get_or_insert(Partial { is_text, payload: vec![], fragments: 0 });
        partial.payload.extend_from_slice(&payload);
        partial.fragments += 1;
        match self.partial.take_if(|_| header.fin) {
            None => Ok(None),
            Some(Partial { is_text: true, payload, .. }) => text(payload.into()).map(Some),
            Some(Partial { payload, .. }) => Ok(Some(Incoming::Binary(payload.into()))),
        }
    }
}

fn text(payload: Bytes) -> Result<Incoming, Violation> {
    ByteString::try_from(payload).map(Incoming::Text).map_err(|_| Violation::NotUtf8)
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
        all(stream, stream.len()).expect_err("a violation").close_code()
    }

    #[test]
    fn control_frames_may_come_between_fragments() {
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
        assert_eq!(code(&frame(0x88, &1005u16.to_be_bytes())), 1002, "a code that is not sent");
        assert_eq!(code(&[0x81, 0xfe, 0, 2, 1, 2, 3, 4]), 1002, "a length that is too long");
        assert_eq!(code(&frame(0x88, b"\x03\xe8\xff")), 1007, "a reason that is not UTF-8");
        assert_eq!(code(&frame(0x81, b"\xff")), 1007, "not UTF-8");
        assert_eq!(code(&[frame(0x01, b"\xff"), frame(0x80, b"")].concat()), 1007, "not UTF-8");
        assert_eq!(code(&frame(0x81, &[b' '; 1_001])), 1009, "too big");
        let pieces = [frame(0x01, &[b' '; 600]), frame(0x80, &[b' '; 401])];
        assert_eq!(code(&pieces.concat()), 1009, "too big together");
        let pieces = [frame(0x01, b""), frame(0x00, b"").repeat(MAX_FRAGMENTS as usize)];
        assert_eq!(code(&pieces.concat()), 1009, "too many fragments");
    }

    #[test]
    fn a_frame_is_refused_by_its_header() {
        let announcing = |len: &[u8]| [len, &MASK].concat();
        let huge = [&[0x81, 0xff][..], &i64::MAX.to_be_bytes()].concat();
        assert_eq!(code(&announcing(&huge)), 1009);
        let impossible = [&[0x81, 0xff][..], &u64::MAX.to_be_bytes()].concat();
        assert_eq!(code(&impossible), 1002);
        let over = [&[0x81, 0xfe][..], &1_001u16.to_be_bytes()].concat();
        assert_eq!(code(&announcing(&over)), 1009);
        let fits = [&[0x81, 0xfe][..], &1_000u16.to_be_bytes()].concat();
        assert_eq!(all(&announcing(&fits), 1).expect("not all there").len(), 0);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_panics(stream: Vec<u8>, piece in 1usize..9) {
            let whole = all(&stream, stream.len().max(1)).map_err(|violation| violation.to_string());
            prop_assert_eq!(all(&stream, piece).map_err(|violation| violation.to_string()), whole);
        }
    }
}
