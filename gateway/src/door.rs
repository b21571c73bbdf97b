//! The front door of a worker: reads the head of each request, keeps the sockets of websockets, and
//! hands everything else to the page's `App`.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use campanile_messages::{ConnectionId, WorkerId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::config::GatewayConfig;
use crate::head::Head;
use crate::page::Serve;
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::rewind::Rewind;
use crate::seats::Seat;
use crate::session::{Opening, Session};
use crate::socket::{Ending, Socket, Waiting};
use crate::websocket::handshake::{self, Upgrade};
use crate::websocket::{CloseCode, Incoming, encode};

/// A client that is refused may take this long to read why.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

/// Lets connections in to one worker.
pub struct Door {
    config: Arc<GatewayConfig>,
    /// Unset until there has been a broker.
    worker: Arc<OnceLock<WorkerId>>,
    registry: Addr<Registry>,
    page: Serve,
    last_connection: Cell<u64>,
}

impl Door {
    /// The door of a worker, from which sessions go to its registry and other requests to the page.
    pub fn new(
        config: Arc<GatewayConfig>,
        worker: Arc<OnceLock<WorkerId>>,
        registry: Addr<Registry>,
        page: Serve,
    ) -> Self {
        Self { config, worker, registry, page, last_connection: Cell::new(0) }
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
            Err(refusal) => return refuse(stream, peer, &refusal).await,
        };
        if head.path != "/" || !handshake::is_meant(&head) {
            return (self.page)(Rewind::new(received.into(), stream), Some(peer)).await;
        }
        match self.check(&head) {
            Ok((upgrade, groups)) => {
                received.drain(..len);
                self.open(stream, &upgrade, groups, received, seat);
            }
            Err(refusal) => refuse(stream, peer, &refusal).await,
        }
    }

    fn check(&self, head: &Head) -> Result<(Upgrade, Groups), Refusal> {
        let upgrade = Upgrade::check(head)?;
        let groups = handshake::groups(&head.query, self.config.max_groups)?;
        // Last: a request that is wrong anyway should hear that first.
        self.worker.get().ok_or_else(Refusal::no_broker)?;
        Ok((upgrade, groups))
    }

    fn open(
        &self,
        stream: TcpStream,
        upgrade: &Upgrade,
        groups: Groups,
        early: Vec<u8>,
        seat: Seat,
    ) {
        let GatewayConfig { max_outbox_bytes, client_limits, user_timeout, max_groups, .. } =
            *self.config;
        let socket = Socket::new(stream, max_outbox_bytes);
        if socket.send_now(&upgrade.response()).is_err() {
            socket.close(encode::close(CloseCode::TooSlow), Waiting::Drop);
        }
        let incoming = Incoming::new(socket.clone(), client_limits, early, user_timeout);
        let connection = ConnectionId(self.last_connection.get() + 1);
        self.last_connection.set(connection.0);
        let opening = Opening { groups, incoming };
        let registry = (self.registry.clone(), max_groups);
        Session::new(connection, socket, upgrade.protocol, opening, registry, seat).start();
    }
}

type Groups = Vec<campanile_messages::GroupName>;

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

/// Answers a refusal and sees the connection to its end.
pub async fn refuse(stream: TcpStream, peer: SocketAddr, refusal: &Refusal) {
    debug!(%peer, status = refusal.status, "refused a request");
    let response: Bytes = refusal.response();
    let socket = Socket::new(stream, response.len());
    socket.close(response, Waiting::Flush);
    Ending::new(socket, REFUSAL_LIMIT).await;
}
