//! Server-sent events: the bytes of `GET /events`. Pure.
//!
//! The response has no length and ends with its connection. Every reader drops a block that was cut
//! off, so nothing has to mark the end of the stream.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use campanile_edge::pages::Reader;
use campanile_messages::link::Gap;
use campanile_messages::{Audience, Content, Position, UserName};

use super::said::{SaidGap, SaidGreeting};
use super::{Greeting, Rules};
use crate::websocket::CloseCode;

/// A comment without a text: clients ignore it, but it shows that the stream is alive.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// How long a client waits before it comes back, in milliseconds: a range, so that not all of them come
/// back at once, and long enough that none of them comes back in a tight loop.
const RETRY_MILLIS: RangeInclusive<u32> = 500..=3_000;

/// A random time for one client to wait before it comes back, whenever its stream ends.
pub fn retry_millis() -> u32 {
    rand::random_range(RETRY_MILLIS)
}

/// The head of the response; `reader` is the web page that may read it.
pub fn head(reader: Option<Reader<'_>>, retry_millis: u32) -> Bytes {
    let allow = reader.map_or(String::new(), Reader::headers);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
         Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\nVary: Origin\r\n{allow}\
         Connection: close\r\n\r\nretry: {retry_millis}\n\n"
    )
    .into()
}

/// The rules of an event stream.
pub struct Events;

impl Rules for Events {
    fn is_one_way(&self) -> bool {
        true
    }

    fn reads_last_event_id(&self) -> bool {
        true
    }

    fn greeting(&self, greeting: &Greeting<'_>) -> Bytes {
        block(Some("sync"), Some(greeting.position), &json(&SaidGreeting::from(greeting)))
    }

    /// The data is the content and nothing else, so it does not say who published it.
    ///
    /// Binary content, and text with a carriage return, is sent in base64: the format cannot carry it.
    fn event(
        &self,
        logged: Option<(Position, &Audience)>,
        content: &Content,
        _: Option<&UserName>,
    ) -> Bytes {
        let position = logged.map(|(position, _)| position);
        match content {
            Content::Text(text) if !text.contains('\r') => block(None, position, text),
            content => block(Some("binary"), position, &STANDARD.encode(content.as_bytes())),
        }
    }

    /// A client whose token is the reason can come back with a new one and its last id. A browser comes back
    /// by itself, but with the old token if that is in the URL.
    fn close(&self, code: CloseCode, _group: Option<&str>) -> Bytes {
        let retry = retry(retry_millis());
        match code {
            CloseCode::TokenExpired | CloseCode::TokenRevoked => {
                let said = SaidExpired { reason: code.error().unwrap_or_default() };
                [block(Some("expired"), None, &json(&said)), retry].concat().into()
            }
            _ => retry,
        }
    }

    fn disconnect(&self, code: CloseCode, _reason: &str) -> Bytes {
        self.close(code, None)
    }

    /// The client cannot answer. If it is gone, the kernel notices that nothing is acknowledged.
    fn ping(&self) -> Option<Bytes> {
        None
    }

    fn keep_alive(&self) -> Option<Bytes> {
        Some(COMMENT)
    }

    /// A block without data updates the client's last id, and is not an event.
    fn position(&self, position: Position) -> Option<Bytes> {
        Some(format!("id: {position}\n\n").into())
    }

    fn gap(&self, gap: Gap, position: Position) -> Option<Bytes> {
        Some(block(Some("gap"), Some(position), &json(&SaidGap::new(gap, position))))
    }
}

/// Why a client needs a new token: `expired` or `invalid_token`.
#[derive(serde::Serialize)]
struct SaidExpired {
    reason: &'static str,
}

fn retry(retry_millis: u32) -> Bytes {
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
    use crate::resume::Lost;

    const P: Position = Position { epoch: 0xab, sequence: 7 };

    #[test]
    fn each_message_is_one_block() {
        let address = Address { worker: WorkerId(3), connection: ConnectionId(9) };
        let greeting =
            |resumed| Greeting { address, position: P, resumed, history: None, identity: None };
        let logged = Some((P, &Audience::Everyone));
        let event = |logged, content: &Content| Events.event(logged, content, None);
        let some = |frame: Option<Bytes>| frame.expect("event streams have this message");
        for (bytes, expected) in [
            (
                Events.greeting(&greeting(None)),
                "event: sync\nid: 00000000000000ab-7\ndata: {\"worker\":3,\"connection\":9,\
                 \"position\":\"00000000000000ab-7\"}\n\n",
            ),
            (
                Events.greeting(&greeting(Some(Err(Lost::Malformed)))),
                "event: sync\nid: 00000000000000ab-7\ndata: {\"worker\":3,\"connection\":9,\
                 \"position\":\"00000000000000ab-7\",\"recovered\":false,\
                 \"reason\":\"malformed\"}\n\n",
            ),
            (event(logged, &"hi".into()), "id: 00000000000000ab-7\ndata: hi\n\n"),
            (event(None, &" a\n\nb\n".into()), "data:  a\ndata: \ndata: b\ndata: \n\n"),
            (event(None, &"a\r".into()), "event: binary\ndata: YQ0=\n\n"),
            (
                event(None, &Content::Binary(Bytes::from_static(&[0xff]))),
                "event: binary\ndata: /w==\n\n",
            ),
            (some(Events.position(P)), "id: 00000000000000ab-7\n\n"),
            (
                some(Events.gap(Gap::EpochChanged, P)),
                "event: gap\nid: 00000000000000ab-7\ndata: {\"reason\":\"epoch_changed\",\
                 \"position\":\"00000000000000ab-7\"}\n\n",
            ),
        ] {
            assert_eq!(std::str::from_utf8(&bytes).expect("UTF-8"), expected);
        }
    }

    #[test]
    fn the_head_allows_an_origin_and_forbids_buffering() {
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
        /// The model parses a block as the standard prescribes.
        #[test]
        fn any_text_is_read_back(text: String) {
            let content = Content::Text(text.clone().into());
            let bytes = Events.event(Some((P, &Audience::Everyone)), &content, None);
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
