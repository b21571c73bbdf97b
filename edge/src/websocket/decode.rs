//! Reads what a client sends, in the pieces in which it arrives. Pure.
//!
//! A frame is checked as soon as its header is there, so an oversized frame costs nothing. Memory is
//! allocated for payload that has arrived, and never for what a header only announces.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use bytes::Bytes;
use bytestring::ByteString;

use super::close_code::may_be_received;
use super::header::{Header, Limits, PartialHeader, Unfinished};
use super::mask::mask;
use super::{Opcode, Violation};

/// A complete message, or a control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message.
    Text(ByteString),
    /// A binary message.
    Binary(Bytes),
    /// A ping, which asks for a pong with this payload.
    Ping(Bytes),
    /// A pong, whether or not a ping was sent.
    Pong,
    /// The client's last frame, with its close code if there is one.
    Close(Option<u16>),
}

/// Reads frames and assembles messages. Between messages it has no buffer.
#[derive(Debug)]
pub struct Decoder {
    max_message_bytes: usize,
    max_fragments: u32,
    /// How large the first message may be; `None` behind it, and if it has no limit of its own.
    max_first_bytes: Option<NonZeroU32>,
    state: DecoderState,
    /// The message of which some fragments have come.
    message: Option<Box<PartialMessage>>,
    control: Option<Box<PartialMessage>>,
}

#[derive(Debug)]
enum DecoderState {
    /// Before or within the header of a frame.
    Header(PartialHeader),
    /// Within the payload of a frame, of which `left` bytes have not come yet.
    Payload { frame: Header, left: usize },
    /// After the client's close frame. What follows is ignored.
    Closed,
}

/// An incomplete message or control frame.
#[derive(Debug)]
struct PartialMessage {
    is_text: bool,
    payload: Vec<u8>,
    /// How many bytes of a text are known to be UTF-8.
    valid_up_to: usize,
    fragments: u32,
}

impl PartialMessage {
    fn new(is_text: bool) -> Box<Self> {
        Box::new(Self { is_text, payload: Vec::new(), valid_up_to: 0, fragments: 0 })
    }

    /// Checks the bytes that were not checked yet. A character at the end may still be incomplete, unless
    /// the message is complete.
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
        let Limits { max_message_bytes, max_fragments } = limits;
        Self {
            max_message_bytes,
            max_fragments,
            max_first_bytes: None,
            state: DecoderState::Header(PartialHeader::default()),
            message: None,
            control: None,
        }
    }

    /// The same, where the first text or binary message may have at most this many bytes.
    #[must_use]
    pub fn with_first(mut self, max_bytes: NonZeroU32) -> Self {
        self.max_first_bytes = Some(max_bytes);
        self
    }

    fn limits(&self) -> Limits {
        let Self { max_message_bytes, max_fragments, max_first_bytes, .. } = *self;
        let first = max_first_bytes.map_or(max_message_bytes, |first| first.get() as usize);
        Limits { max_message_bytes: max_message_bytes.min(first), max_fragments }
    }

    /// Reads the next bytes of the stream, unmasks them in place, and adds the messages that they
    /// complete to `messages`.
    ///
    /// # Errors
    /// A [`Violation`], after which the decoder must not be used again.
    pub fn feed(
        &mut self,
        mut input: &mut [u8],
        messages: &mut VecDeque<Message>,
    ) -> Result<(), Violation> {
        loop {
            match &mut self.state {
                DecoderState::Closed => return Ok(()),
                DecoderState::Header(header) => {
                    let Some((frame, rest)) = header.collect(input)? else {
                        return Ok(());
                    };
                    input = rest;
                    self.begin(&frame)?;
                    self.state = DecoderState::Payload { frame, left: frame.len };
                }
                DecoderState::Payload { frame, left } => {
                    let frame = *frame;
                    let (part, rest) = input.split_at_mut(input.len().min(*left));
                    input = rest;
                    let done = frame.len - *left;
                    *left -= part.len();
                    let complete = *left == 0;
                    mask(part, frame.mask, done);
                    self.continue_payload(frame.opcode, part)?;
                    if !complete {
                        return Ok(());
                    }
                    self.state = DecoderState::Header(PartialHeader::default());
                    if let Some(message) = self.end(&frame)? {
                        if matches!(message, Message::Close(_)) {
                            self.state = DecoderState::Closed;
                        }
                        messages.push_back(message);
                    }
                }
            }
        }
    }

    /// Checks a frame by its header.
    fn begin(&mut self, frame: &Header) -> Result<(), Violation> {
        let unfinished = self.message.as_ref().map(|message| Unfinished {
            len_bytes: message.payload.len(),
            fragments: message.fragments,
        });
        frame.check(unfinished, self.limits())?;
        if frame.opcode.is_control() {
            self.control = Some(PartialMessage::new(false));
            return Ok(());
        }
        let message =
            self.message.get_or_insert_with(|| PartialMessage::new(frame.opcode == Opcode::Text));
        message.fragments += 1;
        Ok(())
    }

    fn continue_payload(&mut self, opcode: Opcode, part: &[u8]) -> Result<(), Violation> {
        let partial = if opcode.is_control() { &mut self.control } else { &mut self.message };
        let partial = partial.as_mut().expect("`begin` made one");
        partial.payload.extend_from_slice(part);
        partial.check_utf8(false)
    }

    fn end(&mut self, frame: &Header) -> Result<Option<Message>, Violation> {
        if frame.opcode.is_control() {
            let payload = self.control.take().map(|control| control.payload).unwrap_or_default();
            return Ok(Some(match frame.opcode {
                Opcode::Ping => Message::Ping(payload.into()),
                Opcode::Close => Message::Close(closing_code(&payload)?),
                _ => Message::Pong,
            }));
        }
        if !frame.fin {
            return Ok(None);
        }
        let mut message = self.message.take().expect("`begin` made one");
        message.check_utf8(true)?;
        self.max_first_bytes = None;
        let payload = Bytes::from(message.payload);
        Ok(Some(if message.is_text {
            Message::Text(ByteString::try_from(payload).map_err(|_| Violation::NotUtf8)?)
        } else {
            Message::Binary(payload)
        }))
    }
}

/// The close code in the payload of a client's close frame (RFC 6455 section 7.4), which is empty, or a
/// code and a reason.
///
/// # Errors
/// A [`Violation`], if it is anything else, or if a client must not send that code.
pub fn closing_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
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
    fn control_frames_may_come_between_fragments() {
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
    fn invalid_utf8_is_refused_before_the_message_ends() {
        assert_eq!(decode(&client_frame(0x01, b"\xff")), Err(Violation::NotUtf8));
        assert_eq!(decode(&client_frame(0x81, &"€".as_bytes()[..2])), Err(Violation::NotUtf8));
        assert_eq!(
            decode(&client_frame(0x82, b"\xff")),
            Ok(vec![Message::Binary(Bytes::from_static(b"\xff"))])
        );
    }

    #[test]
    fn violations_of_the_protocol_are_refused() {
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
    fn the_first_message_may_have_a_limit_of_its_own() {
        let decode = |stream: &[Vec<u8>]| {
            let mut messages = VecDeque::new();
            let mut decoder = Decoder::new(LIMITS).with_first(NonZeroU32::new(10).expect("10"));
            decoder.feed(&mut stream.concat(), &mut messages).map(|()| messages.len())
        };
        let of = |len| client_frame(0x82, &vec![0; len]);
        let parts = [client_frame(0x02, &[0; 6]), client_frame(0x80, &[0; 5])];
        assert_eq!(decode(&parts), Err(Violation::TooBig));
        let ping = client_frame(0x89, b"ping");
        assert_eq!(decode(&[ping.clone(), of(11)]), Err(Violation::TooBig));
        assert_eq!(decode(&[ping, of(10), of(1_000)]), Ok(3));
        assert_eq!(decode(&[of(10), of(1_001)]), Err(Violation::TooBig));
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
        /// A stream gives the same messages or the same violation, however it is cut into pieces.
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
