//! What a gateway says to one client that can resume, the same for both protocols.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use campanile_messages::Position;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, http};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::event_stream::{Block, EventStream};
use super::http::encode;
use super::saying::{self, Saying};
use super::within;

/// How a client listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A websocket of `campanile.v1`.
    V1,
    /// Server-sent events, and the position in the URL.
    Events,
    /// Server-sent events, and the position in the header `Last-Event-ID`.
    EventsByHeader,
}

/// One thing that is said to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// `welcome` or `sync`.
    Hello(Hello),
    /// An event. `to` is what the protocol says about it: everyone, a group, or this connection.
    Event { id: Option<String>, to: Option<To>, content: String },
    /// A position that a quiet client continues from.
    Mark(String),
    /// Events were lost.
    Gap { reason: String, position: String },
    /// A group was joined.
    Joined { group: String, recovery: Recovery },
    /// Another answer, or something that is no message of the protocol.
    Other(String),
    /// The last: how the connection ended.
    Ended(Ended),
}

/// Where a connection is and goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub worker: u64,
    pub connection: u64,
    pub position: String,
    pub recovery: Recovery,
}

/// What became of a wish to resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    NotAsked,
    Recovered,
    /// And the reason.
    NotRecovered(String),
}

/// An event's audience as `campanile.v1` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    Everyone,
    Group(String),
    Connection,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this close code.
    Closed(u16),
    /// A request that was answered with this status.
    Status(u16),
    /// An event stream that told no more than when to come back.
    ComeBack,
    /// Without a word, which is how every event stream ends.
    Lost,
    /// The client waited for too long.
    Silent,
    /// The client had enough.
    HungUp,
}

/// An open connection.
pub struct Feed(Stream);

enum Stream {
    V1(Box<WebSocketStream<TcpStream>>),
    Events { stream: EventStream, is_greeted: bool },
}

impl Feed {
    /// Connects. What comes first is the hello, which is not waited for.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(
        gateway: SocketAddr,
        protocol: Protocol,
        groups: &[impl AsRef<str>],
        since: Option<&str>,
    ) -> Result<Self, Ended> {
        let stream = TcpStream::connect(gateway).await.map_err(|_| Ended::Lost)?;
        Self::open_on(stream, protocol, groups, since).await
    }

    /// As [`open`](Self::open), on a connection that is there.
    ///
    /// # Errors
    /// Why there is none any more.
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
            return open_v1(stream, &query).await;
        }
        let stream = EventStream::open(stream, &query, in_header).await;
        let stream = stream.map_err(|_| Ended::Lost)?;
        match stream.status {
            200 => Ok(Self(Stream::Events { stream, is_greeted: false })),
            status => Err(Ended::Status(status)),
        }
    }

    /// The next thing that is said, without a deadline.
    pub async fn next_patiently(&mut self) -> Heard {
        match &mut self.0 {
            Stream::V1(stream) => next_v1(stream).await,
            Stream::Events { stream, is_greeted } => next_event(stream, is_greeted).await,
        }
    }

    /// The next thing that is said.
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

    /// The next thing but marks.
    pub async fn next_but_marks(&mut self) -> Heard {
        loop {
            match self.next().await {
                Heard::Mark(_) => {}
                other => return other,
            }
        }
    }

    /// The position and the content of the next event, which is the next thing but marks.
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

    /// Says something; only a websocket can.
    pub async fn say(&mut self, message: &serde_json::Value) {
        let Stream::V1(stream) = &mut self.0 else { panic!("an event stream cannot say anything") };
        let said = stream.send(Message::text(message.to_string()));
        within("say", said).await.expect("an open websocket");
    }

    /// Asks to join a group, and for what it missed there since a position. The answer is not
    /// waited for.
    pub async fn join(&mut self, group: &str, since: Option<&str>) {
        match since {
            None => self.say(&json!({ "type": "join", "group": group })).await,
            Some(since) => {
                self.say(&json!({ "type": "join", "group": group, "since": since })).await;
            }
        }
    }
}

async fn open_v1(stream: TcpStream, query: &str) -> Result<Feed, Ended> {
    let address = stream.peer_addr().map_err(|_| Ended::Lost)?;
    let request = http::Request::get(format!("ws://{address}/{query}"))
        .header("Host", address.to_string())
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Protocol", "campanile.v1")
        .body(())
        .expect("a request");
    let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(0);
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((stream, _)) => Ok(Feed(Stream::V1(Box::new(stream)))),
        Err(Error::Http(response)) => Err(Ended::Status(response.status().as_u16())),
        Err(_) => Err(Ended::Lost),
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
                // Reading on is what sends the answer to a close.
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

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::Events => "events",
            Self::EventsByHeader => "events by header",
        })
    }
}

impl Hello {
    /// The position, taken apart.
    pub fn at(&self) -> Position {
        Position::from_str(&self.position).expect("a position")
    }
}
