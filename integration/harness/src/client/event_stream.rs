//! A reader of server-sent events that shares no code with the gateway.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::block::Block;

/// More than a line that a test waits for.
const MAX_LINE_BYTES: u64 = 32 << 20;

/// An open `text/event-stream`.
pub struct EventStream {
    reader: BufReader<TcpStream>,
    /// The response's head, in lower case.
    pub head: String,
    /// From the response's first line.
    pub status: u16,
}

impl EventStream {
    /// Sends the request and reads the response's head. `query` begins with `?` or is empty.
    pub async fn open(
        stream: TcpStream,
        query: &str,
        last_event_id: Option<&str>,
    ) -> io::Result<Self> {
        let address: SocketAddr = stream.peer_addr()?;
        let mut reader = BufReader::with_capacity(4 << 10, stream);
        let last = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /events{query} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{last}\r\n"
        );
        reader.write_all(request.as_bytes()).await?;
        let mut head = String::new();
        loop {
            let line = line(&mut reader).await?;
            if line.is_empty() {
                break;
            }
            head.push_str(&line.to_ascii_lowercase());
            head.push('\n');
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head}")))?;
        Ok(Self { reader, head, status })
    }

    /// The next block.
    ///
    /// # Errors
    /// If the stream ends, in whatever way, also within a block.
    pub async fn next(&mut self) -> io::Result<Block> {
        let mut block = Block::default();
        let mut is_empty = true;
        loop {
            let line = line(&mut self.reader).await?;
            if line.is_empty() {
                if is_empty {
                    continue;
                }
                return Ok(block);
            }
            is_empty = false;
            block.add(&line).map_err(io::Error::other)?;
        }
    }
}

/// A line without its end; an end of the stream within it is an error.
async fn line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(io::Error::other)
}
