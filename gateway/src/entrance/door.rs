//! The front door of a worker: reads the head of each request, keeps the sockets of websockets and
//! event streams, and hands every other request to the page's `App`.

mod decision;
mod identifying;
mod opening;
mod proxied;
mod refusing;
mod secure;
mod wishes;

use std::cell::Cell;
use std::net::{self, IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix::prelude::*;
use campanile_channel::tls::{Handshakes, Stream};
use campanile_edge::pages::{self, Reader};
use campanile_edge::{Action, Head, websocket};
use campanile_messages::WorkerId;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use self::decision::{Admitted, Decision, Opened, come_back, patient};
use self::refusing::{log, refusal_by_message};
use crate::access::Rejection;
use crate::config::GatewayConfig;
use crate::connection::session::WorkerHandle;
use crate::dialects::{Dialect, events};
use crate::entrance::admission::Admissions;
use crate::entrance::ends::{FIRST_READ_BYTES, REFUSAL_LIMIT, end, read_head};
use crate::entrance::health::Health;
use crate::entrance::identity;
use crate::entrance::page::{self, Serve};
use crate::entrance::refusal::Refusal;
use crate::entrance::rewind::Rewind;
use crate::entrance::seats::Seat;
use crate::entrance::unauthenticated::Unauthenticated;
use crate::entrance::wish::Wish;
use crate::meters::Limit;
use crate::registry::Registry;
use crate::websocket::{Terms, Upgrade};

/// Lets connections in to one worker, or refuses them.
pub(crate) struct Door {
    config: Arc<GatewayConfig>,
    /// Unset until the gateway has had a link to its broker.
    worker: Arc<OnceLock<WorkerId>>,
    handle: Rc<WorkerHandle>,
    page: Serve,
    listens_on: IpAddr,
    health: Health,
    admissions: Admissions,
    terms: Arc<Terms>,
    unauthenticated: Unauthenticated,
    /// The TLS handshakes that are under way.
    handshakes: Rc<Handshakes>,
    last_connection: Cell<u64>,
    /// When it was last logged that a client offered an unknown subprotocol.
    logged_subprotocol: Cell<Option<Instant>>,
}

impl Door {
    pub fn new(
        config: Arc<GatewayConfig>,
        (worker, registry): (Arc<OnceLock<WorkerId>>, Addr<Registry>),
        page: Serve,
        listens_on: IpAddr,
        (health, unauthenticated): (Health, Unauthenticated),
    ) -> Self {
        let handshakes = Handshakes::new(config.max_tls_handshakes);
        Self {
            admissions: Admissions::new(config.clone()),
            terms: Terms::new(config.user_timeout, config.limits.clone(), config.meters.clone()),
            handle: Rc::new(WorkerHandle { registry, config: config.clone() }),
            config,
            worker,
            page,
            listens_on,
            health,
            unauthenticated,
            handshakes,
            last_connection: Cell::new(0),
            logged_subprotocol: Cell::new(None),
        }
    }

    /// Serves a connection until its session has started, or to its end. Its request must be there at the
    /// deadline.
    ///
    /// In a storm, most requests have arrived before their connections are accepted. Their sessions
    /// start at once, without a task, a timer or a wait for an event.
    pub fn receive(
        self: &Rc<Self>,
        socket: net::TcpStream,
        peer: SocketAddr,
        seat: Seat,
        deadline: Deadline,
    ) {
        if self.config.tls.is_some() {
            let Ok(tcp) = TcpStream::from_std(socket) else { return };
            let door = self.clone();
            actix_rt::spawn(async move { door.receive_sealed(tcp, peer, seat, deadline).await });
            return;
        }
        let mut received = Vec::with_capacity(FIRST_READ_BYTES);
        match recv(&socket, spare_capacity(&mut received), RecvFlags::empty()) {
            Ok((0, _)) => return,
            Ok(_) | Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(_) => return,
        }
        let decide = || self.decide_at_once(&received, peer, &seat);
        // Not even a request that makes this panic may end the door for the others.
        let Ok(decided) = panic::catch_unwind(AssertUnwindSafe(decide)) else { return };
        let Ok(stream) = TcpStream::from_std(socket) else { return };
        match decided {
            Some((Decision::Open(opened, principal), len_bytes)) => {
                received.drain(..len_bytes);
                let open = || self.open(stream, (opened, principal), received, seat);
                let _ = panic::catch_unwind(AssertUnwindSafe(open));
            }
            decided => {
                let door = self.clone();
                actix_rt::spawn(async move {
                    let arrived = (stream.into(), received, decided);
                    door.admit(arrived, peer, seat, deadline).await;
                });
            }
        }
    }

    /// Decides about a request and returns the length of its head in bytes; `None` if the head is not
    /// complete.
    fn decide_at_once(
        &self,
        received: &[u8],
        peer: SocketAddr,
        seat: &Seat,
    ) -> Option<(Decision, usize)> {
        match Head::parse(received) {
            Ok(Some((head, len_bytes))) => Some((self.decide(&head, peer, seat), len_bytes)),
            Ok(None) => None,
            Err(error) => Some((self.refuse_other(received, peer, error.into()), 0)),
        }
    }

    async fn admit(
        &self,
        (mut stream, mut received, decided): (Stream, Vec<u8>, Option<(Decision, usize)>),
        peer: SocketAddr,
        seat: Seat,
        deadline: Deadline,
    ) {
        let decided = match decided {
            Some(decided) => Ok(Ok(Some(decided))),
            None => {
                let decide =
                    |head: &Head<'_>, len_bytes| (self.decide(head, peer, &seat), len_bytes);
                let read = read_head(&mut stream, &mut received, decide);
                timeout_at(deadline, read).await
            }
        };
        let (decision, len_bytes) = match decided {
            Ok(Ok(Some(decided))) => decided,
            Ok(Ok(None)) => return,
            Ok(Err(refusal)) => (self.refuse_other(&received, peer, refusal), 0),
            Err(_) => (self.refused(peer, &Refusal::timeout(), None), 0),
        };
        match decision {
            Decision::Open(opened, principal) => {
                received.drain(..len_bytes);
                self.open(stream, (opened, principal), received, seat);
            }
            Decision::OpenLater(opened, newcomer) => {
                received.drain(..len_bytes);
                self.open_later(stream, opened, received, (seat, newcomer)).await;
            }
            Decision::Page => {
                (self.page)(Rewind::new(received.into(), stream), Some(peer)).await;
            }
            Decision::Refuse(last) => end(stream, last).await,
            Decision::RefuseByMessage(last) => {
                // The client gets no more time than for any other refusal, whatever it still sends.
                let _ = timeout(REFUSAL_LIMIT, end(stream, last)).await;
            }
            Decision::RefuseOneOfMany(last) => {
                // A flood from one client must not occupy more than this.
                let Some(_right) = self.admissions.answer() else { return };
                let _ = timeout(REFUSAL_LIMIT, end(stream, last)).await;
            }
        }
    }

    fn decide(&self, head: &Head<'_>, peer: SocketAddr, seat: &Seat) -> Decision {
        let (proxy, peer) = (peer, self.admissions.client(head, peer));
        if let Some(answer) = self.answer_to_check(head) {
            let answer = answer.for_method(head.method);
            return Decision::Refuse(answer.response(self.reader(head)));
        }
        let refusal = match self.check(head, (proxy, peer), seat) {
            Ok(Admitted::Websocket(upgrade, wish, principal)) => {
                self.log_subprotocol(&upgrade);
                let (response, dialect) = (upgrade.response(), upgrade.dialect);
                let is_page_trusted = self.is_page_trusted(head);
                let opened = Opened { response, dialect, wish, is_page_trusted, client: peer };
                match principal {
                    Some(principal) => return Decision::Open(opened, principal),
                    None => match self.unauthenticated.admit(peer.ip()) {
                        Some(newcomer) => return Decision::OpenLater(opened, newcomer),
                        None => {
                            self.config.meters.limits.count(Limit::Unauthenticated);
                            Refusal::too_many_unauthenticated()
                        }
                    },
                }
            }
            Ok(Admitted::EventStream(wish, principal)) => {
                let response = events::head(self.reader(head), events::retry_millis());
                let dialect = Dialect::Events;
                let is_page_trusted = false;
                let opened = Opened { response, dialect, wish, is_page_trusted, client: peer };
                return Decision::Open(opened, principal);
            }
            Ok(Admitted::Page) => return Decision::Page,
            Err(refusal) => refusal,
        };
        if refusal.is_one_of_many() {
            log(&self.config, peer, &refusal);
            return Decision::RefuseOneOfMany(self.answer(head, refusal));
        }
        match refusal_by_message(head, &refusal) {
            Some(last) => {
                self.count_by_message(&refusal);
                log(&self.config, peer, &refusal);
                Decision::RefuseByMessage(last)
            }
            None => self.refused(peer, &refusal.for_method(head.method), self.reader(head)),
        }
    }

    /// What the client may have, and who it is.
    fn check(
        &self,
        head: &Head<'_>,
        (proxy, peer): (SocketAddr, SocketAddr),
        seat: &Seat,
    ) -> Result<Admitted, Refusal> {
        self.admissions.count(head, (proxy, peer), seat)?;
        let GatewayConfig { allow_hosts, allow_origins, max_groups, .. } = &*self.config;
        let is_websocket = websocket::is_meant(head);
        let exposure = self.config.exposure_now();
        pages::check_proxy(head, exposure)?;
        let admitted = match head.path {
            "/" if is_websocket => {
                let upgrade = Upgrade::check(head)?;
                pages::check_host(head, allow_hosts, exposure, self.listens_on)?;
                pages::check_websocket(head, allow_origins, allow_hosts, self.listens_on)?;
                let mut wish = Wish::read(head.query, self.accepted(upgrade.dialect))?;
                if wish.since.is_some() && !upgrade.dialect.has_positions() {
                    return Err(Refusal::bad(
                        "parameters since and last: a websocket without a subprotocol has no \
                         positions and no history, open it with campanile.v1",
                    ));
                }
                let token = self.token_of(head)?;
                // It can be in the first message, unless there is somebody to be without one.
                let may_follow = token.is_none() && upgrade.dialect.rules().can_renew();
                let principal = match self.identify(token.as_deref(), peer) {
                    Err((Rejection::NoToken, _)) if may_follow => None,
                    Err((_, refusal)) => return Err(refusal),
                    Ok(principal) => {
                        wish = identity::grant(&principal, wish, *max_groups)?;
                        self.admissions.count_user(&principal, seat)?;
                        Some(principal)
                    }
                };
                Admitted::Websocket(upgrade, wish, principal)
            }
            path => {
                pages::check_host(head, allow_hosts, exposure, self.listens_on)?;
                match path {
                    _ if is_websocket => return Err(Refusal::no_websocket_at(path)),
                    "/events" => {
                        let wish = self.event_stream_wish(head)?;
                        let principal = self.principal_of_stream(head, peer)?;
                        let wish = identity::grant(&principal, wish, *max_groups)?;
                        self.admissions.count_user(&principal, seat)?;
                        Admitted::EventStream(wish, principal)
                    }
                    // Nobody shows who they are in a preflight request.
                    "/position" if head.method != "OPTIONS" => {
                        identity::check(&self.principal_of(head, peer)?, Action::ReadPosition)?;
                        Admitted::Page
                    }
                    path if page::PATHS.contains(&path) => Admitted::Page,
                    path => return Err(Refusal::not_found(&page::nothing_at(path))),
                }
            }
        };
        // This comes last: a request that is wrong in itself should get that answer.
        match self.hindrance() {
            _ if matches!(admitted, Admitted::Page) => Ok(admitted),
            None => Ok(admitted),
            Some(hindrance) if matches!(admitted, Admitted::EventStream(..)) => {
                Err(patient(hindrance))
            }
            Some(hindrance) => Err(hindrance),
        }
    }

    /// Why no new client is accepted now, as the refusal of a websocket; `None` if they are accepted.
    fn hindrance(&self) -> Option<Refusal> {
        let has_broker = self.worker.get().is_some() && !self.health.is_cut_off();
        (!has_broker).then(Refusal::no_broker)
    }

    /// The answer to a health check, whatever its `Host` and `Origin`; `None` for any other request.
    fn answer_to_check(&self, head: &Head<'_>) -> Option<Refusal> {
        let hindrance = match (head.path, head.method) {
            ("/" | "*", "OPTIONS") => return Some(Refusal::options()),
            ("/health/live", _) => None,
            ("/health/ready", _) => {
                let access = self.config.access.borrow();
                self.health.condition().hindrance().or(access.hindrance())
            }
            _ => return None,
        };
        Some(match head.method {
            "GET" | "HEAD" | "OPTIONS" => Refusal::health(hindrance),
            method => Refusal::health_method(method),
        })
    }

    /// Whether the request may have an effect without a token: a page of an origin that is not allowed could
    /// otherwise use the visitor's way to this gateway. What is no browser sends no origin.
    fn is_page_trusted(&self, head: &Head<'_>) -> bool {
        let (sites, origins) = (head.all("sec-fetch-site"), head.all("origin"));
        self.config.allow_origins.admits(sites, origins, self.listens_on)
    }

    /// The web page that sent the request, if it may read the answer.
    fn reader<'a>(&self, head: &'a Head<'_>) -> Option<Reader<'a>> {
        Reader::of(head, &self.config.allow_origins, self.listens_on)
    }
}
