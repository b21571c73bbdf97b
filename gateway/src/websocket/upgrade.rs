//! Finds the dialect that a websocket's handshake asks for. Pure.

use bytes::Bytes;
use campanile_edge::Head;
use campanile_edge::websocket::{self, offered};

use crate::dialects::Dialect;
use crate::entrance::refusal::Refusal;

/// A subprotocol that begins with this carries a token, which must not be logged.
const BEARER: &str = "base64url.bearer.";

/// How many characters of an unknown subprotocol are logged.
const MAX_LOGGED_CHARS: usize = 32;

/// A valid request to open a websocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The dialect that the client gets.
    pub dialect: Dialect,
    /// The beginning of an unknown subprotocol that the client offered. It gets the plain dialect, which
    /// a browser does not accept. Escape it before logging; it contains no token.
    pub unknown_subprotocol: Option<String>,
    handshake: websocket::Upgrade,
}

impl Upgrade {
    /// Checks that a request is a valid handshake, and chooses the dialect.
    ///
    /// # Errors
    /// The refusal to answer with: 400, 405 or 426.
    pub fn check(head: &Head<'_>) -> Result<Self, Refusal> {
        let handshake = websocket::Upgrade::check(head, &Dialect::subprotocols())?;
        let (dialect, unknown_subprotocol) =
            match handshake.subprotocol.and_then(Dialect::of_subprotocol) {
                Some(dialect) => (dialect, None),
                None => (Dialect::Plain, unknown_subprotocol(head)?),
            };
        Ok(Self { dialect, unknown_subprotocol, handshake })
    }

    /// The head of the response that opens the websocket.
    pub fn response(&self) -> Bytes {
        self.handshake.response()
    }
}

/// The beginning of the one unknown subprotocol that a client may offer and still get the plain
/// dialect; `None` if it offers none.
fn unknown_subprotocol(head: &Head<'_>) -> Result<Option<String>, Refusal> {
    let mut offered = offered(head);
    match (offered.next(), offered.next()) {
        (None, _) => Ok(None),
        // Some libraries for small devices offer a name by default, and connect although it is not
        // chosen. A name that begins like ours is a mistake.
        (Some(name), None) if !begins_with(name, "campanile.") => Ok(Some(loggable(name))),
        // Without a chosen subprotocol, a browser would have to fail the connection.
        _ => Err(Refusal::coded(
            "unknown_subprotocol",
            "unknown subprotocol in Sec-WebSocket-Protocol, accepted: campanile.v1, or none",
        )),
    }
}

/// The beginning of a name, without a token.
fn loggable(name: &str) -> String {
    match begins_with(name, BEARER) {
        true => BEARER.to_owned(),
        false => name.chars().take(MAX_LOGGED_CHARS).collect(),
    }
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use campanile_edge::websocket::HandshakeError;

    use super::*;

    /// A handshake with one more header.
    fn request(line: &str) -> Head<'static> {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n{line}\r\n\r\n"
        )
        .leak();
        Head::parse(request.as_bytes()).expect("well-formed").expect("complete").0
    }

    #[test]
    fn v1_is_chosen_and_one_unknown_name_gets_the_plain_dialect() {
        let asks = |list: &str| {
            let head = request(&format!("Sec-WebSocket-Protocol: {list}"));
            Upgrade::check(&head).map(|upgrade| {
                let response = String::from_utf8_lossy(&upgrade.response()).into_owned();
                assert_eq!(
                    response.contains("Sec-WebSocket-Protocol"),
                    upgrade.dialect == Dialect::V1,
                    "{response}"
                );
                (upgrade.dialect, upgrade.unknown_subprotocol)
            })
        };
        let plain = |shown: Option<&str>| Ok((Dialect::Plain, shown.map(str::to_owned)));
        assert_eq!(asks("campanile.v1"), Ok((Dialect::V1, None)));
        assert_eq!(asks("mqtt, campanile.v1"), Ok((Dialect::V1, None)));
        assert_eq!(asks(", campanile.v1"), Ok((Dialect::V1, None)));
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
    fn each_error_of_the_handshake_has_a_status() {
        use HandshakeError::*;
        for (error, status) in [
            (Method { method: "POST".to_owned() }, 405),
            (Http10, 400),
            (Host, 400),
            (Upgrade, 400),
            (Connection, 400),
            (Version, 426),
            (TransferEncoding, 400),
            (ContentLength, 400),
            (Key, 400),
        ] {
            let sentence = error.to_string();
            assert_eq!(Refusal::from(error).status, status, "{sentence}");
        }
        let two_versions = request("Sec-WebSocket-Version: 8");
        assert_eq!(super::Upgrade::check(&two_versions).map_err(|error| error.status), Err(426));
    }
}
