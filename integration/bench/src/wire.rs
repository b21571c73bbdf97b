//! What clients of a websocket server or of an event stream send and receive. Pure.

use std::fmt::Write as _;

use bytes::{Buf as _, BytesMut};
use campanile_edge::websocket::{Header, Opcode, Role, Violation, put_masked};

/// How a client listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// A websocket without a subprotocol.
    Plain,
    /// A websocket of `campanile.v1`.
    V1,
    /// A stream of server-sent events.
    Events,
}

/// One thing that a server says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The end of the response's head, with its status.
    Head(u16),
    /// A message, or the block of an event.
    Message(&'a [u8]),
    /// A ping with its payload.
    Ping(&'a [u8]),
    /// The server ends the connection, for this reason.
    Close(u16),
}

/// The opening request of a client.
pub fn request(speech: Speech, host: &str, target: &str) -> Vec<u8> {
    let mut text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
    match speech {
        Speech::Events => text.push_str("Accept: text/event-stream\r\n"),
        Speech::Plain | Speech::V1 => text.push_str(
            "Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        ),
    }
    if speech == Speech::V1 {
        text.push_str("Sec-WebSocket-Protocol: campanile.v1\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Appends a frame of a client. Its mask is zero, which leaves the payload as it is.
pub fn client_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    put_masked(out, opcode, payload, [0; 4]);
}

/// Which part of the response comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The head.
    Head,
    /// Frames or blocks.
    Body,
    /// The body of a refusal, which is skipped.
    Refused,
}

/// Reads all complete items at the front of `input`, and returns how many bytes they have.
///
/// # Errors
/// How the server violated RFC 6455. What follows cannot be read.
pub fn hear(
    speech: Speech,
    stage: &mut Stage,
    input: &[u8],
    mut heard: impl FnMut(Heard<'_>),
) -> Result<usize, Violation> {
    let mut taken = 0;
    while let Some((len, what)) = next(speech, *stage, &input[taken..])? {
        *stage = match (*stage, &what) {
            (Stage::Head, Some(Heard::Head(101 | 200))) => Stage::Body,
            (Stage::Head, _) => Stage::Refused,
            (later, _) => later,
        };
        if let Some(what) = what {
            heard(what);
        }
        taken += len;
    }
    Ok(taken)
}

type Whole<'a> = (usize, Option<Heard<'a>>);

fn next(speech: Speech, stage: Stage, input: &[u8]) -> Result<Option<Whole<'_>>, Violation> {
    Ok(match (stage, speech) {
        (Stage::Head, _) => next_head(input),
        (Stage::Refused, _) => (!input.is_empty()).then_some((input.len(), None)),
        (Stage::Body, Speech::Events) => next_block(input),
        (Stage::Body, Speech::Plain | Speech::V1) => return next_frame(input),
    })
}

fn next_head(input: &[u8]) -> Option<Whole<'_>> {
    let end = find(input, b"\r\n\r\n")? + 4;
    let status = input.get(9..12).and_then(|digits| str::from_utf8(digits).ok());
    let status = status.and_then(|digits| digits.parse().ok()).unwrap_or(0);
    Some((end, Some(Heard::Head(status))))
}

fn next_block(input: &[u8]) -> Option<Whole<'_>> {
    let end = find(input, b"\n\n")? + 2;
    let block = &input[..end];
    // Comments and `retry:` are not events.
    let is_event = block.starts_with(b"data:") || find(block, b"\ndata:").is_some();
    Some((end, is_event.then_some(Heard::Message(block))))
}

/// Reads a frame without copying its payload. The servers send each message in one frame.
fn next_frame(input: &[u8]) -> Result<Option<Whole<'_>>, Violation> {
    let Some((header, payload_at)) = Header::parse(input, Role::Server)? else { return Ok(None) };
    let end = payload_at.saturating_add(header.len);
    let Some(payload) = input.get(payload_at..end) else { return Ok(None) };
    let what = match header.opcode {
        Opcode::Text | Opcode::Binary | Opcode::Continuation => Some(Heard::Message(payload)),
        Opcode::Close => {
            Some(Heard::Close(payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code))))
        }
        Opcode::Ping => Some(Heard::Ping(payload)),
        Opcode::Pong => None,
    };
    Ok(Some((end, what)))
}

/// The position of `part` in `bytes`.
pub fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    let first = *part.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes[at..].starts_with(part) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// The beginning of a numbered content.
const NUMBER: &[u8] = b"no.";
const DIGITS: usize = 12;

/// A content of `len_bytes` (at least 15) that carries a number.
pub fn numbered(number: u64, len_bytes: usize) -> String {
    let mut text = String::with_capacity(len_bytes);
    let _ = write!(text, "no.{number:0DIGITS$}");
    text.extend(std::iter::repeat_n('.', len_bytes.saturating_sub(text.len())));
    text
}

/// The number that the content of a message carries.
pub fn number(message: &[u8]) -> Option<u64> {
    let at = if message.starts_with(NUMBER) { 0 } else { find(message, NUMBER)? };
    let digits = message.get(at + NUMBER.len()..)?.get(..DIGITS)?;
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// An HTTP response that has a `Content-Length`.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// The status of a response, and how many bytes it has.
pub struct ResponseLen {
    pub status: u16,
    pub head: usize,
    pub body: usize,
}

/// The length of the response at the front of `input`; `None` until its head is complete.
///
/// # Errors
/// If it is not HTTP, or has no `Content-Length`.
pub fn response_len(input: &[u8]) -> anyhow::Result<Option<ResponseLen>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(input)? else { return Ok(None) };
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = length else { anyhow::bail!("a response without a Content-Length") };
    let body = str::from_utf8(length.value)?.parse()?;
    Ok(Some(ResponseLen { status: response.code.unwrap_or(0), head, body }))
}

/// Takes a response from the front of `input`; `None` until it is complete.
///
/// # Errors
/// As [`response_len`].
pub fn response(input: &mut BytesMut) -> anyhow::Result<Option<Response>> {
    let Some(ResponseLen { status, head, body }) = response_len(input)? else { return Ok(None) };
    if input.len() < head + body {
        return Ok(None);
    }
    input.advance(head);
    let body = input.split_to(body).to_vec();
    Ok(Some(Response { status, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(speech: Speech, input: &[u8]) -> (Vec<String>, usize) {
        let mut heard = Vec::new();
        let taken = hear(speech, &mut Stage::Head.clone(), input, |what| {
            heard.push(match what {
                Heard::Message(bytes) | Heard::Ping(bytes) => {
                    format!("{:?}", String::from_utf8_lossy(bytes))
                }
                other => format!("{other:?}"),
            });
        });
        (heard, taken.expect("understood"))
    }

    #[test]
    fn frames_are_taken_whole_and_the_rest_is_left() {
        let input =
            b"HTTP/1.1 101 Switching\r\nA: b\r\n\r\n\x81\x02hi\x89\x01p\x88\x02\x0f\xa1\x81\x05wor";
        let (heard, taken) = all(Speech::Plain, input);
        assert_eq!(heard, ["Head(101)", "\"hi\"", "\"p\"", "Close(4001)"]);
        assert_eq!(&input[taken..], b"\x81\x05wor");
    }

    #[test]
    fn a_server_that_breaks_the_protocol_is_an_error() {
        let mut stage = Stage::Body;
        let masked = hear(Speech::Plain, &mut stage, b"\x81\x82\0\0\0\0hi", |_| {});
        assert_eq!(masked, Err(Violation::Masked));
        let reserved = hear(Speech::Plain, &mut stage, b"\xc1\x02hi", |_| {});
        assert_eq!(reserved, Err(Violation::ReservedBit));
    }

    #[test]
    fn the_text_of_a_refusal_is_not_taken_for_frames() {
        let input = b"HTTP/1.1 503 Service Unavailable\r\n\r\nno room";
        for speech in [Speech::Plain, Speech::V1, Speech::Events] {
            assert_eq!(all(speech, input), (vec!["Head(503)".to_owned()], input.len()));
        }
    }

    #[test]
    fn long_frames_have_long_lengths() {
        let mut input = b"HTTP/1.1 101 S\r\n\r\n\x82\x7e\x01\x00".to_vec();
        input.extend_from_slice(&[b'x'; 256]);
        assert_eq!(all(Speech::V1, &input).1, input.len());
    }

    #[test]
    fn an_event_stream_has_blocks_and_only_those_with_data_count() {
        let input = b"HTTP/1.1 200 OK\r\n\r\nretry: 5\n\n:\n\nevent: sync\ndata: a\n\nid: 1\ndata: b\n\nid: 2\n\nda";
        let (heard, taken) = all(Speech::Events, input);
        assert_eq!(
            heard,
            ["Head(200)", "\"event: sync\\ndata: a\\n\\n\"", "\"id: 1\\ndata: b\\n\\n\""]
        );
        assert_eq!(&input[taken..], b"da");
    }

    #[test]
    fn a_number_is_found_wherever_a_protocol_puts_the_content() {
        let content = numbered(42, 64);
        assert_eq!(content.len(), 64);
        assert_eq!(number(content.as_bytes()), Some(42));
        assert_eq!(number(format!("{{\"content\":\"{content}\"}}").as_bytes()), Some(42));
        assert_eq!(number(b"workerID:1 connected"), None);
        assert_eq!(number(b"no.12"), None);
    }

    #[test]
    fn responses_are_taken_one_by_one() {
        let mut input = BytesMut::from(
            &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 503 X\r\n"[..],
        );
        let first = response(&mut input).expect("well-formed").expect("whole");
        assert_eq!(first, Response { status: 200, body: b"ok".to_vec() });
        assert_eq!(response(&mut input).expect("well-formed"), None);
        assert!(response(&mut BytesMut::from(&b"HTTP/1.1 200 OK\r\n\r\n"[..])).is_err());
    }
}
