//! The first bytes of a connection to a port that speaks TLS.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Most first records fit into this many bytes.
const FIRST_RECORD_BYTES: usize = 2 << 10;

/// The longest plaintext of a record (RFC 8446 section 5.1).
const MAX_RECORD_BYTES: usize = 1 << 14;

/// What somebody wants who connects to a port that speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// TLS, or something that nobody knows and that gets the answer of TLS.
    Tls,
    /// HTTP without TLS.
    Http,
}

impl Hello {
    /// Recognises it by the first bytes; `None` if there are too few. The first record of TLS has to be
    /// complete.
    fn of(received: &[u8]) -> Option<Self> {
        match received {
            [] => None,
            // A handshake record, with its version and length.
            [22] | [22, _] | [22, _, _] | [22, _, _, _] => None,
            [22, _, _, high, low, record @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                (record.len() >= len || len > MAX_RECORD_BYTES).then_some(Self::Tls)
            }
            [first, ..] if first.is_ascii_uppercase() => Some(Self::Http),
            _ => Some(Self::Tls),
        }
    }

    /// Reads until it is recognised. Everything that was read is returned with it.
    ///
    /// # Errors
    /// If the peer is gone.
    pub async fn read(tcp: &mut TcpStream) -> io::Result<(Self, Vec<u8>)> {
        let mut received = Vec::with_capacity(FIRST_RECORD_BYTES);
        loop {
            if tcp.read_buf(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(hello) = Self::of(&received) {
                return Ok((hello, received));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_told_from_http_by_the_first_bytes() {
        for (received, hello) in [
            (&b""[..], None),
            (b"G", Some(Hello::Http)),
            (b"GET / HTTP/1.1\r\n", Some(Hello::Http)),
            (&[22], None),
            (&[22, 3, 1, 0], None),
            (&[22, 3, 1, 0, 2], None),
            (&[22, 3, 1, 0, 2, 1], None),
            (&[22, 3, 1, 0, 2, 1, 0], Some(Hello::Tls)),
            (&[22, 3, 1, 0, 2, 1, 0, 9], Some(Hello::Tls)),
            (&[22, 3, 1, 0x40, 1], Some(Hello::Tls)),
            (&[22, 3, 1, 0x40, 0], None),
            (&[0], Some(Hello::Tls)),
            (b"\r\n", Some(Hello::Tls)),
        ] {
            assert_eq!(Hello::of(received), hello, "{received:?}");
        }
    }
}
