//! A caller at the other end of a publish stream.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{DEADLINE, Publisher};

pub struct Stream {
    socket: WebSocketStream<TcpStream>,
    is_json: bool,
}

impl Stream {
    pub async fn open(publisher: &Publisher, subprotocol: Option<&'static str>) -> Self {
        Self::open_with(publisher, "/stream", subprotocol, None).await
    }

    /// Opens a stream with more in its handshake.
    pub async fn open_with(
        publisher: &Publisher,
        target: &str,
        subprotocol: Option<&'static str>,
        authorization: Option<&str>,
    ) -> Self {
        let mut request =
            format!("ws://{}{target}", publisher.addr).into_client_request().expect("a request");
        if let Some(value) = authorization {
            let value = value.parse().expect("a value");
            request.headers_mut().insert("Authorization", value);
        }
        if let Some(name) = subprotocol {
            let value = name.parse().expect("a value");
            request.headers_mut().insert("Sec-WebSocket-Protocol", value);
        }
        let tcp = TcpStream::connect(publisher.addr).await.expect("connects");
        let (socket, _) = client_async(request, tcp).await.expect("a handshake");
        Self { socket, is_json: subprotocol.is_none_or(|name| name.ends_with("json")) }
    }

    pub async fn send(&mut self, item: &Value) {
        self.send_raw(match self.is_json {
            true => Message::text(item.to_string()),
            false => Message::binary(rmp_serde::to_vec(item).expect("MessagePack")),
        })
        .await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("the publisher reads");
    }

    /// Sends a text, however long the publisher does not read. Returns whether the connection is alive.
    pub async fn try_send(&mut self, text: &str) -> bool {
        let sent = self.socket.send(Message::text(text.to_owned()));
        timeout(DEADLINE, sent).await.is_ok_and(|sent| sent.is_ok())
    }

    /// Bytes as they are, which need not be a frame.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).await.expect("the publisher reads");
    }

    /// All that was sent before has been read when this returns.
    pub async fn ping_pong(&mut self) {
        self.send_raw(Message::Ping(b"?".to_vec().into())).await;
        while self.next().await != Some(Message::Pong(b"?".to_vec().into())) {}
    }

    /// The next message; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Message> {
        match timeout(DEADLINE, self.socket.next()).await.expect("in time") {
            Some(Ok(message)) => Some(message),
            None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_))) => None,
            Some(Err(error)) => panic!("{error}"),
        }
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) if self.is_json => {
                    return serde_json::from_str(&text).expect("JSON");
                }
                Some(Message::Binary(bytes)) if !self.is_json => {
                    return rmp_serde::from_slice(&bytes).expect("MessagePack");
                }
                Some(Message::Ping(_)) => {}
                other => panic!("no answer: {other:?}"),
            }
        }
    }

    /// The code with which the publisher closes.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.next().await? {
                Message::Close(frame) => return frame.map(|frame| frame.code.into()),
                Message::Ping(_) => {}
                other => panic!("no close: {other:?}"),
            }
        }
    }
}
