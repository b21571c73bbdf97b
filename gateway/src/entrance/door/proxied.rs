//! What is no request, but begins as the PROXY protocol does.

use std::net::SocketAddr;

use campanile_edge::pages::NotAllowed;

use super::Door;
use super::decision::Decision;
use crate::entrance::refusal::Refusal;

/// How version 2 of the PROXY protocol begins.
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whether these are the first bytes of a PROXY header. Version 1 goes on with `TCP4`, `TCP6` or `UNKNOWN`, which
/// no method can be followed by.
fn begins_header(received: &[u8]) -> bool {
    [b"PROXY T", b"PROXY U", V2_START].iter().any(|start| received.starts_with(start))
}

impl Door {
    /// Refuses what is no request. A PROXY header gets the answer of the other headers of proxies, where they
    /// are refused.
    pub(super) fn refuse_other(
        &self,
        received: &[u8],
        peer: SocketAddr,
        refusal: Refusal,
    ) -> Decision {
        let is_proxied = begins_header(received)
            && !self.config.proxy_protocol
            && self.config.exposure_now().refused_for(|_| true).is_some();
        match is_proxied {
            true => self.refused(peer, &NotAllowed::Proxy { header: "PROXY" }.into(), None),
            false => self.refused(peer, &refusal, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_a_proxy_header_are_recognised() {
        assert!(begins_header(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"));
        assert!(begins_header(b"PROXY UNKNOWN\r\n"));
        assert!(begins_header(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"));
        assert!(!begins_header(b"PROXY / HTTP/1.1\r\n") && !begins_header(b"\r\n\r\nGET"));
    }
}
