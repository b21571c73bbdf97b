//! The opening handshake, RFC 6455 section 4.2. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::Head;

/// The constant of RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request cannot open a websocket. The status of the answer is 405 for [`Method`](Self::Method),
/// 426 for [`Version`](Self::Version), and 400 for the rest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The method is not GET.
    #[error("method {method}: a websocket opens with GET")]
    Method {
        /// The method of the request.
        method: String,
    },
    /// The request is HTTP/1.0.
    #[error("a websocket opens with HTTP/1.1, but the request is HTTP/1.0")]
    Http10,
    /// There is no `Host`, or more than one.
    #[error("the request needs one Host header")]
    Host,
    /// There is no `Upgrade` to `websocket`.
    #[error("a websocket needs the header Upgrade: websocket")]
    Upgrade,
    /// `Connection` does not list `Upgrade`.
    #[error("a websocket needs the header Connection: Upgrade")]
    Connection,
    /// The request names another version of the protocol, or none.
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// The request has a chunked body.
    #[error("a websocket opens with a request without a body: Transfer-Encoding is not accepted")]
    TransferEncoding,
    /// The request has a body.
    #[error(
        "a websocket opens with a request without a body: Content-Length must be 0, or not be there"
    )]
    ContentLength,
    /// The key is missing, malformed or repeated.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64, once")]
    Key,
}

/// A handshake that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The chosen subprotocol; `None` if the client offered none that is supported.
    pub subprotocol: Option<&'static str>,
    accept: String,
}

/// Whether the client wants to open a websocket, even if the handshake is wrong.
pub fn is_meant(head: &Head<'_>) -> bool {
    head.lists("upgrade", "websocket") || head.all("sec-websocket-key").next().is_some()
}

/// The subprotocols that a client offers, in its order of preference. Empty names are left out.
pub fn offered<'a>(head: &'a Head<'_>) -> impl Iterator<Item = &'a str> + Clone {
    head.listed("sec-websocket-protocol").filter(|name| !name.is_empty())
}

impl Upgrade {
    /// Checks a request. The first subprotocol in the client's order that is `supported` is chosen. If
    /// there is none, that is not an error.
    ///
    /// # Errors
    /// The first [`HandshakeError`], in the order in which they are declared.
    pub fn check(head: &Head<'_>, supported: &[&'static str]) -> Result<Self, HandshakeError> {
        if head.method != "GET" {
            return Err(HandshakeError::Method { method: head.method.to_owned() });
        }
        if head.minor_version == 0 {
            return Err(HandshakeError::Http10);
        }
        if head.all("host").count() != 1 {
            return Err(HandshakeError::Host);
        }
        if !head.lists("upgrade", "websocket") {
            return Err(HandshakeError::Upgrade);
        }
        if !head.lists("connection", "upgrade") {
            return Err(HandshakeError::Connection);
        }
        if head.one("sec-websocket-version") != Some("13") {
            return Err(HandshakeError::Version);
        }
        // Frames follow the head, so a body would be read as frames.
        if head.all("transfer-encoding").next().is_some() {
            return Err(HandshakeError::TransferEncoding);
        }
        if head.all("content-length").any(|length| length != "0") {
            return Err(HandshakeError::ContentLength);
        }
        let key = head.one("sec-websocket-key").unwrap_or_default();
        if is_key(key) {
            let known = |name| supported.iter().copied().find(|known| *known == name);
            Ok(Self { subprotocol: offered(head).find_map(known), accept: accept_key(key) })
        } else {
            Err(HandshakeError::Key)
        }
    }

    /// The response that opens the websocket, with the subprotocol that was chosen.
    pub fn response(&self) -> Bytes {
        let subprotocol: &[&str] = match self.subprotocol {
            Some(name) => &["\r\nSec-WebSocket-Protocol: ", name],
            None => &[],
        };
        let before = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\nSec-WebSocket-Accept: ";
        [&[before, &self.accept], subprotocol, &["\r\n\r\n"]].concat().concat().into()
    }
}

/// Whether this is the base64 of 16 bytes.
fn is_key(key: &str) -> bool {
    // What 24 characters can say, and no more.
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

/// The value of `Sec-WebSocket-Accept` for a client's key, RFC 6455 section 4.2.2.
pub fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPPORTED: [&str; 2] = ["chat.v2", "chat.v1"];

    fn request(replace: &str, with: &str) -> Head<'static> {
        let request = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
            Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        assert!(request.contains(replace));
        let request = request.replacen(replace, with, 1).leak();
        Head::parse(request.as_bytes()).expect("well-formed").expect("complete").0
    }

    #[test]
    fn the_sample_of_the_rfc_is_answered_with_its_sample() {
        let upgrade = Upgrade::check(&request("", ""), &SUPPORTED).expect("a handshake");
        assert_eq!(upgrade.subprotocol, None);
        assert_eq!(
            &upgrade.response()[..],
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
    }

    #[test]
    fn the_clients_first_supported_subprotocol_is_chosen() {
        for (offers, chosen) in [
            ("chat.v1", Some("chat.v1")),
            ("chat.v1, chat.v2", Some("chat.v1")),
            ("mqtt, chat.v2", Some("chat.v2")),
            (", chat.v2", Some("chat.v2")),
            ("mqtt\r\nSec-WebSocket-Protocol: chat.v1", Some("chat.v1")),
            ("Chat.v1", None),
            ("mqtt", None),
            (" , ", None),
            ("", None),
        ] {
            let lines = format!("Host: h\r\nSec-WebSocket-Protocol: {offers}");
            let upgrade = Upgrade::check(&request("Host: h", &lines), &SUPPORTED).expect("valid");
            assert_eq!(upgrade.subprotocol, chosen, "{offers}");
            let response = String::from_utf8_lossy(&upgrade.response()).into_owned();
            let named = response.split_once("Sec-WebSocket-Protocol: ");
            let named = named.and_then(|(_, rest)| rest.strip_suffix("\r\n\r\n"));
            assert_eq!(named, chosen, "{response}");
        }
        let two = request("Host: h", "Host: h\r\nSec-WebSocket-Protocol: b,,  a ,");
        assert_eq!(offered(&two).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn each_missing_or_wrong_part_is_refused() {
        use HandshakeError::*;
        for (replace, with, error) in [
            ("GET", "POST", Method { method: "POST".to_owned() }),
            ("HTTP/1.1", "HTTP/1.0", Http10),
            ("Host: h\r\n", "", Host),
            ("Host: h\r\n", "Host: h\r\nHost: i\r\n", Host),
            ("Upgrade: websocket", "Upgrade: h2c", Upgrade),
            ("Upgrade: websocket\r\n", "", Upgrade),
            ("keep-alive, Upgrade", "keep-alive", Connection),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "not base64!", Key),
            ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", Version),
            ("Sec-WebSocket-Version: 13\r\n", "", Version),
            ("Host: h\r\n", "Host: h\r\nTransfer-Encoding: chunked\r\n", TransferEncoding),
            ("Host: h\r\n", "Host: h\r\nContent-Length: 1\r\n", ContentLength),
            ("Host: h\r\n", "Host: h\r\nContent-Length: 0\r\nContent-Length: 5\r\n", ContentLength),
        ] {
            let head = request(replace, with);
            assert!(is_meant(&head), "{with}");
            assert_eq!(super::Upgrade::check(&head, &SUPPORTED), Err(error), "{with}");
        }
        let empty = request("Host: h\r\n", "Host: h\r\nContent-Length: 0\r\n");
        assert!(super::Upgrade::check(&empty, &SUPPORTED).is_ok());
    }
}
