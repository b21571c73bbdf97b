//! What the peers of a link send: frames in whatever pieces, and the messages in them. What can be
//! read can be written, and reads the same.

#![no_main]

use bytes::{Bytes, BytesMut};
use campanile_messages::frame::{
    decode_hello, decode_welcome, encode_hello, encode_welcome, take_frame,
};
use campanile_messages::{DecodeError, EncodedFrame, FromBroker, ToBroker};
use libfuzzer_sys::fuzz_target;

const MAX_FRAME_BYTES: usize = 4_096;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, stream)) = data.split_first() else {
        return;
    };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(frames(stream, usize::from(piece).max(1)), whole, "pieces matter");
    whole.0.into_iter().for_each(read);
    read(Bytes::copy_from_slice(stream));
});

/// The frames of a stream that comes in pieces of `len` bytes, and its error.
fn frames(stream: &[u8], len: usize) -> (Vec<Bytes>, Option<DecodeError>) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(len) {
        buffer.extend_from_slice(piece);
        loop {
            match take_frame(&mut buffer, MAX_FRAME_BYTES) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn read(frame: Bytes) {
    if let Ok(message) = ToBroker::decode(frame.clone()) {
        assert_eq!(ToBroker::decode(payload(message.clone().encode())), Ok(message));
    }
    if let Ok(message) = FromBroker::decode(frame.clone()) {
        assert_eq!(FromBroker::decode(payload(message.clone().encode())), Ok(message));
    }
    if let Ok(hello) = decode_hello(frame.clone()) {
        assert_eq!(decode_hello(payload(encode_hello(&hello))), Ok(hello));
    }
    if let Ok(welcome) = decode_welcome(frame) {
        assert_eq!(decode_welcome(payload(encode_welcome(&welcome))), Ok(welcome));
    }
}

/// A frame in one piece, without its length.
fn payload(frame: EncodedFrame) -> Bytes {
    let content = frame.content.unwrap_or_default();
    [&frame.head[4..], &content[..]].concat().into()
}
