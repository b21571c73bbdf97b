//! A client that can resume, by any protocol.

use std::net::SocketAddr;

use campanile_messages::Position;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::block::Block;
use super::event_stream::EventStream;
use super::heard::{Ended, Heard, Hello, Protocol};
use super::query::encode;
use super::saying::{self, Saying};
use super::websocket;
use crate::deadline::within;

/// An open connection.
pub struct Feed(Stream);

enum Stream {
    V1(Box<WebSocketStream<TcpStream>>),
    Events { stream: EventStream, is_greeted: bool },
}

impl Feed {
    /// Connects. The first that comes is the hello, which is not awaited.
    ///
    /// # Errors
    /// Why there is no connection; [`Ended`] says it.
    pub async fn open(
        gateway: SocketAddr,
        protocol: Protocol,
        groups: &[impl AsRef<str>],
        since: Option<&str>,
    ) -> Result<Self, Ended> {
        let stream = TcpStream::connect(gateway).await.map_err(|_| Ended::Lost)?;
        Self::open_on(stream, protocol, groups, since).await
    }

    /// As [`open`](Self::open), on a connection that is open already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_on(
        stream: TcpStream,
        protocol: Protocol,
        groups: &[impl AsRef<str>],
        since: Option<&str>,
    ) -> Result<Self, Ended> {
        let in_header = since.filter(|_| protocol == Protocol::EventsByHeader);
        let in_url = since.filter(|_| in_header.is_none());
        let groups = groups.iter().map(|group| ("group", group.as_ref()));
        let query = encode(groups.chain(in_url.map(|since| ("since", since))));
        let query = if query.is_empty() { query } else { format!("?{query}") };
        if protocol == Protocol::V1 {
            return match websocket::open(stream, &format!("/{query}"), Some("campanile.v1")).await {
                Ok(stream) => Ok(Self(Stream::V1(Box::new(stream)))),
                Err(Error::Http(response)) => Err(Ended::Status(response.status().as_u16())),
                Err(_) => Err(Ended::Lost),
            };
        }
        let stream = EventStream::open(stream, &query, in_header).await;
        let stream = stream.map_err(|_| Ended::Lost)?;
        match stream.status {
            200 => Ok(Self(Stream::Events { stream, is_greeted: false })),
            status => Err(Ended::Status(status)),
        }
    }

    /// The next message, without a deadline.
    pub async fn next_patiently(&mut self) -> Heard {
        match &mut self.0 {
            Stream::V1(stream) => next_v1(stream).await,
            Stream::Events { stream, is_greeted } => next_event(stream, is_greeted).await,
        }
    }

    /// The next message.
    pub async fn next(&mut self) -> Heard {
        within("the next that a client hears", self.next_patiently()).await
    }

    /// The hello, which is next.
    pub async fn hello(&mut self) -> Hello {
        match self.next().await {
            Heard::Hello(hello) => hello,
            other => panic!("no hello: {other:?}"),
        }
    }

    /// The hello, which is next, without a deadline.
    pub async fn patient_hello(&mut self) -> Hello {
        match self.next_patiently().await {
            Heard::Hello(hello) => hello,
            other => panic!("no hello: {other:?}"),
        }
    }

    /// The next message that is not a mark.
    pub async fn next_but_marks(&mut self) -> Heard {
        loop {
            match self.next().await {
                Heard::Mark(_) => {}
                other => return other,
            }
        }
    }

    /// The position and the content of the next event, before which only marks may come.
    pub async fn event(&mut self) -> (Position, String) {
        match self.next_but_marks().await {
            Heard::Event { id: Some(id), content, .. } => {
                (id.parse().expect("a position"), content)
            }
            other => panic!("no event with a position: {other:?}"),
        }
    }

    /// The contents of the next events, up to and without `last`.
    pub async fn contents_until(&mut self, last: &str) -> Vec<String> {
        let mut contents = Vec::new();
        loop {
            let (_, content) = self.event().await;
            if content == last {
                return contents;
            }
            contents.push(content);
        }
    }

    /// Sends a message; only a websocket can.
    pub async fn say(&mut self, message: &serde_json::Value) {
        let Stream::V1(stream) = &mut self.0 else { panic!("an event stream cannot say anything") };
        let said = stream.send(Message::text(message.to_string()));
        within("say", said).await.expect("an open websocket");
    }

    /// Asks to join a group, and for what was missed there since a position. Does not wait for the
    /// answer.
    pub async fn join(&mut self, group: &str, since: Option<&str>) {
        match since {
            None => self.say(&json!({ "type": "join", "group": group })).await,
            Some(since) => {
                self.say(&json!({ "type": "join", "group": group, "since": since })).await;
            }
        }
    }
}

async fn next_v1(stream: &mut WebSocketStream<TcpStream>) -> Heard {
    loop {
        return match stream.next().await {
            Some(Ok(Message::Text(text))) => Saying::read(&text).map_or_else(
                || Heard::Other(text.as_str().to_owned()),
                |saying| saying.heard(&text),
            ),
            Some(Ok(Message::Close(close))) => {
                let code = close.map_or(1005, |close| close.code.into());
                // The answer to a close is sent only while somebody reads.
                while let Some(Ok(_)) = stream.next().await {}
                Heard::Ended(Ended::Closed(code))
            }
            Some(Ok(Message::Binary(bytes))) => Heard::Other(format!("binary: {bytes:?}")),
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => Heard::Ended(Ended::Lost),
        };
    }
}

async fn next_event(stream: &mut EventStream, is_greeted: &mut bool) -> Heard {
    loop {
        let Ok(block) = stream.next().await else {
            return Heard::Ended(if *is_greeted { Ended::Lost } else { Ended::ComeBack });
        };
        let Block { event, id, data, .. } = block.clone();
        return match (event.as_deref(), id, data) {
            (None, id @ Some(_), Some(content)) => Heard::Event { id, to: None, content },
            (None, Some(id), None) => Heard::Mark(id),
            (None, None, None) => continue,
            (Some(event @ ("sync" | "gap")), id, Some(data)) => {
                *is_greeted = true;
                let heard = saying::of_block(event, id.as_deref(), &data);
                heard.unwrap_or_else(|| Heard::Other(format!("{block:?}")))
            }
            _ => Heard::Other(format!("{block:?}")),
        };
    }
}
