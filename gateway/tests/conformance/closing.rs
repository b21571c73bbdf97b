//! The closing handshake: a Close frame is answered with its code, nothing follows the answer, and the
//! connection ends cleanly.

use std::time::{Duration, Instant};

use campanile_harness::client::raw::{
    BINARY, CLOSE, CONTINUATION, Client, FIN, PING, TEXT, close, frame,
};

use crate::harness::echo;

#[test]
fn every_valid_close_code_is_answered_with_itself() {
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ] {
        for reason in [&b""[..], b"reason", "ü".repeat(61).as_bytes(), &[b'*'; 123]] {
            let mut client = Client::open(echo());
            client.send(&close(code, reason));
            client.expect_close(code);
        }
    }
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let mut client = Client::open(echo());
    client.send(&frame(FIN | CLOSE, b""));
    client.expect_close(1005);
}

#[test]
fn close_codes_that_must_not_be_sent_are_a_protocol_error() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let mut client = Client::open(echo());
        client.send(&close(code, b"reason"));
        client.expect_close(1002);
    }
}

#[test]
fn malformed_close_frames_are_refused() {
    for (wrong, code) in [
        (frame(FIN | CLOSE, b"\x03"), 1002),
        (close(1000, &[b'*'; 124]), 1002),
        (frame(CLOSE, &1000u16.to_be_bytes()), 1002),
        (close(1000, b"\xce\xba\xed\xa0\x80"), 1007),
        (close(1000, b"cut \xe2\x82"), 1007),
    ] {
        let mut client = Client::open(echo());
        client.send(&wrong);
        client.expect_close(code);
    }
}

#[test]
fn messages_after_a_close_are_not_answered() {
    for behind in [
        frame(FIN | PING, b"late"),
        frame(FIN | TEXT, b"late"),
        close(1001, b"another"),
        frame(FIN | 0x70 | BINARY, b"wrong"),
        vec![0xff; 4_096],
    ] {
        let mut client = Client::open(echo());
        client.send(&[close(1000, b""), behind].concat());
        client.expect_close(1000);
    }
}

#[test]
fn messages_before_a_close_are_answered_first() {
    let mut client = Client::open(echo());
    let large = vec![7; 2 << 20];
    client
        .send(&[frame(FIN | TEXT, b"one"), frame(FIN | BINARY, &large), close(3000, b"")].concat());
    client.expect(TEXT, b"one");
    client.expect(BINARY, &large);
    client.expect_close(3000);
}

#[test]
fn a_close_within_a_fragmented_message_ends_it_unanswered() {
    let mut client = Client::open(echo());
    client.send(&[frame(TEXT, b"begun"), close(1000, b"")].concat());
    client.expect_close(1000);
    let mut client = Client::open(echo());
    let stream = [frame(TEXT, b"begun"), close(1000, b""), frame(FIN | CONTINUATION, b"x")];
    client.send_chopped(&stream.concat(), 1);
    client.expect_close(1000);
}

#[test]
fn a_close_byte_by_byte_is_answered() {
    let mut client = Client::open(echo());
    client.send_chopped(&close(1000, b"bye"), 1);
    client.expect_close(1000);
}

#[test]
fn a_client_that_shut_down_its_side_still_gets_every_answer() {
    let mut client = Client::open(echo());
    let large = vec![7; 2 << 20];
    client.send(&[frame(FIN | BINARY, &large), close(1000, b"")].concat());
    client.shut_down();
    client.expect(BINARY, &large);
    client.expect_close(1000);
}

#[test]
fn a_client_that_ends_without_a_close_gets_none() {
    let mut client = Client::open(echo());
    client.send(&frame(TEXT, b"begun"));
    client.shut_down();
    client.expect_end();
}

#[test]
fn a_client_that_never_stops_sending_is_eventually_cut() {
    let mut client = Client::open(echo());
    client.send(&frame(FIN | 0x40 | TEXT, b"wrong"));
    let begun = Instant::now();
    let junk = vec![0; 4 << 20];
    while client.try_send(&junk).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "still taking what is sent");
    }
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "the client had no time to read the close code"
    );
}

#[test]
fn a_client_that_stays_after_the_close_is_eventually_cut() {
    let mut client = Client::open(echo());
    client.send(&frame(FIN | 0x40 | TEXT, b"wrong"));
    client.expect_close(1002);
    let begun = Instant::now();
    while client.try_send(b"still here").is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10), "still taking what is sent");
        std::thread::sleep(Duration::from_millis(20));
    }
}
