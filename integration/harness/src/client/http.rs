//! HTTP requests as bytes, and a client that hides nothing of the answers.

use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::deadline::{DEADLINE, within};

/// A GET for the host `test`.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A GET that asks for the receipt.
pub fn get_json(target: &str) -> String {
    get_with(target, "Accept: application/json")
}

pub fn get_with(target: &str, header: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{header}\r\n\r\n")
}

/// A POST; `content_type` may be empty for none.
pub fn post(target: &str, content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let content_type = match content_type {
        "" => String::new(),
        value => format!("Content-Type: {value}\r\n"),
    };
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: test\r\n{content_type}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body, where it is JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Status and body, for one comparison.
    pub fn brief(&self) -> (u16, &str) {
        (self.status, &self.body)
    }

    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (header, value) = line.split_once(':')?;
            header.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// One connection to a server, on which requests are bytes.
pub struct HttpConnection {
    pub stream: TcpStream,
    buffer: BytesMut,
}

impl HttpConnection {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.expect("connects"))
    }

    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub async fn send(&mut self, request: impl AsRef<[u8]>) {
        let sent = self.stream.write_all(request.as_ref()).await;
        sent.expect("the publisher reads");
    }

    /// The next answer, for requests other than HEAD. Without a `Content-Length` it has no body.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let len = match answer.header("content-length") {
            Some(len) => len.parse().expect("a length"),
            None => 0,
        };
        let body = self.read_until(|read| (read.len() >= len).then_some(len));
        body.await.expect("a body");
        let body = self.buffer.split_to(len);
        answer.body = String::from_utf8(body.to_vec()).expect("a text");
        answer
    }

    /// The last answer. Without a `Content-Length`, its body goes up to the end of the connection. What
    /// follows a 101 is not HTTP any more, and is not awaited.
    pub async fn last_answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let len = answer.header("content-length").map(|len| len.parse().expect("a length"));
        if answer.status != 101 {
            // An answer counts even if a reset follows it.
            let _ = self.read_until(|read| len.filter(|len| read.len() >= *len)).await;
        }
        answer.body = String::from_utf8_lossy(&self.buffer.split()).into_owned();
        answer
    }

    async fn head(&mut self) -> Answer {
        let head_end = self.read_until(|read| {
            let found = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            found.map(|at| at + 4)
        });
        let head_end = head_end.await.expect("an answer");
        let head = self.buffer.split_to(head_end);
        let head = String::from_utf8(head.to_vec()).expect("a head");
        let status = head[9..12].parse().expect("a status");
        Answer { status, head, body: String::new() }
    }

    /// Reads exactly this many bytes, for a later [`answer`](Self::answer).
    pub async fn read_some(&mut self, bytes: usize) {
        let mut read = vec![0; bytes];
        let reading = timeout(DEADLINE, self.stream.read_exact(&mut read)).await;
        reading.expect("in time").expect("more");
        self.buffer.extend_from_slice(&read);
    }

    /// Everything up to the end of the connection, which may be a reset.
    pub async fn rest(&mut self) -> String {
        let _ = self.read_until(|_| None::<()>).await;
        String::from_utf8_lossy(&self.buffer.split()).into_owned()
    }

    async fn read_until<T>(&mut self, mut found: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = found(&self.buffer) {
                return Some(found);
            }
            let read = timeout(DEADLINE, self.stream.read_buf(&mut self.buffer)).await;
            match read.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// Sends bytes to a port, and reads the answer; see [`HttpConnection::last_answer`].
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let exchanged = async {
        let mut connection = HttpConnection::connect(address).await;
        connection.send(request).await;
        connection.last_answer().await
    };
    within("an answer", exchanged).await
}
