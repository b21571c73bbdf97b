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

/// A token is offered as a subprotocol that begins with this, and must not be logged.
const BEARER: &str = "base64url.bearer.";

/// How much of an unknown subprotocol is logged.
const MAX_LOGGED_CHARS: usize = 32;

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An acceptable handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// What the client asked for.
    pub protocol: Protocol,
    /// The start of a subprotocol that the client offered and that is not known; it gets the plain
    /// dialect, which a browser does not accept. Safe to log once it is escaped.
    pub unknown_subprotocol: Option<String>,
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
        // What follows the head is frames: a body would be read as such.
        if head.all("transfer-encoding").next().is_some() {
            return Err(Refusal::bad(
                "a websocket opens with a request without a body: Transfer-Encoding is not accepted",
            ));
        }
        if head.all("content-length").any(|length| length != "0") {
            return Err(Refusal::bad(
                "a websocket opens with a request without a body: Content-Length must be 0, or not \
                 be there",
            ));
        }
        let key = head.one("sec-websocket-key").unwrap_or_default();
        if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
            let (protocol, unknown_subprotocol) = protocol(head)?;
            Ok(Self { protocol, unknown_subprotocol, accept: accept(key) })
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

/// The dialect of a client, and what it offered instead of a known one.
fn protocol(head: &Head) -> Result<(Protocol, Option<String>), Refusal> {
    let mut offered = head.listed("sec-websocket-protocol").filter(|name| !name.is_empty());
    if offered.clone().any(|name| name == V1) {
        return Ok((Protocol::V1, None));
    }
    match (offered.next(), offered.next()) {
        (None, _) => Ok((Protocol::Plain, None)),
        // Libraries for small devices offer a name that nobody asked them for, and do not mind that
        // it is not taken up. A name of ours is a mistake.
        (Some(name), None) if !begins_with(name, "campanile.") => {
            Ok((Protocol::Plain, Some(loggable(name))))
        }
        // To go on without one would leave a browser with a connection that it must fail.
        _ => Err(Refusal::coded(
            "unknown_subprotocol",
            "unknown subprotocol in Sec-WebSocket-Protocol, accepted: campanile.v1, or none",
        )),
    }
}

/// The start of a name, without what could be a secret.
fn loggable(name: &str) -> String {
    match begins_with(name, BEARER) {
        true => BEARER.to_owned(),
        false => name.chars().take(MAX_LOGGED_CHARS).collect(),
    }
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
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
    fn v1_is_chosen_and_an_unknown_name_alone_gets_the_plain_dialect() {
        let asks = |list: &str| {
            let head = request("Host: h", &format!("Host: h\r\nSec-WebSocket-Protocol: {list}"));
            Upgrade::check(&head).map(|upgrade| {
                let response = String::from_utf8_lossy(&upgrade.response()).into_owned();
                assert_eq!(
                    response.contains("Sec-WebSocket-Protocol"),
                    upgrade.protocol == Protocol::V1,
                    "{response}"
                );
                (upgrade.protocol, upgrade.unknown_subprotocol)
            })
        };
        let plain = |shown: Option<&str>| Ok((Protocol::Plain, shown.map(str::to_owned)));
        assert_eq!(asks("campanile.v1"), Ok((Protocol::V1, None)));
        assert_eq!(asks("mqtt, campanile.v1"), Ok((Protocol::V1, None)));
        assert_eq!(asks(", campanile.v1"), Ok((Protocol::V1, None)));
        assert_eq!(asks(""), plain(None));
        assert_eq!(asks(" , "), plain(None));
        assert_eq!(asks("arduino"), plain(Some("arduino")));
        assert_eq!(asks(&"é".repeat(50)), plain(Some(&"é".repeat(32))));
        for secret in ["base64url.bearer.campanile.c2VjcmV0", "BASE64URL.bearer.x"] {
            assert_eq!(asks(secret), plain(Some("base64url.bearer.")));
        }
        for refused in ["campanile.v2", "Campanile.v1", "campanile.", "mqtt, wamp"] {
            assert_eq!(asks(refused).map_err(|refusal| refusal.status), Err(400), "{refused}");
        }
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
            ("Host: h\r\n", "Host: h\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Host: h\r\n", "Host: h\r\nContent-Length: 1\r\n", 400),
            ("Host: h\r\n", "Host: h\r\nContent-Length: 0\r\nContent-Length: 5\r\n", 400),
        ] {
            let head = request(replace, with);
            assert!(is_meant(&head), "{with}");
            let refusal = Upgrade::check(&head).expect_err(with);
            assert_eq!(refusal.status, status, "{with}");
        }
        let empty = request("Host: h\r\n", "Host: h\r\nContent-Length: 0\r\n");
        assert!(Upgrade::check(&empty).is_ok());
    }
}
