//! What an HTTP client sends to a publisher: requests one after the other, the query, the body, and the
//! headers that say how to read it.

#![no_main]

use bytes::Bytes;
use campanile_channel::publishing::Push;
use campanile_edge::prefers_json;
use campanile_publisher::http::inbound::Inbound;
use campanile_publisher::http::media::body_kind;
use campanile_publisher::push::{BodyKind, from_body, from_query};
use campanile_publisher::{AllowOrigins, ApiError};
use libfuzzer_sys::fuzz_target;

const MAX_CONTENT_BYTES: usize = 64;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, data)) = data.split_first() else {
        return;
    };
    let whole = passed_on(data, data.len().max(1));
    assert_eq!(passed_on(data, usize::from(piece).max(1)), whole, "pieces matter");
    let lines = data.iter().filter(|&&byte| byte == b'\n').count();
    assert!(whole.len() <= 3 * data.len() + 100 * (lines + 1));

    let (query, body) = data.split_at(data.iter().position(|&b| b == b'\n').unwrap_or(data.len()));
    check(from_query(query, MAX_CONTENT_BYTES));
    for kind in [BodyKind::Text, BodyKind::Binary, BodyKind::Form] {
        check(from_body(query, kind, Bytes::copy_from_slice(body), MAX_CONTENT_BYTES));
    }
    if let Err(error) = body_kind(Some(data)) {
        assert_is_short(&error.into());
    }
    if let Ok(text) = str::from_utf8(data) {
        prefers_json(text.split('\n'));
        if let Ok(origins) = text.parse::<AllowOrigins>() {
            let _ = origins.allowed(text, [127, 0, 0, 1].into());
        }
    }
});

fn check(read: Result<Push, impl Into<ApiError>>) {
    match read {
        Ok(push) => {
            let len = push.content.as_bytes().len();
            assert!((1..=MAX_CONTENT_BYTES).contains(&len));
        }
        Err(error) => assert_is_short(&error.into()),
    }
}

/// An error must not send everything back that the client has sent.
fn assert_is_short(error: &ApiError) {
    assert!(error.to_string().len() < 1_000, "{error}");
}

/// What is passed on of a connection whose requests are answered as soon as another one waits.
fn passed_on(stream: &[u8], len: usize) -> Vec<u8> {
    let mut inbound = Inbound::default();
    let mut output = Vec::new();
    for piece in stream.chunks(len) {
        inbound.receive(piece, &mut output);
        while inbound.has_waiting() {
            inbound.answered(&mut output);
        }
    }
    output
}
