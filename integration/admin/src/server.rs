//! The listener: one thread that answers operators and scrapers, so that nothing of it can delay a client.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Request};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactoryExt as _, apply_fn_factory, fn_service,
    map_config,
};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{App, HttpRequest, HttpResponse, web};
use campanile_channel::tls::{self, Handshakes, Stream};
use campanile_channel::watchdog::attest;
use campanile_channel::{TlsSettings, Watchdog, incidents};
use campanile_edge::Keys;
use prometheus_client::registry::Registry;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error};

use crate::access::{Access, Wanted};
use crate::entrance::{Entrance, Seat};
use crate::guard::{Guard, refusal, said};
use crate::health::{Health, HealthCheck};
use crate::scrape::Scrape;

/// The most connections at a time. Scrapers and load balancers need a few.
const MAX_CONNECTIONS: usize = 256;

/// How long the head of a request may take, and how long a connection may end.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long a connection without a request is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a client may leave unread what it was sent, before its connection ends.
const UNREAD_LIMIT: Duration = Duration::from_secs(30);

/// How long answers may still take at the end.
const SHUTDOWN_SECONDS: u64 = 1;

/// Adds pages to the listener. Each of them asks the [`Guard`] first, which is in the data of the app.
#[derive(Clone)]
pub struct Mount {
    /// The paths, as somebody is told them who asks for another.
    pub paths: &'static [&'static str],
    /// Adds them.
    pub add: Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// What the listener shows, and to whom.
#[derive(Debug)]
pub struct AdminConfig {
    /// Who may ask for what.
    pub access: Access,
    /// The keys of operators.
    pub keys: watch::Receiver<Arc<Keys>>,
    /// The numbers of all services.
    pub registry: Registry,
    /// The services.
    pub health: Vec<HealthCheck>,
    /// More pages.
    pub mounted: Vec<Mount>,
    /// The settings of TLS; `None` if the listener speaks plain HTTP.
    pub tls: Option<TlsSettings>,
    /// Watches the listener and its thread.
    pub watchdog: Watchdog,
}

/// Serves on at least one bound listener until `shutdown` resolves. Must be called within an actix `System`.
///
/// # Errors
/// If the system cannot set it up.
pub async fn serve(
    config: AdminConfig,
    listeners: Vec<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let AdminConfig { access, keys, mut registry, health, mounted, tls, watchdog } = config;
    let health = Health::of(health);
    registry.register_collector(Box::new(health.clone()));
    let guard = Guard::new(access, keys, tls.is_some());
    // It ends with this function.
    let mut reports = JoinSet::new();
    reports.spawn_local(incidents::report(guard.incidents().clone()));
    let guarded = web::Data::new(guard.clone());
    let own = ["/metrics", "/health/live", "/health/ready"];
    let paths: Vec<_> = mounted.iter().flat_map(|mount| mount.paths).chain(&own).copied().collect();
    let front = web::Data::new(Front { guard, registry, health, paths: paths.join(", ") });
    let app = move || {
        let app = App::new().app_data(front.clone()).app_data(guarded.clone());
        let app =
            mounted.iter().fold(app, |app, mount| app.configure(|config| (mount.add)(config)));
        let app = app.default_service(web::to(answer)).into_factory();
        app.map_err(|error: actix_web::Error| error.error_response())
    };
    let entrance = Entrance::default();
    // The same as `actix_web::HttpServer`, except for the share of each address, and for TLS, whose certificates
    // may change.
    let service = move || {
        let handshakes = Handshakes::new(MAX_CONNECTIONS);
        let (app, tls, entrance) = (app(), tls.clone(), entrance.clone());
        let turns = entrance.clone();
        let app = map_config(app, |()| AppConfig::default());
        let app = apply_fn_factory(app, move |request: Request, app| {
            let turn = request.peer_addr().map(|from| turns.begin(from));
            let answering = app.call(request);
            async move {
                let answered: Result<ServiceResponse<_>, _> = answering.await;
                if let (Ok(response), Some(turn)) = (&answered, turn)
                    && response.status() == StatusCode::SWITCHING_PROTOCOLS
                {
                    turn.keep();
                }
                answered
            }
        });
        let http = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_LIMIT)
            .client_disconnect_timeout(HEAD_LIMIT)
            .h1(app);
        let seated = apply_fn_factory(http, |(stream, peer, seat): Connection, http| {
            let answering = http.call((stream, peer));
            // What gives way to another connection ends without a word.
            async move { seat.during(answering).await.unwrap_or(Ok(())) }
        });
        let admit = move |tcp| admit(tcp, entrance.clone(), tls.clone(), handshakes.clone());
        fn_service(admit).and_then(seated)
    };
    let mut server = Server::build()
        .workers(1)
        .max_concurrent_connections(MAX_CONNECTIONS)
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals();
    let pulse = watchdog.watch("listener for operators");
    for (number, listener) in listeners.into_iter().enumerate() {
        let (service, watchdog) = (service.clone(), watchdog.clone());
        server = server.listen("operators", listener, move || {
            // This runs on the thread that answers, once per listener.
            if number == 0 {
                actix_rt::spawn(attest(watchdog.watch("thread that answers operators")));
            }
            service()
        })?;
    }
    let mut server = server.run();
    let handle = server.handle();
    let serving = async {
        tokio::select! {
            ended = &mut server => return ended,
            () = shutdown => {}
        }
        tokio::join!(handle.stop(true), server).1
    };
    pulse.during(serving).await
}

/// A connection that was admitted.
type Connection = (Stream, Option<SocketAddr>, Seat);

/// Admits a connection, bounds how long its client may not read, and performs the TLS handshake, if the listener
/// speaks TLS.
async fn admit(
    tcp: TcpStream,
    entrance: Entrance,
    tls: Option<TlsSettings>,
    handshakes: Rc<Handshakes>,
) -> Result<Connection, DispatchError> {
    let peer = tcp.peer_addr().map_err(DispatchError::Io)?;
    let seat = entrance.admit(peer).map_err(|crowded| {
        debug!(%peer, %crowded, "closed a connection to the listener for operators");
        DispatchError::Io(crowded)
    })?;
    // If this fails, a page that does not read keeps its connection for longer.
    let _ = SockRef::from(&tcp).set_tcp_user_timeout(Some(UNREAD_LIMIT));
    let Some(tls) = tls else { return Ok((tcp.into(), Some(peer), seat)) };
    let accepting = timeout(HEAD_LIMIT, tls::accept(tcp, peer.ip(), &tls, &handshakes));
    match seat.during(accepting).await.ok_or(DispatchError::DisconnectTimeout)? {
        Ok(Ok(stream)) => Ok((stream, Some(peer), seat)),
        Ok(Err(no_stream)) => {
            debug!(%peer, error = %no_stream, "no TLS with an operator");
            // It can be read for a while why, unless somebody else needs the seat.
            seat.during(no_stream.end()).await;
            Err(DispatchError::DisconnectTimeout)
        }
        Err(_) => Err(DispatchError::SlowRequestTimeout),
    }
}

struct Front {
    guard: Guard,
    registry: Registry,
    health: Health,
    /// All paths, with commas between them.
    paths: String,
}

/// What a path shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Live,
    Ready,
    Metrics,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/health/live" => Some(Self::Live),
            "/health/ready" => Some(Self::Ready),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }

    fn wanted(self) -> Wanted {
        match self {
            Self::Live | Self::Ready => Wanted::Health,
            Self::Metrics => Wanted::Metrics,
        }
    }
}

async fn answer(request: HttpRequest, front: web::Data<Front>) -> HttpResponse {
    let Some(route) = Route::of(request.path()) else {
        let sentence = format!("there is nothing at this path: accepted are {}", front.paths);
        return said(StatusCode::NOT_FOUND, &sentence);
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "accepted are GET and HEAD");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if let Err(refused) = front.guard.check(route.wanted(), &request) {
        return refusal(&refused);
    }
    match route {
        Route::Live => said(StatusCode::OK, "ok"),
        Route::Ready => front.ready(),
        Route::Metrics => front.metrics(&request),
    }
}

impl Front {
    fn ready(&self) -> HttpResponse {
        match self.health.hindrance() {
            None => said(StatusCode::OK, "ok"),
            Some(words) => said(StatusCode::SERVICE_UNAVAILABLE, &words),
        }
    }

    fn metrics(&self, request: &HttpRequest) -> HttpResponse {
        let accept = request.headers().get_all(header::ACCEPT);
        let scrape = Scrape::of(accept.filter_map(|value| value.to_str().ok()));
        match scrape.write(&self.registry) {
            Ok(written) => HttpResponse::Ok().content_type(scrape.content_type()).body(written),
            Err(failed) => {
                error!(error = %failed, "the metrics cannot be written");
                said(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written")
            }
        }
    }
}
