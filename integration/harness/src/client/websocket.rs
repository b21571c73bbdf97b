//! A websocket client that shares no code with the gateway.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::query::encode;
use crate::deadline::within;

/// What a client receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Binary(Vec<u8>),
    /// The close code and its reason; 1005 for a close without one.
    Closed(u16, String),
    /// The connection ended without a close frame.
    Lost,
}

/// One client, after its greeting.
pub struct Websocket {
    stream: WebSocketStream<TcpStream>,
    /// Where it is: the worker's id.
    pub worker: u64,
    /// Where it is: the connection's id.
    pub connection: u64,
    /// From `welcome`; empty in plain mode.
    pub position: String,
    /// The first frame.
    pub greeting: Frame,
}

impl Websocket {
    /// Connects without a subprotocol.
    pub async fn plain(gateway: SocketAddr, groups: &[&str]) -> Self {
        Self::open(connect(gateway, None).await, groups, None).await.greeted().await
    }

    /// Connects and speaks `campanile.v1`.
    pub async fn v1(gateway: SocketAddr, groups: &[&str]) -> Self {
        let stream = connect(gateway, None).await;
        Self::open(stream, groups, Some("campanile.v1")).await.greeted().await
    }

    /// Connects without a subprotocol, with a small receive buffer.
    pub async fn with_small_buffer(gateway: SocketAddr, groups: &[&str]) -> Self {
        Self::open(connect(gateway, Some(4096)).await, groups, None).await.greeted().await
    }

    /// Opens a websocket and does not wait for its greeting.
    pub async fn open(stream: TcpStream, groups: &[&str], subprotocol: Option<&str>) -> Self {
        Self::open_with(stream, &query(groups), subprotocol).await
    }

    /// The same with a query that is not encoded. It begins with `?` or is empty.
    pub async fn open_with(stream: TcpStream, query: &str, subprotocol: Option<&str>) -> Self {
        let target = format!("/{query}");
        let opened = open(stream, &target, subprotocol);
        let stream = within("the handshake", opened).await.expect("a websocket");
        let greeting = Frame::Lost;
        Self { stream, worker: 0, connection: 0, position: String::new(), greeting }
    }

    /// Waits for the greeting, or `welcome`, and keeps what it says.
    pub async fn greeted(mut self) -> Self {
        let text = self.text().await;
        if text.starts_with('{') {
            let welcome: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(welcome["type"], "welcome", "{welcome}");
            self.worker = welcome["worker"].as_u64().expect("a number");
            self.connection = welcome["connection"].as_u64().expect("a number");
            self.position = welcome["position"].as_str().expect("a text").to_owned();
        } else {
            (self.worker, self.connection) = parse_greeting(&text);
        }
        self.greeting = Frame::Text(text);
        self
    }

    /// The next frame that is not a ping or pong.
    pub async fn next(&mut self) -> Frame {
        within("the next frame of a client", self.next_patiently()).await
    }

    /// The next frame, without a deadline.
    pub async fn next_patiently(&mut self) -> Frame {
        loop {
            return match self.stream.next().await {
                Some(Ok(Message::Text(text))) => Frame::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(Some(close)))) => {
                    Frame::Closed(close.code.into(), close.reason.as_str().to_owned())
                }
                Some(Ok(Message::Close(None))) => Frame::Closed(1005, String::new()),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Frame::Lost,
            };
        }
    }

    /// The next frame, which must be text.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Frame::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }

    /// The next frame, which must be JSON.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Texts up to and without `last`. A last event shows that nothing else came before it.
    pub async fn texts_until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let text = self.text().await;
            if text == last {
                return texts;
            }
            texts.push(text);
        }
    }

    /// As [`texts_until`](Self::texts_until), for a client that speaks `campanile.v1`.
    pub async fn contents_until(&mut self, last: &str) -> Vec<String> {
        let mut contents = Vec::new();
        loop {
            let event = self.json().await;
            if event["type"] == "gap" || event["type"] == "position" {
                continue;
            }
            let content = event["content"].as_str().unwrap_or_else(|| panic!("no event: {event}"));
            if content == last {
                return contents;
            }
            contents.push(content.to_owned());
        }
    }

    /// Reads up to the end of the connection, and closes this side too. Returns how many frames came, and
    /// the close code.
    pub async fn closed(mut self) -> (usize, u16) {
        let mut frames = 0;
        loop {
            match self.next().await {
                Frame::Closed(code, _) => {
                    // The answer to a close is sent only while somebody reads.
                    while self.next().await != Frame::Lost {}
                    return (frames, code);
                }
                Frame::Lost => panic!("the connection was lost after {frames} frames"),
                _ => frames += 1,
            }
        }
    }

    /// Sends text.
    pub async fn say(&mut self, text: &str) {
        within("say", self.stream.send(Message::text(text))).await.expect("an open websocket");
    }

    /// Sends binary data.
    pub async fn say_binary(&mut self, bytes: &[u8]) {
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        within("say", self.stream.send(message)).await.expect("an open websocket");
    }

    /// Writes bytes that need not be a frame.
    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        let written = self.stream.get_mut().write_all(bytes);
        within("say", written).await.expect("an open connection");
    }

    /// Reads bytes up to the end, without reading frames and so without answering any.
    pub async fn bytes_until_closed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.stream.get_mut().read_to_end(&mut bytes);
        within("the end of the connection", read).await.expect("no reset");
        bytes
    }

    /// Joins a group and waits for the confirmation.
    pub async fn join(&mut self, group: &str) {
        self.say(&serde_json::json!({ "type": "join", "group": group }).to_string()).await;
        assert_eq!(self.json().await, serde_json::json!({ "type": "joined", "group": group }));
    }

    /// Joins a group while events come; returns those that came before the confirmation.
    pub async fn join_among_events(&mut self, group: &str) -> Vec<String> {
        self.say(&serde_json::json!({ "type": "join", "group": group }).to_string()).await;
        let mut contents = Vec::new();
        loop {
            let said = self.json().await;
            if said["type"] == "joined" {
                return contents;
            }
            if said["type"] != "gap" && said["type"] != "position" {
                contents.push(said["content"].as_str().expect("an event").to_owned());
            }
        }
    }

    /// Leaves a group and waits for the confirmation.
    pub async fn leave(&mut self, group: &str) {
        self.say(&serde_json::json!({ "type": "leave", "group": group }).to_string()).await;
        assert_eq!(self.json().await, serde_json::json!({ "type": "left", "group": group }));
    }

    /// Closes properly: sends a close frame and reads the answer.
    pub async fn leave_for_good(mut self) {
        let _ = self.stream.close(None).await;
        while !matches!(self.next().await, Frame::Closed(..) | Frame::Lost) {}
    }

    /// The parameters of a push to this client alone.
    pub fn address(&self) -> [(&'static str, String); 2] {
        [
            ("to_worker_id", self.worker.to_string()),
            ("to_connection_id", self.connection.to_string()),
        ]
    }
}

/// Opens a websocket with small buffers, so that unread frames stay in the kernel.
///
/// # Errors
/// If it is refused, or the connection ends.
pub async fn open(
    stream: TcpStream,
    target: &str,
    subprotocol: Option<&str>,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let address = stream.peer_addr()?;
    let mut request = http::Request::get(format!("ws://{address}{target}"))
        .header("Host", address.to_string())
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "13");
    if let Some(subprotocol) = subprotocol {
        request = request.header("Sec-WebSocket-Protocol", subprotocol);
    }
    let request = request.body(()).expect("a request");
    let config = WebSocketConfig::default().read_buffer_size(2048).write_buffer_size(0);
    let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(stream)
}

/// A well-formed opening handshake, for tests that write to the socket themselves.
pub fn handshake(path_and_query: &str) -> String {
    format!(
        "GET {path_and_query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Connects, with a receive buffer of about this many bytes.
pub async fn connect(gateway: SocketAddr, receive_bytes: Option<u32>) -> TcpStream {
    let socket = if gateway.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
        .expect("a socket");
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes).expect("a small buffer");
    }
    within("connect", socket.connect(gateway)).await.expect("a gateway")
}

fn query(groups: &[&str]) -> String {
    match groups {
        [] => String::new(),
        groups => format!("?{}", encode(groups.iter().map(|group| ("group", *group)))),
    }
}

/// The worker and the connection of `workerID:{w} connectionID:{c} connected\n`, which must match exactly.
fn parse_greeting(greeting: &str) -> (u64, u64) {
    let ids = greeting
        .strip_prefix("workerID:")
        .and_then(|rest| rest.strip_suffix(" connected\n"))
        .and_then(|rest| rest.split_once(" connectionID:"))
        .unwrap_or_else(|| panic!("no greeting: {greeting:?}"));
    let number = |text: &str| {
        let number = text.parse().unwrap_or_else(|_| panic!("no greeting: {greeting:?}"));
        assert_eq!(format!("{number}"), text, "no greeting: {greeting:?}");
        number
    };
    (number(ids.0), number(ids.1))
}
