//! Messages in several frames, and frames that must not come between them.

use campanile_harness::client::raw::{BINARY, CONTINUATION, Client, FIN, PING, PONG, TEXT, frame};

use crate::harness::echo;

#[test]
fn fragments_are_one_message_whatever_their_pieces() {
    let stream = [
        frame(TEXT, b"frag"),
        frame(CONTINUATION, b""),
        frame(CONTINUATION, b"ment"),
        frame(FIN | CONTINUATION, b""),
    ]
    .concat();
    let mut client = Client::open(echo());
    for chop in [stream.len(), 1, 2, 7] {
        client.send_chopped(&stream, chop);
        client.expect(TEXT, b"fragment");
    }
}

#[test]
fn empty_fragments_are_an_empty_message() {
    let mut client = Client::open(echo());
    for opcode in [TEXT, BINARY] {
        client.send(&frame(opcode, b""));
        client.send(&frame(CONTINUATION, b""));
        client.send(&frame(FIN | CONTINUATION, b""));
        client.expect(opcode, b"");
    }
}

#[test]
fn control_frames_between_fragments_are_answered_at_once() {
    let mut client = Client::open(echo());
    for _ in 0..3 {
        client.send(&[frame(TEXT, b"one "), frame(FIN | PING, b"a")].concat());
        client.expect(PONG, b"a");
        client.send(&[frame(CONTINUATION, b"two "), frame(FIN | PONG, b"ignored")].concat());
        client.send_chopped(&frame(FIN | PING, b"b"), 1);
        client.expect(PONG, b"b");
        client.send(&frame(FIN | CONTINUATION, b"three"));
        client.expect(TEXT, b"one two three");
    }
}

#[test]
fn a_continuation_without_a_message_is_a_protocol_error() {
    for first in [CONTINUATION, FIN | CONTINUATION] {
        let mut client = Client::open(echo());
        client.send(&[frame(first, b"lone"), frame(FIN | TEXT, b"unheard")].concat());
        client.expect_close(1002);
        // A message that has ended cannot be continued.
        let mut client = Client::open(echo());
        client.send(&[frame(TEXT, b"a"), frame(FIN | CONTINUATION, b"b")].concat());
        client.expect(TEXT, b"ab");
        client.send(&frame(first, b"lone"));
        client.expect_close(1002);
    }
}

#[test]
fn a_message_within_a_message_is_a_protocol_error() {
    for first in [TEXT, FIN | TEXT, BINARY, FIN | BINARY] {
        let mut client = Client::open(echo());
        client.send(&[frame(TEXT, b"begun"), frame(first, b"another")].concat());
        client.expect_close(1002);
    }
}

#[test]
fn a_control_frame_in_fragments_is_a_protocol_error() {
    for opcode in [PING, PONG] {
        let mut client = Client::open(echo());
        client.send(&[frame(opcode, b"in "), frame(FIN | CONTINUATION, b"two")].concat());
        client.expect_close(1002);
    }
}
