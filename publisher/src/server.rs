//! Runs a publisher from its first request to its last.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_http::HttpService;
use actix_http::error::DispatchError;
use actix_server::Server;
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use campanile_channel::TlsSettings;
use campanile_channel::brokers::UnfitBroker;
use campanile_channel::client::{Endpoint, hold};
use campanile_channel::courier::LinkSign;
use campanile_channel::publishing::WaitLimits;
use campanile_channel::tls::{self, Handshakes, Stream};
use campanile_channel::watchdog::{ANSWER_LIMIT, attest};
use campanile_channel::{incident, incidents};
use campanile_edge::{Incidents, most_exposed};
use campanile_messages::InstanceId;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::budget::Budget;
use crate::config::PublisherConfig;
use crate::courier::{Courier, Finish, LINK_QUEUE_BYTES, LastCall};
use crate::http::{CallerStream, Composer, Entrance, Front, answer};
use crate::inquiries::Answers;

/// How much the kernel buffers for a caller at most, besides what is on its way. By default it is some
/// MiB, and a caller that does not read its answers would be noticed only when these are full.
const UNSENT_BYTES: u32 = 128 << 10;

/// How long a closed HTTP connection may take to end on both sides.
const DISCONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Accepts pushes on `listeners`, of which there is at least one, and hands them to the broker until
/// `shutdown` ends. Then it accepts no more, answers the requests under way, waits for the answers to
/// what was handed over, and returns, at the latest after [`PublisherConfig::shutdown_limit`]. Must be
/// called within an actix `System`.
///
/// # Errors
/// A setting that is out of range (`InvalidInput`), an error of the listeners, the end of a part that
/// should have run until `shutdown`, or a first broker that does not share its log with the others that were
/// given.
pub async fn serve(
    config: PublisherConfig,
    listeners: Vec<TcpListener>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    config.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let limits =
        WaitLimits { broker_wait: config.broker_wait, confirm_limit: config.confirm_limit };
    let (alive, gone) = oneshot::channel();
    let watchdog = &config.watchdog;
    let health = config.health.clone();
    let pulse = watchdog.watch("courier");
    let instance = config.instance.unwrap_or_else(|| InstanceId(rand::random()));
    let courier = Courier::new(instance, limits, alive, pulse);
    let (reported, meters) = (health.clone(), config.meters.clone());
    let courier = courier.reporting(move |sign| {
        match sign {
            LinkSign::Up => meters.link(true),
            LinkSign::Lost => meters.link(false),
            LinkSign::DiskWaits(_) => {}
        }
        reported.note(sign);
    });
    let answers = Answers::new(&config);
    let courier = courier.answering(move |question| answers.answer(question));
    let courier = courier.start();
    config.inquirer.set(courier.clone().recipient());
    let server = listen(&config, listeners, courier.clone())?;
    let owner = courier.clone();
    let broker = Endpoint {
        broker: config.broker.clone(),
        tls: config.broker_tls.clone(),
        secrets: config.secrets.clone(),
    };
    let pulse = watchdog.watch("publisher's link");
    let link = hold(owner, broker, LINK_QUEUE_BYTES, pulse, async || {});
    let (unfit, is_unfit) = oneshot::channel();
    let mut link = actix::spawn(async move {
        if let Err(reason) = link.await {
            // A publisher that is shutting down need not know.
            let _ = unfit.send(reason);
        }
    });
    let last_call = || courier.do_send(LastCall);
    let shutdown = async {
        shutdown.await;
        health.drain();
    };
    let ended = run(server, shutdown, (gone, is_unfit), config.shutdown_limit, last_call, async {
        // Without a link, there is no use in trying to make one.
        if let Ok(true) = courier.send(Finish).timeout(ANSWER_LIMIT).await {
            let _ = (&mut link).await;
        }
    });
    // This waits for the signal, and then within the limits of the shutdown.
    // Aborted, and so at its last line, when this function returns.
    let mut reports = JoinSet::new();
    reports.spawn_local(incidents::report(config.incidents.clone()));
    let ended = watchdog.watch("publisher's service").during(ended).await;
    link.abort();
    ended
}

/// Serves until `shutdown`, then stops within `limit`: first HTTP, which `last_call` answers when the
/// time is almost over, then the link, by `finish`.
async fn run(
    server: Server,
    shutdown: impl Future<Output = ()>,
    (courier_gone, is_unfit): (oneshot::Receiver<()>, oneshot::Receiver<UnfitBroker>),
    limit: Duration,
    last_call: impl FnOnce(),
    finish: impl Future<Output = ()>,
) -> io::Result<()> {
    let handle = server.handle();
    let mut server = pin!(server);
    tokio::select! {
        ended = &mut server => {
            ended?;
            return Err(io::Error::other("the HTTP server ended without being told to"));
        }
        _ = courier_gone => {
            return Err(io::Error::other("the courier ended without being told to"));
        }
        Ok(reason) = is_unfit => return Err(io::Error::other(reason)),
        () = shutdown => {}
    }
    info!("shutting down: answering the requests under way");
    let until = Instant::now() + limit;
    let mut stopped = pin!(async { tokio::join!(handle.stop(true), &mut server).1 });
    let ended = match timeout_at(until - time_for_answers(limit), &mut stopped).await {
        Ok(ended) => Ok(ended),
        Err(_) => {
            last_call();
            timeout_at(until, stopped).await
        }
    };
    match ended {
        Ok(ended) => ended?,
        Err(_) => warn!("some requests were not answered in time"),
    }
    if timeout_at(until, finish).await.is_err() {
        warn!("the broker did not answer everything in time");
    }
    Ok(())
}

/// The part of the shutdown that is left for last answers.
fn time_for_answers(limit: Duration) -> Duration {
    limit / 10
}

fn listen(
    config: &PublisherConfig,
    listeners: Vec<TcpListener>,
    courier: Addr<Courier>,
) -> io::Result<Server> {
    let addresses = listeners.iter().map(|listener| Ok(listener.local_addr()?.ip()));
    let no_listener = || io::Error::new(io::ErrorKind::InvalidInput, "no listener was given");
    let listens_on =
        most_exposed(addresses.collect::<io::Result<Vec<_>>>()?).ok_or_else(no_listener)?;
    let server = Server::build();
    let stopping = server.graceful_shutdown_signal();
    let entrance = Entrance::new(config);
    let budget = Budget::new(config.shares());
    config.meters.watch_budget(budget.clone());
    let front = Front {
        courier,
        budget,
        entrance: entrance.clone(),
        listens_on,
        // Without the composer, which has the front.
        config: Arc::new(PublisherConfig { composer: Composer::default(), ..config.clone() }),
        stopping: stopping.clone(),
        stopping_limit: config.shutdown_limit - time_for_answers(config.shutdown_limit),
    };
    config.composer.set(front.clone());
    let app =
        move || App::new().app_data(web::Data::new(front.clone())).default_service(web::to(answer));
    let keep_alive = config.keep_alive;
    let head_limit = config.head_limit;
    let silence_limit = config.silence_limit;
    let meters = config.meters.clone();
    let (tls, max_tls_handshakes) = (config.tls.clone(), config.max_tls_handshakes);
    let incidents = config.incidents.clone();
    let (watchdog, workers) = (config.watchdog.clone(), AtomicUsize::new(0));
    let workers = Arc::new(workers);
    // The same as in `actix_web::HttpServer`, except for the stream in between.
    let serve = move || {
        let (entrance, begun) = (entrance.clone(), stopping.clone());
        let meters = meters.clone();
        let stopping = stopping.clone();
        let app = app().into_factory().map_err(|error: actix_web::Error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(keep_alive)
            // The stream has a limit of its own, and an answer that says so.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_LIMIT)
            .on_connect_ext(|stream: &CallerStream, extensions| {
                extensions.insert(stream.presence());
                extensions.insert(stream.turn());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        let (tls, handshakes) = (tls.clone(), Handshakes::new(max_tls_handshakes));
        let incidents = incidents.clone();
        let admit = async move |mut tcp: TcpStream| {
            let connected = meters.connected();
            // On each socket, not on the listener: a socket inherits them, but then the end of a large
            // answer was seen to wait 40 ms for an ACK. If this fails, answers are correct but slower.
            let _ = tcp.set_nodelay(true);
            // Otherwise a caller that is gone, or that does not read, would keep its connection.
            let _ = SockRef::from(&tcp).set_tcp_user_timeout(Some(silence_limit));
            // If this fails, the kernel buffers more for a caller that does not read.
            let _ = SockRef::from(&tcp).set_tcp_notsent_lowat(UNSENT_BYTES);
            let (peer, counted) =
                entrance.admit(&mut tcp, &begun).await.map_err(DispatchError::Io)?;
            let shared = (&handshakes, &incidents);
            let stream = secure((tcp, peer), tls.clone(), shared, head_limit).await?;
            let stream = CallerStream::new(stream, head_limit, silence_limit);
            let stream = stream.counted_by(counted, connected);
            Ok((stream, Some(peer)))
        };
        let admit = Rc::new(admit);
        fn_service(move |tcp: TcpStream| {
            let admit = admit.clone();
            async move { admit(tcp).await }
        })
        .and_then(http)
    };
    let mut server = server
        .workers(config.workers)
        .max_concurrent_connections(config.max_connections.div_ceil(config.workers))
        .disable_signals()
        // `run` keeps to the exact limit. This one is in whole seconds, and must not be shorter.
        .shutdown_timeout(config.shutdown_limit.as_secs() + 1);
    for (number, listener) in listeners.into_iter().enumerate() {
        let (serve, watchdog, workers) = (serve.clone(), watchdog.clone(), workers.clone());
        server = server.listen("push", listener, move || {
            // This runs on the thread of each worker, once per listener.
            if number == 0 {
                let worker = workers.fetch_add(1, Relaxed);
                actix::spawn(attest(watchdog.watch(format!("publisher's worker {worker}"))));
            }
            serve()
        })?;
    }
    Ok(server.run())
}

/// Performs the TLS handshake, if there are settings for it.
///
/// # Errors
/// If there is none within the limit. The caller has its answer, where there is one.
async fn secure(
    (tcp, client): (TcpStream, SocketAddr),
    settings: Option<TlsSettings>,
    (handshakes, incidents): (&Rc<Handshakes>, &Incidents),
    limit: Duration,
) -> Result<Stream, DispatchError> {
    let Some(settings) = settings else { return Ok(tcp.into()) };
    match timeout(limit, tls::accept(tcp, client.ip(), &settings, handshakes)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(no_stream)) => {
            let error = no_stream.to_string();
            let address = Some(client.ip());
            incident!(incidents, info, "tls", address, peer = %client, error, "no TLS with a caller");
            no_stream.end().await;
            Err(DispatchError::DisconnectTimeout)
        }
        Err(_) => Err(DispatchError::SlowRequestTimeout),
    }
}
