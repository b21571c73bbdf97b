//! The first bytes of a connection behind a proxy. No header is longer than its bound, and neither more nor
//! fewer bytes change what one says.

#![no_main]

use campanile_edge::proxy_protocol::{MAX_HEADER_BYTES, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match parse(data) {
        Ok(Some((proxied, len))) => {
            assert!(len <= data.len() && len <= MAX_HEADER_BYTES);
            assert_eq!(parse(&data[..len]), Ok(Some((proxied, len))));
            assert!((0..len).all(|part| parse(&data[..part]) == Ok(None)));
        }
        Ok(None) => {
            assert!(data.len() < MAX_HEADER_BYTES);
            assert!((0..data.len()).all(|part| parse(&data[..part]) == Ok(None)));
        }
        // What is wrong stays wrong.
        Err(_) => assert!(parse(&[data, b"\r\n"].concat()).is_err()),
    }
});
