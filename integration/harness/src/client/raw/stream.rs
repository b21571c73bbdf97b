//! A reader of event streams of its own, for one line end: what the gateway sends.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::Client;

/// One block of a stream; what it does not name is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    pub event: Option<String>,
    pub id: Option<String>,
    pub data: Option<String>,
    pub retry: Option<u32>,
    /// There is a line that says nothing.
    pub comment: bool,
}

impl Block {
    pub fn json(&self) -> Value {
        let data = self.data.as_ref().expect("a block with data");
        serde_json::from_str(data).expect("JSON")
    }
}

/// A connection on which an event stream has begun.
#[derive(Debug)]
pub struct Stream {
    pub client: Client,
    pub head: String,
    /// What the first block says.
    pub retry: u32,
}

/// A request for an event stream.
pub fn request(target: &str, headers: &[&str]) -> Vec<u8> {
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{more}\r\n")
        .into()
}

impl Stream {
    pub fn open(gateway: SocketAddr, target: &str, headers: &[&str]) -> Self {
        Self::open_with(gateway, &request(target, headers))
    }

    pub fn open_with(gateway: SocketAddr, request: &[u8]) -> Self {
        let mut client = Client::raw(gateway);
        client.send(request);
        Self::begin(client)
    }

    /// Reads up to the first block.
    pub fn begin(mut client: Client) -> Self {
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let mut stream = Self { client, head, retry: 0 };
        let block = stream.next();
        stream.retry = block.retry.expect("a stream begins with when to come back");
        assert_eq!(block, Block { retry: Some(stream.retry), ..Block::default() });
        stream
    }

    /// Waits for the first event, and answers its data.
    #[track_caller]
    pub fn synced(&mut self) -> Value {
        let sync = self.next();
        assert_eq!(sync.event.as_deref(), Some("sync"), "{sync:?}");
        let said = sync.json();
        assert_eq!(said["position"], sync.id.expect("a sync has an id"));
        said
    }

    /// The next block.
    #[track_caller]
    pub fn next(&mut self) -> Block {
        let mut block = Block::default();
        let text = self.client.read_until("\n\n");
        for line in text.strip_suffix("\n\n").expect("a block").split('\n') {
            let (field, value) = line.split_once(':').expect("a field");
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" => block.comment = true,
                "event" => block.event = Some(value),
                "id" => block.id = Some(value),
                "retry" => block.retry = Some(value.parse().expect("milliseconds")),
                "data" => {
                    block.data = Some(match block.data {
                        None => value,
                        Some(before) => format!("{before}\n{value}"),
                    });
                }
                other => panic!("field {other:?}"),
            }
        }
        block
    }

    /// The next block, which must be an event of the log: its id and its data.
    #[track_caller]
    pub fn message(&mut self) -> (String, String) {
        let block = self.next();
        let expected = Block { id: block.id.clone(), data: block.data.clone(), ..Block::default() };
        assert_eq!(block, expected);
        (block.id.expect("an id"), block.data.expect("data"))
    }
}
