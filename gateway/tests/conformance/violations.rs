//! Frames that no client may send. Each ends the connection with the code that says why, and the
//! messages before it are still answered.

use campanile_harness::client::raw::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, PING, PONG, TEXT, frame, header,
};

use crate::harness::echo;

/// Sends a good message, then `wrong`, then a ping that must not be answered, in pieces of
/// `chop` bytes.
#[track_caller]
fn is_closed_with(code: u16, wrong: &[u8], chop: usize) {
    let mut client = Client::open(echo());
    let stream = [&frame(FIN | TEXT, b"good"), wrong, &frame(FIN | PING, b"late")].concat();
    for piece in stream.chunks(chop) {
        // The connection may be closed before the last byte is sent.
        let _ = client.try_send(piece);
    }
    client.expect(TEXT, b"good");
    client.expect_close(code);
}

#[test]
fn reserved_bits_are_a_protocol_error() {
    for bits in 1..=7u8 {
        for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
            is_closed_with(1002, &frame(FIN | bits << 4 | opcode, b"payload"), usize::MAX);
        }
        is_closed_with(1002, &frame(FIN | bits << 4 | TEXT, b"payload"), 1);
    }
}

#[test]
fn reserved_opcodes_are_a_protocol_error() {
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        for payload in [&b""[..], b"payload"] {
            is_closed_with(1002, &frame(FIN | opcode, payload), usize::MAX);
            is_closed_with(1002, &frame(FIN | opcode, payload), 1);
        }
        is_closed_with(1002, &frame(opcode, b"fragment"), usize::MAX);
    }
}

#[test]
fn frames_without_a_mask_are_a_protocol_error() {
    for unmasked in [&b"\x81\x02hi"[..], b"\x81\x00", b"\x82\x7e\x00\x80", b"\x89\x00", b"\x88\x00"]
    {
        is_closed_with(1002, unmasked, usize::MAX);
    }
}

#[test]
fn lengths_in_more_bytes_than_they_need_are_a_protocol_error() {
    let mask = [0; 4];
    for length in [
        &[0xfe, 0, 0][..],
        &[0xfe, 0, 125],
        &[0xff, 0, 0, 0, 0, 0, 0, 0, 5],
        &[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        // The highest bit must be 0.
        &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ] {
        is_closed_with(1002, &[&[FIN | BINARY], length, &mask].concat(), usize::MAX);
    }
}

#[test]
fn a_wrong_frame_is_refused_at_its_first_wrong_byte() {
    for wrong in
        [&[0xf1][..], &[0x83], &[0x81, 0x00], &[0x81, 0xfe, 0, 1], &[0x09, 0x80, 0, 0, 0, 0]]
    {
        let mut client = Client::open(echo());
        client.send(wrong);
        client.expect_close(1002);
    }
}

#[test]
fn unread_junk_after_a_wrong_frame_causes_no_reset() {
    let junk = vec![0x5a; 1 << 20];
    for (wrong, code) in [
        (frame(FIN | 0x40 | TEXT, b"x"), 1002),
        (frame(FIN | TEXT, b"\xff"), 1007),
        (header(FIN | BINARY, u64::MAX >> 1), 1009),
        (frame(FIN | CLOSE, &1000u16.to_be_bytes()), 1000),
    ] {
        let mut client = Client::open(echo());
        client.send(&[&wrong, &*junk].concat());
        client.expect_close(code);
    }
}
