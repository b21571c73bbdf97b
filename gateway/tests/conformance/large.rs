//! Messages up to the limits of 16 MiB and 100,000 fragments, and just beyond them.

use campanile_harness::client::raw::{
    BINARY, CONTINUATION, Client, FIN, PING, PONG, TEXT, frame, header,
};

use crate::harness::echo;

const MAX_BYTES: usize = 16 << 20;
const MAX_FRAGMENTS: usize = 100_000;

#[test]
fn messages_up_to_16_mib_come_back() {
    let mut client = Client::open(echo());
    for size in [64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, MAX_BYTES] {
        let text = "€".repeat(size / 3) + &"x".repeat(size % 3);
        client.send(&frame(FIN | TEXT, text.as_bytes()));
        client.expect(TEXT, &text);
        client.send(&frame(FIN | BINARY, text.as_bytes()));
        client.expect(BINARY, &text);
    }
}

#[test]
fn a_large_message_in_fragments_and_small_pieces_comes_back() {
    let mut client = Client::open(echo());
    let payload: Vec<u8> = (0..4 << 20).map(|i| (i % 251) as u8).collect();
    for fragment in [64, 1 << 10, 64 << 10, 1 << 20] {
        client.send(&in_fragments(BINARY, &payload, fragment));
        client.expect(BINARY, &payload);
    }
    let text = "*".repeat(65_536);
    client.send(&in_fragments(TEXT, text.as_bytes(), 1_300));
    client.expect(TEXT, &text);
    for piece in [64, 2_048] {
        client.send_chopped(&frame(FIN | BINARY, &payload[..1 << 20]), piece);
        client.expect(BINARY, &payload[..1 << 20]);
    }
}

#[test]
fn control_frames_do_not_count_as_fragments() {
    let mut client = Client::open(echo());
    let payload = vec![b'x'; MAX_FRAGMENTS];
    client.send(&in_fragments(TEXT, &payload, 1));
    client.expect(TEXT, &payload);
    let mut stream = in_fragments(TEXT, &payload, 1);
    let pings = frame(FIN | PING, b"between").repeat(10);
    stream.splice(7 * 50_000..7 * 50_000, pings);
    client.send(&stream);
    for _ in 0..10 {
        client.expect(PONG, b"between");
    }
    client.expect(TEXT, &payload);
}

#[test]
fn a_fragment_over_the_limit_is_closed_with_1009() {
    let mut client = Client::open(echo());
    client.send(&frame(BINARY, b""));
    client.send(&frame(CONTINUATION, b"").repeat(MAX_FRAGMENTS - 1));
    client.send(&frame(FIN | PING, b"alive"));
    client.expect(PONG, b"alive");
    client.send(&header(CONTINUATION, 0));
    client.expect_close(1009);
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header() {
    for len in [MAX_BYTES as u64 + 1, 1 << 32, u64::MAX >> 1] {
        let mut client = Client::open(echo());
        client.send(&header(FIN | BINARY, len));
        client.expect_close(1009);
    }
    let mut client = Client::open(echo());
    client.send(&frame(BINARY, &[0; 1_000]));
    client.send(&header(FIN | CONTINUATION, MAX_BYTES as u64 - 999));
    client.expect_close(1009);
}

#[test]
fn a_header_reserves_no_memory_for_its_payload() {
    // Together they announce 16 GiB, which would not fit if it were reserved.
    let clients: Vec<_> = (0..1_000)
        .map(|_| {
            let mut client = Client::open(echo());
            client.send(&header(FIN | BINARY, MAX_BYTES as u64));
            client.send(&[0; 16]);
            client
        })
        .collect();
    let mut witness = Client::open(echo());
    witness.send(&frame(FIN | PING, b"alive"));
    witness.expect(PONG, b"alive");
    drop(clients);
}

fn in_fragments(opcode: u8, payload: &[u8], len: usize) -> Vec<u8> {
    let last = payload.len().div_ceil(len) - 1;
    let mut stream = Vec::with_capacity(payload.len() / len * (len + 14) + 14);
    for (i, part) in payload.chunks(len).enumerate() {
        let opcode = if i == 0 { opcode } else { CONTINUATION };
        let fin = if i == last { FIN } else { 0 };
        stream.extend(frame(fin | opcode, part));
    }
    stream
}
