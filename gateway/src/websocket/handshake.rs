//! The opening handshake, RFC 6455 section 4.2: is this request a websocket's, and may it be one?

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::head::Head;
use crate::protocol::Protocol;
use crate::refusal::Refusal;

/// The subprotocol of JSON messages.
pub const V1: &str = "campanile.v1";

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An acceptable handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// What the client asked for.
    pub protocol: Protocol,
    accept: String,
}

/// Whether the client means to open a websocket, rightly or wrongly.
pub fn is_meant(head: &Head) -> bool {
    head.lists("upgrade", "websocket") || head.all("sec-websocket-key").next().is_some()
}

impl Upgrade {
    /// Checks a request.
    ///
    /// # Errors
    /// The refusal to answer with: 400, 405 or 426.
    pub fn check(head: &Head) -> Result<Self, Refusal> {
        if head.method != "GET" {
            return Err(Refusal::method(&head.method, "a websocket opens with GET"));
        }
        if head.minor_version == 0 {
            return Err(Refusal::bad("a websocket opens with HTTP/1.1, the request is HTTP/1.0"));
        }
        if head.all("host").count() != 1 {
            return Err(Refusal::bad("the request needs one Host header"));
        }
        if !head.lists("upgrade", "websocket") {
            return Err(Refusal::bad("a websocket needs the header Upgrade: websocket"));
        }
        if !head.lists("connection", "upgrade") {
            return Err(Refusal::bad("a websocket needs the header Connection: Upgrade"));
        }
        if head.one("sec-websocket-version") != Some("13") {
            return Err(Refusal::websocket_version());
        }
        let key = head.one("sec-websocket-key").unwrap_or_default();
        if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
            Ok(Self { protocol: protocol(head)?, accept: accept(key) })
        } else {
            Err(Refusal::bad("Sec-WebSocket-Key must be 16 bytes in base64, once"))
        }
    }

    /// The response that opens the websocket.
    pub fn response(&self) -> Bytes {
        let protocol = match self.protocol {
            Protocol::V1 => format!("Sec-WebSocket-Protocol: {V1}\r\n"),
            _ => String::new(),
        };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
            self.accept
        )
        .into()
    }
}

fn protocol(head: &Head) -> Result<Protocol, Refusal> {
    if head.lists_exactly("sec-websocket-protocol", V1) {
        return Ok(Protocol::V1);
    }
    match head.all("sec-websocket-protocol").next() {
        None => Ok(Protocol::Plain),
        // To go on without one would leave a browser with a connection that it must fail.
        Some(_) => Err(Refusal::bad(
            "unknown subprotocol in Sec-WebSocket-Protocol, accepted: campanile.v1, or none",
        )),
    }
}

/// What the server answers to a client's key, RFC 6455 section 4.2.2.
pub fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(replace: &str, with: &str) -> Head {
        let request = "GET /?group=a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
             Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n";
        assert!(request.contains(replace));
        let request = request.replacen(replace, with, 1);
        Head::parse(request.as_bytes()).expect("well-formed").expect("complete").0
    }

    #[test]
    fn the_sample_of_the_rfc_is_answered_with_its_sample() {
        let upgrade = Upgrade::check(&request("", "")).expect("a handshake");
        assert_eq!(upgrade.protocol, Protocol::Plain);
        assert_eq!(
            &upgrade.response()[..],
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
    }

    #[test]
    fn v1_is_chosen_among_others_and_an_unknown_protocol_is_refused() {
        let asks = |list: &str| {
            let head = request("Host: h", &format!("Host: h\r\nSec-WebSocket-Protocol: {list}"));
            Upgrade::check(&head).map(|upgrade| upgrade.protocol)
        };
        assert_eq!(asks("campanile.v1"), Ok(Protocol::V1));
        assert_eq!(asks("mqtt, campanile.v1"), Ok(Protocol::V1));
        assert_eq!(asks("mqtt").map_err(|refusal| refusal.status), Err(400));
    }

    #[test]
    fn each_missing_or_wrong_part_is_refused() {
        for (replace, with, status) in [
            ("GET", "POST", 405),
            ("HTTP/1.1", "HTTP/1.0", 400),
            ("Host: h\r\n", "", 400),
            ("Host: h\r\n", "Host: h\r\nHost: i\r\n", 400),
            ("Upgrade: websocket", "Upgrade: h2c", 400),
            ("Upgrade: websocket\r\n", "", 400),
            ("keep-alive, Upgrade", "keep-alive", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "not base64!", 400),
            ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
        ] {
            let head = request(replace, with);
            assert!(is_meant(&head), "{with}");
            let refusal = Upgrade::check(&head).expect_err(with);
            assert_eq!(refusal.status, status, "{with}");
        }
    }
}
