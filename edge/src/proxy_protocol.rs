//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>):
//! the first bytes of a connection, by which a proxy says whom it stands for. Pure.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// The longest header of version 1 in bytes, as the protocol says.
const MAX_V1_BYTES: usize = 107;

/// The longest header that is accepted, in bytes. The protocol allows 64 KiB, and asks every sender to
/// stay within 536 bytes, so that the header is in the first segment.
pub const MAX_HEADER_BYTES: usize = 536;

const V1_START: &[u8] = b"PROXY ";

const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of a header of version 2 without its addresses.
const V2_FIXED_BYTES: usize = 16;

/// Whom a connection is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// From this client.
    Client(SocketAddr),
    /// From the proxy itself, as its health checks are (`LOCAL`), or from a client that it does not know
    /// (`UNKNOWN`) or that has no IP address.
    Itself,
}

/// Why the first bytes of a connection are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// They are something else, such as an HTTP request.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// They begin like a header and are malformed.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// The header is longer than [`MAX_HEADER_BYTES`].
    #[error("the PROXY header is longer than {MAX_HEADER_BYTES} bytes")]
    TooLarge,
}

/// Reads the header at the start of `bytes`. Returns it with its length; `None` if it is not complete,
/// which all of `bytes` are a part of then.
///
/// # Errors
/// See [`ProxyHeaderError`].
pub fn parse(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyHeaderError> {
    let begins_like = |start: &[u8]| bytes.iter().zip(start).all(|(a, b)| a == b);
    if begins_like(V1_START) {
        parse_v1(&bytes[..bytes.len().min(MAX_V1_BYTES)])
    } else if begins_like(V2_START) {
        parse_v2(bytes)
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyHeaderError> {
    // A line without its end is read only when it is complete.
    let Some(line) = bytes.iter().position(|&byte| byte == b'\n') else {
        return match bytes.len() {
            MAX_V1_BYTES => Err(ProxyHeaderError::Malformed),
            _ => Ok(None),
        };
    };
    let line = &bytes[..=line];
    // The parser takes a sign before a port, and anything behind `UNKNOWN`, which only has to be ignored
    // if it is separated.
    let is_strict = !line.contains(&b'+')
        && (!line.starts_with(b"PROXY UNKNOWN") || matches!(line[13], b' ' | b'\r'));
    match decode(line) {
        Ok((proxied, len)) if is_strict && len == line.len() => Ok(Some((proxied, len))),
        _ => Err(ProxyHeaderError::Malformed),
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, ProxyHeaderError> {
    let Some(length) = bytes.get(14..V2_FIXED_BYTES) else { return Ok(None) };
    let len = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if len > MAX_HEADER_BYTES {
        return Err(ProxyHeaderError::TooLarge);
    }
    match bytes.get(..len) {
        Some(header) => decode(header).map(Some),
        None => Ok(None),
    }
}

/// Reads exactly one header.
fn decode(header: &[u8]) -> Result<(Proxied, usize), ProxyHeaderError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let read = ProxyHeader::parse(header, config).map_err(|_| ProxyHeaderError::Malformed)?;
    let (header, len) = read;
    match header.proxied_address() {
        None => Ok((Proxied::Itself, len)),
        Some(address) if address.protocol == Protocol::Stream => {
            let (ip, port) = (address.source.ip().to_canonical(), address.source.port());
            Ok((Proxied::Client((ip, port).into()), len))
        }
        Some(_) => Err(ProxyHeaderError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of version 2 that announces the length of what follows.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).expect("short");
        [V2_START, &[command, family], &len.to_be_bytes(), rest].concat()
    }

    /// From 192.0.2.1:4660 to 10.0.0.1:80.
    const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn client(address: &str) -> Proxied {
        Proxied::Client(address.parse().expect("an address"))
    }

    /// Checks that a header is read as a whole, and in no smaller part.
    #[track_caller]
    fn assert_reads(header: &[u8], expected: Proxied) {
        let followed = [header, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&followed), Ok(Some((expected, header.len()))));
        for len in 0..header.len() {
            assert_eq!(parse(&header[..len]), Ok(None), "after {len} bytes");
        }
    }

    #[test]
    fn both_versions_say_whom_a_connection_is_from() {
        assert_reads(b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n", client("192.0.2.1:4660"));
        assert_reads(b"PROXY TCP6 2001:db8::1 ::1 4660 80\r\n", client("[2001:db8::1]:4660"));
        assert_reads(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", client("192.0.2.1:1"));
        assert_reads(&v2(0x21, 0x11, &V4), client("192.0.2.1:4660"));
        let tlvs = [&V4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        assert_reads(&v2(0x21, 0x11, &tlvs), client("192.0.2.1:4660"));
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 1;
        v6[33] = 1;
        assert_reads(&v2(0x21, 0x21, &v6), client("[2001:db8::1]:1"));
    }

    #[test]
    fn a_proxy_may_speak_for_itself() {
        assert_reads(b"PROXY UNKNOWN\r\n", Proxied::Itself);
        assert_reads(b"PROXY UNKNOWN ffff:f...f:ffff 65535 65535\r\n", Proxied::Itself);
        assert_reads(&v2(0x20, 0, &[]), Proxied::Itself);
        assert_reads(&v2(0x20, 0x11, &V4), Proxied::Itself);
        assert_reads(&v2(0x21, 0, &[]), Proxied::Itself);
        assert_reads(&v2(0x21, 0x31, &[0; 216]), Proxied::Itself);
    }

    #[test]
    fn the_longest_headers_are_accepted_and_no_longer_ones() {
        let tlvs = [&V4[..], &[0; MAX_HEADER_BYTES - V2_FIXED_BYTES - 12]].concat();
        assert_reads(&v2(0x21, 0x11, &tlvs), client("192.0.2.1:4660"));
        let longer = v2(0x21, 0x11, &[&tlvs[..], &[0]].concat());
        // It is refused before it has arrived.
        assert_eq!(parse(&longer[..V2_FIXED_BYTES]), Err(ProxyHeaderError::TooLarge));
        let unknown = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
        assert_reads(unknown(MAX_V1_BYTES).as_bytes(), Proxied::Itself);
        let longer = unknown(MAX_V1_BYTES + 1);
        assert_eq!(parse(longer.as_bytes()), Err(ProxyHeaderError::Malformed));
        assert_eq!(parse(&longer.as_bytes()[..MAX_V1_BYTES]), Err(ProxyHeaderError::Malformed));
    }

    #[test]
    fn other_protocols_are_refused_with_their_first_bytes() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"POST / HTTP/1.1\r\n",
            b"PUT",
            b"\x16\x03\x01",
            b"PROXY\r",
            b"proxy TCP4",
            b"\r\n\r\nx",
            b"\0",
        ] {
            assert_eq!(parse(bytes), Err(ProxyHeaderError::Missing), "{bytes:?}");
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\rx\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 -2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN\n",
            "PROXY \r\n",
            "PROXY TCP4\x00192.0.2.1 10.0.0.1 1 2\r\n",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(ProxyHeaderError::Malformed), "{line:?}");
        }
        for header in [
            v2(0x21, 0x11, &V4[..11]),
            v2(0x21, 0x21, &V4),
            v2(0x21, 0x12, &V4),
            v2(0x22, 0x11, &V4),
            v2(0x11, 0x11, &V4),
            v2(0x21, 0x41, &V4),
            v2(0x21, 0x31, &V4),
        ] {
            assert_eq!(parse(&header), Err(ProxyHeaderError::Malformed), "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_header_is_longer_than_the_bound(
            start in prop::sample::select(vec![&b""[..], V1_START, V2_START, b"PROXY TCP4 "]),
            rest: Vec<u8>,
        ) {
            let bytes = [start, &rest].concat();
            match parse(&bytes) {
                Ok(Some((_, len))) => prop_assert!(len <= bytes.len().min(MAX_HEADER_BYTES)),
                Ok(None) => prop_assert!(bytes.len() < MAX_HEADER_BYTES),
                Err(_) => {}
            }
        }

        #[test]
        fn more_bytes_never_change_what_was_read(
            start in prop::sample::select(vec![
                b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
                b"PROXY UNKNOWN\r\n".to_vec(),
                v2(0x21, 0x11, &V4),
                v2(0x20, 0, &[]),
            ]),
            rest: Vec<u8>,
        ) {
            let alone = parse(&start);
            prop_assert!(matches!(alone, Ok(Some(_))));
            prop_assert_eq!(parse(&[start, rest].concat()), alone);
        }
    }
}
