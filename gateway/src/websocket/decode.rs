//! What a client sends, fed in whatever pieces the network delivers.
//!
//! A frame is judged by its header, before its payload is there: an oversized one costs nothing.
//! Memory is taken as payload arrives, never for what a header merely announces.

use std::collections::VecDeque;

use bytes::Bytes;
use bytestring::ByteString;

use super::close::may_be_received;
use super::encode::MAX_CONTROL_BYTES;

/// The longest header from a client: two bytes, a 64-bit length, a mask.
const MAX_HEADER_BYTES: usize = 14;

/// How much a client may send in one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest message, over all its fragments.
    pub max_message_bytes: usize,
    /// The most fragments of one message. At least 1.
    pub max_fragments: u32,
}

/// One whole message, or a control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8.
    Text(ByteString),
    /// Any bytes.
    Binary(Bytes),
    /// Wants a pong with this payload.
    Ping(Bytes),
    /// Answers a ping, or none.
    Pong,
    /// The client's last frame; `None` where it gave no code.
    Close(Option<u16>),
}

/// How a client broke the protocol or a limit. Nothing more is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// One of the reserved bits is set, and no extension was agreed on.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode without a meaning.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A frame that is not masked.
    #[error("a frame from a client must be masked")]
    Unmasked,
    /// A length in more bytes than it needs, or over 2^63.
    #[error("the length is not in its shortest form")]
    LongLength,
    /// A control frame in fragments.
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    #[error("a control frame has at most 125 bytes")]
    LongControl,
    /// A continuation, and nothing to continue.
    #[error("a continuation without a message")]
    LoneContinuation,
    /// A new message within another.
    #[error("a message within a fragmented message")]
    Interleaved,
    /// A close frame with one byte, or with a code that must not be sent.
    #[error("a malformed close frame")]
    MalformedClose,
    /// A text message or close reason that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message over its limit.
    #[error("a message over the limit")]
    TooBig,
    /// A message of too many fragments.
    #[error("a message of too many fragments")]
    TooManyFragments,
}

impl Violation {
    /// What the client is told.
    pub fn close_code(self) -> super::CloseCode {
        use super::CloseCode;
        match self {
            Self::NotUtf8 => CloseCode::InvalidPayload,
            Self::TooBig | Self::TooManyFragments => CloseCode::MessageTooBig,
            _ => CloseCode::ProtocolError,
        }
    }
}

/// Reads frames and assembles messages. Holds no buffer while nothing is in progress.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    state: State,
    /// The fragments so far of a message that is not complete.
    message: Option<Box<Partial>>,
    control: Option<Box<Partial>>,
}

#[derive(Debug)]
enum State {
    /// Collecting a header that came in pieces.
    Header { bytes: [u8; MAX_HEADER_BYTES], len: u8 },
    /// In the payload of a frame.
    Payload { frame: Header, left: usize },
    /// After the client's close frame: whatever follows is none of our business.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    fin: bool,
    kind: Kind,
    mask: [u8; 4],
    len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A message in the making.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    payload: Vec<u8>,
    /// Up to here a text is known to be UTF-8.
    valid_up_to: usize,
    fragments: u32,
}

impl Partial {
    fn new(is_text: bool) -> Box<Self> {
        Box::new(Self { is_text, payload: Vec::new(), valid_up_to: 0, fragments: 0 })
    }

    /// Checks what has not been checked yet, save a character that may still be completed.
    fn check_utf8(&mut self, complete: bool) -> Result<(), Violation> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.payload[self.valid_up_to..]) {
            Ok(_) => self.valid_up_to = self.payload.len(),
            Err(error) if error.error_len().is_none() && !complete => {
                self.valid_up_to += error.valid_up_to();
            }
            Err(_) => return Err(Violation::NotUtf8),
        }
        Ok(())
    }
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: EMPTY_HEADER, message: None, control: None }
    }

    /// Takes the next bytes of the stream, unmasks them in place, and adds each message that they
    /// complete to `messages`.
    ///
    /// # Errors
    /// A [`Violation`]; the decoder must not be fed again.
    pub fn feed(
        &mut self,
        mut input: &mut [u8],
        messages: &mut VecDeque<Message>,
    ) -> Result<(), Violation> {
        loop {
            match &mut self.state {
                State::Closed => return Ok(()),
                State::Header { bytes, len } => {
                    let Some((frame, rest)) = collect_header(bytes, len, input)? else {
                        return Ok(());
                    };
                    input = rest;
                    self.begin(&frame)?;
                    self.state = State::Payload { frame, left: frame.len };
                }
                State::Payload { frame, left } => {
                    let frame = *frame;
                    let (part, rest) = input.split_at_mut(input.len().min(*left));
                    input = rest;
                    let done = frame.len - *left;
                    *left -= part.len();
                    let complete = *left == 0;
                    unmask(part, frame.mask, done);
                    self.continue_payload(frame.kind, part)?;
                    if !complete {
                        return Ok(());
                    }
                    self.state = EMPTY_HEADER;
                    if let Some(message) = self.end(&frame)? {
                        if matches!(message, Message::Close(_)) {
                            self.state = State::Closed;
                        }
                        messages.push_back(message);
                    }
                }
            }
        }
    }

    /// Judges a frame by its header.
    fn begin(&mut self, frame: &Header) -> Result<(), Violation> {
        if frame.kind.is_control() {
            if !frame.fin {
                return Err(Violation::FragmentedControl);
            }
            if frame.len > MAX_CONTROL_BYTES {
                return Err(Violation::LongControl);
            }
            self.control = Some(Partial::new(false));
            return Ok(());
        }
        match (frame.kind, &self.message) {
            (Kind::Continuation, None) => return Err(Violation::LoneContinuation),
            (Kind::Continuation, Some(_)) => {}
            (_, Some(_)) => return Err(Violation::Interleaved),
            (kind, None) => self.message = Some(Partial::new(kind == Kind::Text)),
        }
        let message = self.message.as_mut().expect("set above");
        if frame.len > self.limits.max_message_bytes - message.payload.len() {
            return Err(Violation::TooBig);
        }
        message.fragments += 1;
        if message.fragments > self.limits.max_fragments {
            return Err(Violation::TooManyFragments);
        }
        Ok(())
    }

    fn continue_payload(&mut self, kind: Kind, part: &[u8]) -> Result<(), Violation> {
        let partial = if kind.is_control() { &mut self.control } else { &mut self.message };
        let partial = partial.as_mut().expect("`begin` made one");
        partial.payload.extend_from_slice(part);
        partial.check_utf8(false)
    }

    fn end(&mut self, frame: &Header) -> Result<Option<Message>, Violation> {
        if frame.kind.is_control() {
            let payload = self.control.take().map(|control| control.payload).unwrap_or_default();
            return Ok(Some(match frame.kind {
                Kind::Ping => Message::Ping(payload.into()),
                Kind::Close => Message::Close(close_code(&payload)?),
                _ => Message::Pong,
            }));
        }
        if !frame.fin {
            return Ok(None);
        }
        let mut message = self.message.take().expect("`begin` made one");
        message.check_utf8(true)?;
        let payload = Bytes::from(message.payload);
        Ok(Some(if message.is_text {
            Message::Text(ByteString::try_from(payload).map_err(|_| Violation::NotUtf8)?)
        } else {
            Message::Binary(payload)
        }))
    }
}

const EMPTY_HEADER: State = State::Header { bytes: [0; MAX_HEADER_BYTES], len: 0 };

/// Moves bytes of the input to the header until it is complete; answers it and the rest.
fn collect_header<'a>(
    bytes: &mut [u8; MAX_HEADER_BYTES],
    len: &mut u8,
    input: &'a mut [u8],
) -> Result<Option<(Header, &'a mut [u8])>, Violation> {
    let before = usize::from(*len);
    let taken = input.len().min(MAX_HEADER_BYTES - before);
    bytes[before..before + taken].copy_from_slice(&input[..taken]);
    match parse_header(&bytes[..before + taken])? {
        Some((header, header_len)) => Ok(Some((header, &mut input[header_len - before..]))),
        None => {
            *len = u8::try_from(before + taken).expect("at most 14");
            Ok(None)
        }
    }
}

/// `None` if the header is not complete. Refuses what can be refused as early as the bytes allow.
fn parse_header(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(Violation::ReservedBit);
    }
    let kind = match first & 0x0f {
        0x0 => Kind::Continuation,
        0x1 => Kind::Text,
        0x2 => Kind::Binary,
        0x8 => Kind::Close,
        0x9 => Kind::Ping,
        0xa => Kind::Pong,
        reserved => return Err(Violation::ReservedOpcode(reserved)),
    };
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    if second & 0x80 == 0 {
        return Err(Violation::Unmasked);
    }
    let (len, at) = match second & 0x7f {
        126 => match bytes[2..].first_chunk::<2>() {
            None => return Ok(None),
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
        },
        127 => match bytes[2..].first_chunk::<8>() {
            None => return Ok(None),
            Some(len) => (u64::from_be_bytes(*len), 10),
        },
        len => (u64::from(len), 2),
    };
    let shortest = match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    if at != shortest || len > i64::MAX as u64 {
        return Err(Violation::LongLength);
    }
    let Some(mask) = bytes[at..].first_chunk::<4>() else {
        return Ok(None);
    };
    // A length beyond the address space is beyond every limit too.
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    Ok(Some((Header { fin: first & 0x80 != 0, kind, mask: *mask, len }, at + 4)))
}

/// Unmasks a part of a payload that begins `offset` bytes after the payload's start.
fn unmask(part: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let word = u32::from_ne_bytes(mask);
    let mut words = part.chunks_exact_mut(4);
    for chunk in &mut words {
        let value = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]) ^ word;
        chunk.copy_from_slice(&value.to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// RFC 6455 section 7.4: no payload, or a code and a reason.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return Err(Violation::MalformedClose);
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_received(code) {
        return Err(Violation::MalformedClose);
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { max_message_bytes: 1_000, max_fragments: 4 };
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                frame.push(0xfe);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(0xff);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
        frame
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Message>, Violation> {
        let mut messages = VecDeque::new();
        Decoder::new(LIMITS).feed(&mut bytes.to_vec(), &mut messages)?;
        Ok(messages.into())
    }

    #[test]
    fn fragments_become_one_message_also_with_control_frames_between_them() {
        let stream = [
            client_frame(0x01, "h\u{e9}".as_bytes()),
            client_frame(0x89, b"ping"),
            client_frame(0x00, b""),
            client_frame(0x8a, b""),
            client_frame(0x80, b"llo"),
        ]
        .concat();
        assert_eq!(
            decode(&stream),
            Ok(vec![
                Message::Ping(Bytes::from_static(b"ping")),
                Message::Pong,
                Message::Text("h\u{e9}llo".into())
            ])
        );
    }

    #[test]
    fn a_character_may_be_split_between_fragments() {
        let euro = "€".as_bytes();
        let stream = [client_frame(0x01, &euro[..1]), client_frame(0x80, &euro[1..])].concat();
        assert_eq!(decode(&stream), Ok(vec![Message::Text("€".into())]));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_before_the_message_ends() {
        assert_eq!(decode(&client_frame(0x01, b"\xff")), Err(Violation::NotUtf8));
        assert_eq!(decode(&client_frame(0x81, &"€".as_bytes()[..2])), Err(Violation::NotUtf8));
        assert_eq!(
            decode(&client_frame(0x82, b"\xff")),
            Ok(vec![Message::Binary(Bytes::from_static(b"\xff"))])
        );
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        for (bytes, violation) in [
            (&[0xc1][..], Violation::ReservedBit),
            (&[0x83], Violation::ReservedOpcode(3)),
            (&[0x8b], Violation::ReservedOpcode(0xb)),
            (&[0x81, 0x00], Violation::Unmasked),
            (&[0x81, 0xfe, 0, 125], Violation::LongLength),
            (&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Violation::LongLength),
            (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::LongLength),
        ] {
            assert_eq!(decode(bytes), Err(violation), "{bytes:02x?}");
        }
        for (frame, violation) in [
            (client_frame(0x09, b""), Violation::FragmentedControl),
            (client_frame(0x89, &[0; 126]), Violation::LongControl),
            (client_frame(0x80, b""), Violation::LoneContinuation),
            (client_frame(0x88, b"x"), Violation::MalformedClose),
            (client_frame(0x88, &1005u16.to_be_bytes()), Violation::MalformedClose),
            (client_frame(0x88, b"\x03\xe8\xff"), Violation::NotUtf8),
            ([client_frame(0x01, b"a"), client_frame(0x81, b"b")].concat(), Violation::Interleaved),
        ] {
            assert_eq!(decode(&frame), Err(violation), "{frame:02x?}");
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_from_its_header() {
        let header = &client_frame(0x82, &[0; 1_001])[..8];
        assert_eq!(decode(header), Err(Violation::TooBig));
        let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(decode(&huge), Err(Violation::TooBig));
        let parts = [client_frame(0x02, &[0; 600]), client_frame(0x00, &[0; 401])[..8].to_vec()];
        assert_eq!(decode(&parts.concat()), Err(Violation::TooBig));
    }

    #[test]
    fn a_message_of_too_many_fragments_is_refused() {
        let mut stream = client_frame(0x02, b"");
        for _ in 0..3 {
            stream.extend(client_frame(0x00, b""));
        }
        assert_eq!(decode(&stream), Ok(vec![]));
        stream.extend(client_frame(0x80, b""));
        assert_eq!(decode(&stream), Err(Violation::TooManyFragments));
    }

    #[test]
    fn nothing_after_a_close_is_read() {
        let stream = [client_frame(0x88, &1000u16.to_be_bytes()), b"garbage".to_vec()].concat();
        assert_eq!(decode(&stream), Ok(vec![Message::Close(Some(1000))]));
        assert_eq!(decode(&client_frame(0x88, b"")), Ok(vec![Message::Close(None)]));
    }

    proptest! {
        /// The same stream gives the same messages or the same refusal, however it is cut.
        #[test]
        fn pieces_do_not_matter(
            frames in prop::collection::vec(
                (prop_oneof![Just(0x81u8), Just(0x01), Just(0x00), Just(0x80), Just(0x82), Just(0x89), any::<u8>()],
                 prop::collection::vec(any::<u8>(), 0..300)),
                0..6),
            cut in 1usize..40,
        ) {
            let stream: Vec<u8> =
                frames.iter().flat_map(|(first, payload)| client_frame(*first, payload)).collect();
            let mut whole = VecDeque::new();
            let expected = Decoder::new(LIMITS).feed(&mut stream.clone(), &mut whole);
            let mut messages = VecDeque::new();
            let mut decoder = Decoder::new(LIMITS);
            let mut result = Ok(());
            for piece in stream.chunks(cut) {
                result = decoder.feed(&mut piece.to_vec(), &mut messages);
                if result.is_err() {
                    break;
                }
            }
            prop_assert_eq!(result, expected);
            prop_assert_eq!(messages, whole);
        }

        #[test]
        fn no_bytes_panic_the_decoder(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
