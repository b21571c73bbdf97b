//! What a websocket client sends: the same messages or the same violation, however the stream is cut into
//! pieces, and nothing above the limits.

#![no_main]

use std::collections::VecDeque;

use campanile_edge::websocket::{Decoder, Limits, Message, Violation};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_message_bytes: 512, max_fragments: 8 };

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    let (messages, violation) = decode(stream, stream.len().max(1));
    let pieces = decode(stream, usize::from(piece).max(1));
    assert_eq!(pieces, (messages.clone(), violation), "pieces matter");
    for message in messages {
        match message {
            Message::Text(text) => assert!(text.len() <= LIMITS.max_message_bytes),
            Message::Binary(bytes) => assert!(bytes.len() <= LIMITS.max_message_bytes),
            Message::Ping(payload) => assert!(payload.len() <= 125),
            Message::Close(Some(code)) => assert!((1_000..5_000).contains(&code)),
            Message::Close(None) | Message::Pong => {}
        }
    }
});

fn decode(stream: &[u8], len: usize) -> (VecDeque<Message>, Option<Violation>) {
    let mut messages = VecDeque::new();
    let mut decoder = Decoder::new(LIMITS);
    for piece in stream.chunks(len) {
        if let Err(violation) = decoder.feed(&mut piece.to_vec(), &mut messages) {
            return (messages, Some(violation));
        }
    }
    (messages, None)
}
