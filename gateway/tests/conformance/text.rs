//! Text must be UTF-8 over the whole message. Invalid text is refused as soon as it is known.

use campanile_harness::client::raw::{BINARY, CONTINUATION, Client, FIN, TEXT, frame};

use crate::harness::echo;

/// Characters of every length, the first and last of each range, and some that are often rejected by
/// mistake.
const VALID: [&str; 12] = [
    "",
    "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!",
    "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
    "\0",
    "\u{7f}\u{80}\u{7ff}\u{800}",
    "\u{d7ff}\u{e000}",
    "\u{ffff}\u{10000}",
    "\u{10ffff}",
    "\u{fffd}\u{fffe}\u{feff}",
    "\u{1fffe}\u{1ffff}\u{8fffe}\u{10fffe}",
    "안녕하세요",
    "🔔🏛️",
];

const INVALID: [&[u8]; 22] = [
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    // The beginning of a character, followed by something else.
    b"\xc3 ",
    b"\xe0\xa0 ",
    b"\xf0\x90\x80 ",
    // Characters in more bytes than they need.
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xe0\x9f\xbf",
    b"\xf0\x80\x80\xaf",
    b"\xf0\x8f\xbf\xbf",
    // Surrogates, alone and in pairs.
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    // Above U+10FFFF.
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
];

#[test]
fn valid_text_comes_back_wherever_it_is_split() {
    let mut client = Client::open(echo());
    for text in VALID {
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            client.send(&frame(TEXT, &bytes[..at]));
            client.send(&frame(FIN | CONTINUATION, &bytes[at..]));
            client.expect(TEXT, text);
            let whole = frame(FIN | TEXT, bytes);
            let (first, second) = whole.split_at(whole.len() - bytes.len() + at);
            client.send(first);
            client.send(second);
            client.expect(TEXT, text);
        }
    }
}

#[test]
fn valid_text_comes_back_from_frames_of_one_byte() {
    let mut client = Client::open(echo());
    for text in VALID {
        client.send(&frame(TEXT, b""));
        for byte in text.bytes() {
            client.send_chopped(&frame(CONTINUATION, &[byte]), 1);
        }
        client.send(&frame(FIN | CONTINUATION, b""));
        client.expect(TEXT, text);
    }
}

#[test]
fn invalid_text_is_closed_with_1007_wherever_it_stands() {
    for invalid in INVALID {
        for (before, after) in [("", ""), ("κόσμε", "edited")] {
            let text = [before.as_bytes(), invalid, after.as_bytes()].concat();
            let mut client = Client::open(echo());
            client.send(&frame(FIN | TEXT, &text));
            client.expect_close(1007);
            // With one byte per frame, the connection may be closed before the rest is sent.
            let mut client = Client::open(echo());
            let _ = client.try_send(&frame(TEXT, b""));
            for byte in text {
                let _ = client.try_send(&frame(CONTINUATION, &[byte]));
            }
            client.expect_close(1007);
        }
    }
}

#[test]
fn text_that_ends_within_a_character_is_closed_with_1007() {
    for character in ["é", "€", "🔔"] {
        for len in 1..character.len() {
            let mut client = Client::open(echo());
            client.send(&frame(FIN | TEXT, &character.as_bytes()[..len]));
            client.expect_close(1007);
            let mut client = Client::open(echo());
            client.send(&frame(TEXT, &character.as_bytes()[..len]));
            client.send(&frame(FIN | CONTINUATION, b""));
            client.expect_close(1007);
        }
    }
}

#[test]
fn invalid_text_is_refused_before_its_frame_or_message_ends() {
    for invalid in [&b"\xff"[..], b"\xf4\x90", b"\xed\xa0", b"\xe0\x9f", b"\xc0"] {
        let text = ["κόσμε".as_bytes(), invalid].concat();
        // It is refused before the next frame of its message.
        let mut client = Client::open(echo());
        client.send(&frame(TEXT, &text));
        client.expect_close(1007);
        // It is refused before the end of its frame, which is never sent.
        let mut client = Client::open(echo());
        let whole = frame(FIN | TEXT, &[&*text, &[b'x'; 50]].concat());
        client.send_chopped(&whole[..whole.len() - 50], 1);
        client.expect_close(1007);
    }
}

#[test]
fn binary_messages_may_have_any_bytes() {
    let mut client = Client::open(echo());
    for bytes in INVALID {
        client.send(&frame(FIN | BINARY, bytes));
        client.expect(BINARY, bytes);
    }
}
