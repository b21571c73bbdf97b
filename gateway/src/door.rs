//! The front door of a worker: reads the head of each request, keeps the sockets of websockets and
//! event streams, and hands everything else to the page's `App`.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use campanile_messages::{ConnectionId, WorkerId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::client;
use crate::config::GatewayConfig;
use crate::event_stream;
use crate::head::Head;
use crate::page::Serve;
use crate::protocol::Protocol;
use crate::refusal::{COME_BACK_MILLIS, Refusal};
use crate::registry::Registry;
use crate::rewind::Rewind;
use crate::seats::Seat;
use crate::session::{Opening, Session};
use crate::socket::{Ending, Socket, Waiting};
use crate::subscriptions::Since;
use crate::websocket::Incoming;
use crate::websocket::handshake::{self, Upgrade};
use crate::wish::Wish;

/// A client that is refused may take this long to read why.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

/// Lets connections in to one worker.
pub struct Door {
    config: Arc<GatewayConfig>,
    /// Unset until there has been a broker.
    worker: Arc<OnceLock<WorkerId>>,
    registry: Addr<Registry>,
    page: Serve,
    listens_on: IpAddr,
    /// The gateway has had no link for too long.
    is_cut_off: Arc<AtomicBool>,
    last_connection: Cell<u64>,
}

impl Door {
    /// The door of a worker, from which sessions go to its registry and other requests to the page.
    pub fn new(
        config: Arc<GatewayConfig>,
        worker: Arc<OnceLock<WorkerId>>,
        registry: Addr<Registry>,
        page: Serve,
        listens_on: IpAddr,
        is_cut_off: Arc<AtomicBool>,
    ) -> Self {
        let last_connection = Cell::new(0);
        Self { config, worker, registry, page, listens_on, is_cut_off, last_connection }
    }

    /// Serves a connection up to the point where its session has started, or to its end.
    pub async fn admit(&self, mut stream: TcpStream, peer: SocketAddr, seat: Seat) {
        let mut received = Vec::new();
        let head = match timeout(self.config.handshake_limit, read_head(&mut stream, &mut received))
            .await
        {
            Ok(Ok(Some(head))) => Ok(head),
            Ok(Ok(None)) => return,
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::timeout()),
        };
        let (head, len) = match head {
            Ok(read) => read,
            Err(refusal) => return refuse(stream, peer, &refusal, None).await,
        };
        match self.check(&head) {
            Ok(Admitted::Websocket(upgrade, wish)) => {
                received.drain(..len);
                let (response, protocol) = (upgrade.response(), upgrade.protocol);
                self.open(stream, response, protocol, wish, received, seat);
            }
            Ok(Admitted::EventStream(wish)) => {
                let response = event_stream::head(self.origin(&head), client::retry_millis());
                self.open(stream, response, Protocol::Events, wish, Vec::new(), seat);
            }
            Ok(Admitted::Page) => {
                (self.page)(Rewind::new(received.into(), stream), Some(peer)).await;
            }
            Err(refusal) => refuse(stream, peer, &refusal, self.origin(&head)).await,
        }
    }

    /// Tells a client for which there is no room, in the way that makes it come back.
    pub async fn turn_away(&self, mut stream: TcpStream, peer: SocketAddr) {
        let mut received = Vec::new();
        match timeout(REFUSAL_LIMIT, read_head(&mut stream, &mut received)).await {
            Ok(Ok(Some((head, _)))) if head.path == "/events" => {
                refuse(stream, peer, &come_back(), self.origin(&head)).await;
            }
            _ => refuse(stream, peer, &Refusal::full(), None).await,
        }
    }

    fn check(&self, head: &Head) -> Result<Admitted, Refusal> {
        let max_groups = self.config.max_groups;
        let admitted = match &*head.path {
            "/" if handshake::is_meant(head) => {
                let (upgrade, wish) = (Upgrade::check(head)?, Wish::read(&head.query, max_groups)?);
                if wish.since.is_some() && upgrade.protocol == Protocol::Plain {
                    return Err(Refusal::bad(
                        "parameters since and last: a websocket without a subprotocol has no \
                         positions and no history, open it with campanile.v1",
                    ));
                }
                Admitted::Websocket(upgrade, wish)
            }
            "/events" if !handshake::is_meant(head) => {
                Admitted::EventStream(event_stream_wish(head, max_groups)?)
            }
            _ => return Ok(Admitted::Page),
        };
        // Last: a request that is wrong anyway should hear that first.
        let has_broker = self.worker.get().is_some() && !self.is_cut_off.load(Ordering::Relaxed);
        match &admitted {
            _ if has_broker => Ok(admitted),
            Admitted::EventStream(_) => Err(come_back()),
            _ => Err(Refusal::no_broker()),
        }
    }

    /// The page that asks, if it may read.
    fn origin<'a>(&self, head: &'a Head) -> Option<&'a str> {
        self.config.allow_origins.allowed(head.one("origin")?, self.listens_on)
    }

    fn open(
        &self,
        stream: TcpStream,
        response: Bytes,
        protocol: Protocol,
        wish: Wish,
        early: Vec<u8>,
        seat: Seat,
    ) {
        let GatewayConfig { max_outbox_bytes, client_limits, user_timeout, max_groups, .. } =
            *self.config;
        let socket = Socket::new(stream, max_outbox_bytes);
        // It leaves together with the greeting.
        socket.hold(response);
        let incoming = match protocol {
            Protocol::Events => Incoming::dropping(socket.clone(), user_timeout),
            _ => Incoming::new(socket.clone(), client_limits, early, user_timeout),
        };
        let connection = ConnectionId(self.last_connection.get() + 1);
        self.last_connection.set(connection.0);
        let opening = Opening { wish, incoming };
        let registry = (self.registry.clone(), max_groups);
        Session::new(connection, socket, protocol, opening, registry, seat).start();
    }
}

/// What a request may have.
enum Admitted {
    Websocket(Upgrade, Wish),
    EventStream(Wish),
    Page,
}

fn come_back() -> Refusal {
    Refusal::come_back(rand::random_range(COME_BACK_MILLIS))
}

/// What the client of an event stream wants. A browser that comes back says in a header what it has
/// seen, and still has the position in the URL with which it first came.
fn event_stream_wish(head: &Head, max_groups: usize) -> Result<Wish, Refusal> {
    match &*head.method {
        "GET" => {}
        "OPTIONS" => return Err(Refusal::preflight()),
        method => return Err(Refusal::method(method, "an event stream opens with GET")),
    }
    let mut wish = Wish::read(&head.query, max_groups)?;
    if let Some(last_id) = head.one("last-event-id").filter(|id| !id.is_empty()) {
        wish.since = Some(Since::read(last_id));
    }
    Ok(wish)
}

/// Reads until a head is complete and answers it with its length; `None` if the client is gone.
/// What was read, and perhaps more than the head, is in `received`.
///
/// # Errors
/// What is no head, or too large a one.
pub async fn read_head(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
) -> Result<Option<(Head, usize)>, Refusal> {
    received.reserve(1024);
    loop {
        match stream.read_buf(received).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        if let Some(read) = Head::parse(received)? {
            return Ok(Some(read));
        }
    }
}

/// Answers a refusal and sees the connection to its end. `allow_origin` is the page that may read
/// it.
pub async fn refuse(
    stream: TcpStream,
    peer: SocketAddr,
    refusal: &Refusal,
    allow_origin: Option<&str>,
) {
    debug!(%peer, status = refusal.status, "refused a request");
    let response: Bytes = refusal.response(allow_origin);
    let socket = Socket::new(stream, response.len());
    socket.close(response, Waiting::Flush);
    Ending::new(socket, REFUSAL_LIMIT).await;
}
