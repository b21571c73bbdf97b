//! Server-sent events: the bytes of `GET /events`. Pure.
//!
//! The response has no length and ends with its connection: a block of lines that is cut off is
//! dropped by every reader, so nothing has to mark where it would have ended.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use campanile_edge::pages::Reader;
use campanile_messages::link::Gap;
use campanile_messages::{Content, Position};

use crate::protocol::{SaidGap, Welcome};

/// Says nothing; shows that the stream is alive.
pub const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// The head of the response; `reader` is the page that may read it. `retry_millis` is how long the
/// client waits before it comes back, whenever that will be.
pub fn head(reader: Option<Reader<'_>>, retry_millis: u32) -> Bytes {
    let allow = reader.map_or(String::new(), Reader::headers);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
         Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\nVary: Origin\r\n{allow}\
         Connection: close\r\n\r\nretry: {retry_millis}\n\n"
    )
    .into()
}

/// The first event: where the client is, and where its stream begins.
pub fn sync(welcome: &Welcome, position: Position) -> Bytes {
    block(Some("sync"), Some(position), &json(welcome))
}

/// An event; without a position it is for this connection alone. The format cannot carry binary
/// content, nor a carriage return.
pub fn event(position: Option<Position>, content: &Content) -> Bytes {
    match content {
        Content::Text(text) if !text.contains('\r') => block(None, position, text),
        content => block(Some("binary"), position, &STANDARD.encode(content.as_bytes())),
    }
}

/// Nothing is missing up to here. Without data it keeps the client's last id fresh and is no event.
pub fn position(position: Position) -> Bytes {
    format!("id: {position}\n\n").into()
}

/// Events may be missing here.
pub fn gap(gap: Gap, position: Position) -> Bytes {
    block(Some("gap"), Some(position), &json(&SaidGap::new(gap, position)))
}

/// The last words to a client that is to come back after so long.
pub fn retry(retry_millis: u32) -> Bytes {
    format!("retry: {retry_millis}\n\n").into()
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain strings and numbers are JSON")
}

fn block(name: Option<&str>, id: Option<Position>, data: &str) -> Bytes {
    let mut block = String::with_capacity(data.len() + 64);
    if let Some(name) = name {
        let _ = writeln!(block, "event: {name}");
    }
    if let Some(id) = id {
        let _ = writeln!(block, "id: {id}");
    }
    for line in data.split('\n') {
        block.push_str("data: ");
        block.push_str(line);
        block.push('\n');
    }
    block.push('\n');
    block.into()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use campanile_edge::{AllowOrigins, Head};
    use campanile_messages::{Address, ConnectionId, WorkerId};
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Lost;

    const P: Position = Position { epoch: 0xab, sequence: 7 };

    #[test]
    fn the_blocks_that_a_client_reads() {
        let address = Address { worker: WorkerId(3), connection: ConnectionId(9) };
        for (bytes, expected) in [
            (
                sync(&Welcome::new(address, P, None), P),
                "event: sync\nid: 00000000000000ab-7\ndata: {\"worker\":3,\"connection\":9,\
                 \"position\":\"00000000000000ab-7\"}\n\n",
            ),
            (
                sync(&Welcome::new(address, P, Some(Err(Lost::Malformed))), P),
                "event: sync\nid: 00000000000000ab-7\ndata: {\"worker\":3,\"connection\":9,\
                 \"position\":\"00000000000000ab-7\",\"recovered\":false,\
                 \"reason\":\"malformed\"}\n\n",
            ),
            (event(Some(P), &"hi".into()), "id: 00000000000000ab-7\ndata: hi\n\n"),
            (event(None, &" a\n\nb\n".into()), "data:  a\ndata: \ndata: b\ndata: \n\n"),
            (event(None, &"a\r".into()), "event: binary\ndata: YQ0=\n\n"),
            (
                event(None, &Content::Binary(Bytes::from_static(&[0xff]))),
                "event: binary\ndata: /w==\n\n",
            ),
            (position(P), "id: 00000000000000ab-7\n\n"),
            (
                gap(Gap::EpochChanged, P),
                "event: gap\nid: 00000000000000ab-7\ndata: {\"reason\":\"epoch_changed\",\
                 \"position\":\"00000000000000ab-7\"}\n\n",
            ),
        ] {
            assert_eq!(std::str::from_utf8(&bytes).expect("UTF-8"), expected);
        }
    }

    #[test]
    fn a_page_of_an_allowed_origin_may_read_and_no_proxy_may_hold_back() {
        let request = Head::parse(b"GET /events HTTP/1.1\r\nOrigin: http://a\r\n\r\n");
        let (request, _) = request.expect("well-formed").expect("complete");
        let reader = Reader::of(&request, &AllowOrigins::Any, Ipv4Addr::LOCALHOST.into());
        let head = head(reader, 1_500);
        let head = std::str::from_utf8(&head).expect("UTF-8");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"));
        assert!(head.contains("\r\nX-Accel-Buffering: no\r\n"));
        assert!(head.contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
        assert!(head.ends_with("\r\n\r\nretry: 1500\n\n"));
    }

    proptest! {
        /// The model: how the standard has a reader take a block apart.
        #[test]
        fn any_text_is_read_back(text: String) {
            let bytes = event(Some(P), &Content::Text(text.clone().into()));
            let block = std::str::from_utf8(&bytes).expect("UTF-8");
            let mut data = String::new();
            let mut is_binary = false;
            for line in block.strip_suffix("\n\n").expect("a block").split('\n') {
                let (field, value) = line.split_once(": ").expect("a field");
                match field {
                    "data" => {
                        data.push_str(value);
                        data.push('\n');
                    }
                    "event" => is_binary = value == "binary",
                    _ => prop_assert_eq!(field, "id"),
                }
            }
            data.pop();
            if is_binary {
                let decoded = STANDARD.decode(&data).expect("base64");
                prop_assert_eq!(decoded, text.as_bytes());
            } else {
                prop_assert_eq!(data, text);
            }
        }
    }
}
