//! Messages in one frame, with every form of the length, and sent in pieces of every size.

use campanile_harness::client::raw::{BINARY, Client, FIN, TEXT, frame};

use crate::harness::echo;

const SIZES: [usize; 9] = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537];

#[test]
fn text_and_binary_of_every_length_form_come_back() {
    let mut client = Client::open(echo());
    for size in SIZES {
        let text = "*".repeat(size);
        client.send(&frame(FIN | TEXT, text.as_bytes()));
        client.expect(TEXT, &text);
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        client.send(&frame(FIN | BINARY, &bytes));
        client.expect(BINARY, &bytes);
    }
}

#[test]
fn messages_that_arrive_byte_by_byte_come_back() {
    let mut client = Client::open(echo());
    for size in SIZES {
        let payload = "é".repeat(size / 2) + &"x".repeat(size % 2);
        client.send_chopped(&frame(FIN | TEXT, payload.as_bytes()), 1);
        client.expect(TEXT, &payload);
        client.send_chopped(&frame(FIN | BINARY, payload.as_bytes()), 1);
        client.expect(BINARY, &payload);
    }
}

#[test]
fn pieces_that_are_not_aligned_to_the_mask_come_back() {
    let mut client = Client::open(echo());
    let payload: Vec<u8> = (0..70_000u32).flat_map(u32::to_be_bytes).collect();
    for len in [3, 997, 2_048, 65_535] {
        client.send_chopped(&frame(FIN | BINARY, &payload), len);
        client.expect(BINARY, &payload);
    }
}

#[test]
fn a_series_in_one_write_is_answered_in_order() {
    let mut client = Client::open(echo());
    let texts: Vec<String> = (0..1_000).map(|i| format!("message {i}")).collect();
    let series: Vec<u8> = texts.iter().flat_map(|t| frame(FIN | TEXT, t.as_bytes())).collect();
    client.send(&series);
    for text in &texts {
        client.expect(TEXT, text);
    }
}
