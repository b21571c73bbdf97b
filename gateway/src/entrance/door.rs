//! The front door of a worker: reads the head of each request, keeps the sockets of websockets and
//! event streams, and hands everything else to the page's `App`.

use std::cell::Cell;
use std::net::{self, IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use campanile_edge::pages::{self, Reader};
use campanile_edge::{Head, MAX_HEAD_BYTES, websocket};
use campanile_messages::{ConnectionId, WorkerId};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::config::GatewayConfig;
use crate::connection::line::Line;
use crate::connection::session::{Opening, Session};
use crate::connection::socket::{Ending, Socket, Waiting};
use crate::dialects::{Dialect, events};
use crate::entrance::health::Health;
use crate::entrance::page::Serve;
use crate::entrance::refusal::{COME_BACK_MILLIS, Refusal};
use crate::entrance::rewind::Rewind;
use crate::entrance::seats::Seat;
use crate::entrance::wish::{Accepted, Wish};
use crate::registry::Registry;
use crate::resume::Since;
use crate::websocket::{CloseCode, Incoming, Upgrade};

/// A client that is refused may take this long to read why.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

/// Most requests fit.
const FIRST_READ_BYTES: usize = 1024;

/// How often at most a worker logs that a client offered an unknown subprotocol.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// Lets connections in to one worker.
pub(crate) struct Door {
    config: Arc<GatewayConfig>,
    /// Unset until there has been a broker.
    worker: Arc<OnceLock<WorkerId>>,
    registry: Addr<Registry>,
    page: Serve,
    listens_on: IpAddr,
    health: Health,
    last_connection: Cell<u64>,
    /// When it was last logged that a client offered an unknown subprotocol.
    logged_subprotocol: Cell<Option<Instant>>,
}

impl Door {
    /// The door of a worker, from which sessions go to its registry and other requests to the page.
    pub fn new(
        config: Arc<GatewayConfig>,
        worker: Arc<OnceLock<WorkerId>>,
        registry: Addr<Registry>,
        page: Serve,
        listens_on: IpAddr,
        health: Health,
    ) -> Self {
        Self {
            config,
            worker,
            registry,
            page,
            listens_on,
            health,
            last_connection: Cell::new(0),
            logged_subprotocol: Cell::new(None),
        }
    }

    /// Serves a connection up to the point where its session has started, or to its end.
    ///
    /// In a storm most requests are there already when their connections are accepted. Those need no
    /// task, no timer and no wait for an event before their session starts.
    pub fn receive(self: &Rc<Self>, socket: net::TcpStream, peer: SocketAddr, seat: Seat) {
        let mut received = Vec::with_capacity(FIRST_READ_BYTES);
        match recv(&socket, spare_capacity(&mut received), RecvFlags::empty()) {
            Ok((0, _)) => return,
            Ok(_) | Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(_) => return,
        }
        let decide = || self.decide_at_once(&received, peer);
        // Not even a request that makes this panic may end the door for the others.
        let Ok(decided) = panic::catch_unwind(AssertUnwindSafe(decide)) else { return };
        let Ok(stream) = TcpStream::from_std(socket) else { return };
        match decided {
            Some((Decision::Open(opened), len_bytes)) => {
                received.drain(..len_bytes);
                self.open(stream, opened, received, seat);
            }
            decided => {
                let door = self.clone();
                actix_rt::spawn(async move {
                    door.admit(stream, peer, received, decided, seat).await;
                });
            }
        }
    }

    /// The decision, unless more of the head must come first.
    fn decide_at_once(&self, received: &[u8], peer: SocketAddr) -> Option<(Decision, usize)> {
        match Head::parse(received) {
            Ok(Some((head, len_bytes))) => Some((self.decide(&head, peer), len_bytes)),
            Ok(None) => None,
            Err(error) => Some((refused(peer, &error.into(), None), 0)),
        }
    }

    async fn admit(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        mut received: Vec<u8>,
        decided: Option<(Decision, usize)>,
        seat: Seat,
    ) {
        let decided = match decided {
            Some(decided) => Ok(Ok(Some(decided))),
            None => {
                let decide = |head: &Head<'_>, len_bytes| (self.decide(head, peer), len_bytes);
                let read = read_head(&mut stream, &mut received, decide);
                timeout(self.config.handshake_limit, read).await
            }
        };
        let (decision, len_bytes) = match decided {
            Ok(Ok(Some(decided))) => decided,
            Ok(Ok(None)) => return,
            Ok(Err(refusal)) => (refused(peer, &refusal, None), 0),
            Err(_) => (refused(peer, &Refusal::timeout(), None), 0),
        };
        match decision {
            Decision::Open(opened) => {
                received.drain(..len_bytes);
                self.open(stream, opened, received, seat);
            }
            Decision::Page => {
                (self.page)(Rewind::new(received.into(), stream), Some(peer)).await;
            }
            Decision::Refuse(last) => end(stream, last).await,
            Decision::RefuseByMessage(last) => {
                // The client has no longer than for any other refusal, whatever it still sends.
                let _ = timeout(REFUSAL_LIMIT, end(stream, last)).await;
            }
        }
    }

    /// Answers a client for which there is no room, in the way that makes it come back, and health
    /// checks as ever. While the gateway shuts down others get no answer: a proxy then tries another
    /// gateway, as it does for one that does not listen.
    pub async fn turn_away(&self, mut stream: TcpStream, peer: SocketAddr) {
        let mut received = Vec::new();
        let decide = |head: &Head<'_>, _| self.decide_without_room(head, peer);
        let read = read_head(&mut stream, &mut received, decide);
        let last = match timeout(REFUSAL_LIMIT, read).await {
            Ok(Ok(Some(last))) => last,
            _ if self.health.is_draining() => None,
            _ => Some(Refusal::full().response(None)),
        };
        if let Some(last) = last {
            end(stream, last).await;
        }
    }

    fn decide(&self, head: &Head<'_>, peer: SocketAddr) -> Decision {
        match self.check(head) {
            Ok(Admitted::Websocket(upgrade, wish)) => {
                self.log_subprotocol(&upgrade);
                let (response, dialect) = (upgrade.response(), upgrade.dialect);
                Decision::Open(Opened { response, dialect, wish })
            }
            Ok(Admitted::EventStream(wish)) => {
                let response = events::head(self.reader(head), events::retry_millis());
                Decision::Open(Opened { response, dialect: Dialect::Events, wish })
            }
            Ok(Admitted::Page) => Decision::Page,
            Err(refusal) => match refusal_by_message(head, &refusal) {
                Some(last) => {
                    debug!(%peer, status = refusal.status, code = refusal.code, "refused by message");
                    Decision::RefuseByMessage(last)
                }
                None => refused(peer, &refusal.to_method(head.method), self.reader(head)),
            },
        }
    }

    /// What a client is sent for which there is no room; `None` if it is to go without an answer.
    fn decide_without_room(&self, head: &Head<'_>, peer: SocketAddr) -> Option<Bytes> {
        let refusal = match self.answer_to_check(head) {
            Some(answer) => answer,
            None if self.health.is_draining() => return None,
            None if head.path == "/events" => come_back(),
            None => Refusal::full(),
        };
        debug!(%peer, status = refusal.status, "refused a request");
        Some(refusal.to_method(head.method).response(self.reader(head)))
    }

    fn check(&self, head: &Head<'_>) -> Result<Admitted, Refusal> {
        if let Some(answer) = self.answer_to_check(head) {
            return Err(answer);
        }
        let GatewayConfig { allow_hosts, allow_origins, .. } = &*self.config;
        let is_websocket = websocket::is_meant(head);
        let admitted = match head.path {
            "/" if is_websocket => {
                let upgrade = Upgrade::check(head)?;
                pages::check_host(head, allow_hosts, self.listens_on)?;
                pages::check_websocket(head, allow_origins, allow_hosts, self.listens_on)?;
                let wish = Wish::read(head.query, self.accepted(upgrade.dialect))?;
                if wish.since.is_some() && !upgrade.dialect.has_positions() {
                    return Err(Refusal::bad(
                        "parameters since and last: a websocket without a subprotocol has no \
                         positions and no history, open it with campanile.v1",
                    ));
                }
                Admitted::Websocket(upgrade, wish)
            }
            path => {
                pages::check_host(head, allow_hosts, self.listens_on)?;
                match path {
                    _ if is_websocket => return Err(no_websocket_here(path)),
                    "/events" => Admitted::EventStream(self.event_stream_wish(head)?),
                    _ => return Ok(Admitted::Page),
                }
            }
        };
        // Last: a request that is wrong anyway should hear that first.
        match self.hindrance() {
            None => Ok(admitted),
            Some(_) if matches!(admitted, Admitted::EventStream(_)) => Err(come_back()),
            Some(hindrance) => Err(hindrance),
        }
    }

    /// Why no newcomer is taken now, as it is said to a websocket; `None` if one is.
    fn hindrance(&self) -> Option<Refusal> {
        let has_broker = self.worker.get().is_some() && !self.health.is_cut_off();
        (!has_broker).then(Refusal::no_broker)
    }

    /// The answer to a health check, by whatever name and from whatever page it comes.
    fn answer_to_check(&self, head: &Head<'_>) -> Option<Refusal> {
        let hindrance = match (head.path, head.method) {
            ("/" | "*", "OPTIONS") => return Some(Refusal::options()),
            ("/health/live", _) => None,
            ("/health/ready", _) => self.health.condition().hindrance(),
            _ => return None,
        };
        Some(match head.method {
            "GET" | "HEAD" | "OPTIONS" => Refusal::health(hindrance),
            method => Refusal::health_method(method),
        })
    }

    /// The page that asks, if it may read.
    fn reader<'a>(&self, head: &'a Head<'_>) -> Option<Reader<'a>> {
        Reader::of(head, &self.config.allow_origins, self.listens_on)
    }

    fn accepted(&self, dialect: Dialect) -> Accepted<'_> {
        let GatewayConfig { max_groups, ignored_params, .. } = &*self.config;
        let last_event_id = dialect.rules().reads_last_event_id();
        Accepted { last_event_id, max_groups: *max_groups, ignored: ignored_params }
    }

    /// What the client of an event stream wants. A browser that comes back says in a header what it
    /// has seen, and still has the position in the URL with which it first came.
    fn event_stream_wish(&self, head: &Head<'_>) -> Result<Wish, Refusal> {
        match head.method {
            "GET" => {}
            "OPTIONS" => return Err(Refusal::preflight()),
            method => return Err(Refusal::method(method, "an event stream opens with GET")),
        }
        let mut wish = Wish::read(head.query, self.accepted(Dialect::Events))?;
        let mut last_ids = head.all("last-event-id").filter(|id| !id.is_empty());
        if let Some(last_id) = last_ids.next() {
            // Two that differ are no position.
            let is_one = last_ids.all(|other| other == last_id);
            wish.since = Some(if is_one { Since::read(last_id) } else { Since::Malformed });
        }
        Ok(wish)
    }

    /// A browser would fail the connection by itself, without a reason that a page could see.
    fn log_subprotocol(&self, upgrade: &Upgrade) {
        let Some(offered) = &upgrade.unknown_subprotocol else { return };
        let was_logged = self.logged_subprotocol.get();
        if was_logged.is_none_or(|logged| logged.elapsed() >= LOG_AGAIN) {
            self.logged_subprotocol.set(Some(Instant::now()));
            info!(
                ?offered,
                "a websocket offered an unknown subprotocol and got the plain dialect; a browser \
                 does not accept that (campanile.v1 is known, or none)"
            );
        }
    }

    fn open(&self, stream: TcpStream, opened: Opened, early: Vec<u8>, seat: Seat) {
        let Opened { response, dialect, wish } = opened;
        let GatewayConfig { max_outbox_bytes, client_limits, user_timeout, max_groups, .. } =
            *self.config;
        let socket = Socket::new(stream, max_outbox_bytes);
        socket.hold(response);
        let incoming = match dialect.rules().is_one_way() {
            true => Incoming::dropping(socket.clone(), user_timeout),
            false => Incoming::new(socket.clone(), client_limits, early, user_timeout),
        };
        let connection = ConnectionId(self.last_connection.get() + 1);
        self.last_connection.set(connection.0);
        let opening = Opening { wish, incoming };
        let registry = (self.registry.clone(), max_groups);
        Session::new(connection, Line { socket, dialect }, opening, registry, seat).start();
    }
}

/// How a connection goes on behind the head of its first request.
enum Decision {
    /// A session starts.
    Open(Opened),
    /// It belongs to the page.
    Page,
    /// It ends behind these bytes.
    Refuse(Bytes),
    /// The same, for a websocket that is opened only to say why it is refused.
    RefuseByMessage(Bytes),
}

/// A client that is let in.
struct Opened {
    /// Leaves together with the greeting.
    response: Bytes,
    dialect: Dialect,
    wish: Wish,
}

fn refused(peer: SocketAddr, refusal: &Refusal, reader: Option<Reader<'_>>) -> Decision {
    debug!(%peer, status = refusal.status, "refused a request");
    Decision::Refuse(refusal.response(reader))
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

fn no_websocket_here(path: &str) -> Refusal {
    let sentence = match path {
        "/events" => {
            "no websocket at /events: websockets are at /, event streams at /events without the \
             headers of an upgrade"
                .to_owned()
        }
        path => {
            let path: String = path.chars().take(100).collect();
            format!("no websocket at {path:?}: websockets are at /")
        }
    };
    Refusal::not_found(&sentence)
}

/// All that a client is sent that is refused for good, where its dialect can say why: a websocket that
/// opens only for that. A browser cannot see the status of a handshake, and would try again for ever.
fn refusal_by_message(head: &Head<'_>, refusal: &Refusal) -> Option<Bytes> {
    let may_be_said = refusal.is_final() && websocket::is_meant(head);
    let upgrade = may_be_said.then(|| Upgrade::check(head))?.ok()?;
    let message = upgrade.dialect.rules().refusal(refusal.code, refusal.sentence())?;
    let close = websocket::close(CloseCode::PolicyViolation.code(), refusal.sentence());
    Some([upgrade.response(), message, close].concat().into())
}

/// Reads until a head is complete, and returns what `take` makes of it and of its length in bytes;
/// `None` if the client is gone. What was read, and perhaps more than the head, is in `received`.
///
/// # Errors
/// The refusal of what is no head, or too large a one.
pub async fn read_head<T>(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    take: impl FnOnce(&Head<'_>, usize) -> T,
) -> Result<Option<T>, Refusal> {
    received.reserve(FIRST_READ_BYTES);
    // What was read before, if anything, is looked at together with what comes.
    let mut is_first = true;
    loop {
        let before = received.len();
        match stream.read_buf(received).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
        // A head that comes byte by byte is not to be parsed again for each.
        let may_be_news = std::mem::take(&mut is_first)
            || received[before..].contains(&b'\n')
            || received.len() >= MAX_HEAD_BYTES;
        if may_be_news && let Some((head, len_bytes)) = Head::parse(received)? {
            return Ok(Some(take(&head, len_bytes)));
        }
    }
}

/// Sends the last bytes, and sees the connection to its end.
pub async fn end(stream: TcpStream, last: Bytes) {
    let socket = Socket::new(stream, last.len());
    socket.close(last, Waiting::Flush);
    Ending::new(socket, REFUSAL_LIMIT).await;
}
