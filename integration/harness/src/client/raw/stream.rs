//! A reader of event streams over a blocking socket, for the one line end that the gateway sends.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Block, Client};

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

    /// Waits for the first event, and returns its data.
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
            block.add(line).expect("a line of a block");
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
