//! Pings and pongs.

use std::time::Duration;

use campanile_harness::client::raw::{Client, FIN, PING, PONG, TEXT, frame};

use crate::harness::echo;

#[test]
fn a_ping_is_answered_with_its_payload() {
    let mut client = Client::open(echo());
    for payload in [&b""[..], b"Hello, world!", &[0x00, 0xff, 0xfe, 0xfd, 0x80], &[0xfe; 125]] {
        client.send(&frame(FIN | PING, payload));
        client.expect(PONG, payload);
        client.send_chopped(&frame(FIN | PING, payload), 1);
        client.expect(PONG, payload);
    }
}

#[test]
fn a_ping_of_more_than_125_bytes_is_a_protocol_error() {
    for len in [126, 65_536] {
        let mut client = Client::open(echo());
        client.send(&frame(FIN | PING, &vec![0xfe; len]));
        client.expect_close(1002);
    }
}

#[test]
fn unsolicited_pongs_are_ignored() {
    let mut client = Client::open(echo());
    client.send(&frame(FIN | PONG, b""));
    client.send(&frame(FIN | PONG, b"unsolicited"));
    client.expect_silence(Duration::from_millis(50));
    client.send(&frame(FIN | PING, b"after"));
    client.expect(PONG, b"after");
}

#[test]
fn ten_pings_at_once_are_answered_in_order() {
    let mut client = Client::open(echo());
    let payloads: Vec<String> = (0..10).map(|i| format!("payload-{i}")).collect();
    let pings: Vec<u8> = payloads.iter().flat_map(|p| frame(FIN | PING, p.as_bytes())).collect();
    for chop in [pings.len(), 1] {
        client.send_chopped(&pings, chop);
        for payload in &payloads {
            client.expect(PONG, payload);
        }
    }
}

#[test]
fn a_ping_is_answered_before_the_messages_after_it() {
    let mut client = Client::open(echo());
    client.send(&[frame(FIN | PING, b"1"), frame(FIN | TEXT, b"2")].concat());
    client.expect(PONG, b"1");
    client.expect(TEXT, b"2");
}
