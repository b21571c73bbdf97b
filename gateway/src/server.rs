//! A whole gateway: its workers, its bridge, the loop that accepts connections, and the order in
//! which all that ends.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use actix_rt::Arbiter;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::bridge::{Bridge, Finish, Worker};
use crate::config::GatewayConfig;
use crate::delivery::Deliveries;
use crate::door::Door;
use crate::page;
use crate::registry::{Drain, Registry};
use crate::seats::{Seat, Seats};
use crate::vital::Vital;

/// How long the loop rests when the process has no file descriptors left.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// So many connections over the limit are told so at a time; more are closed without a word.
const MAX_REFUSALS: usize = 32;

/// A connection on its way to a worker.
type Arrival = (std::net::TcpStream, SocketAddr, Admission);

/// Whether there is a seat for it.
enum Admission {
    Seated(Seat),
    /// There is none; the seat is one of those for refusals.
    Full(Seat),
}

/// Runs a gateway on a bound listener until `shutdown` resolves and its clients have been told to
/// go; calls `ready` when it has a broker, and so can take its first connection. Needs the context
/// of an actix `System`.
///
/// # Errors
/// What the system answers about the listener. Nothing that a peer does ends it.
pub async fn serve(
    config: GatewayConfig,
    listener: TcpListener,
    ready: impl FnOnce() + 'static,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    prepare(&listener, &config)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let listens_on = listener.local_addr()?.ip();
    let config = Arc::new(config);
    let seats = Seats::new(config.workers);
    let arbiters: Vec<_> = (0..config.workers).map(|_| Arbiter::new()).collect();
    let audiences = Arc::new(AtomicUsize::new(0));
    let mut workers = Vec::new();
    let bridge = Bridge::create(|ctx| {
        let handles = arbiters.iter().map(Arbiter::handle).enumerate();
        let start = |(i, on)| start_registry(i, &on, &config, ctx.address(), audiences.clone());
        workers = handles.map(start).collect();
        Bridge::new(&config, workers.clone(), audiences.clone(), Box::new(ready))
    });
    let doors = arbiters.iter().zip(&workers);
    let doors: Vec<_> =
        doors.map(|(arbiter, worker)| open_door(arbiter, worker, &config, listens_on)).collect();

    tokio::select! {
        never = accept(&listener, &seats, &doors, config.max_connections) => match never {},
        () = shutdown => {}
    }
    drop(listener);
    info!(connections = seats.taken(), "shutting down: clients are told to go");
    for worker in &workers {
        worker.registry.do_send(Drain { over: config.drain });
    }
    if timeout(config.drain + config.shutdown_limit, emptied(&seats)).await.is_err() {
        warn!(connections = seats.taken(), "cut the connections that did not end in time");
    }
    let _ = bridge.send(Finish).await;
    for arbiter in arbiters {
        arbiter.stop();
    }
    Ok(())
}

/// Sets on the listener what every accepted socket inherits from it.
fn prepare(listener: &TcpListener, config: &GatewayConfig) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(config.user_timeout))
}

fn start_registry(
    index: usize,
    on: &actix_rt::ArbiterHandle,
    config: &Arc<GatewayConfig>,
    bridge: Addr<Bridge>,
    audiences: Arc<AtomicUsize>,
) -> Worker {
    let id = Arc::new(OnceLock::new());
    let deliveries = Deliveries::default();
    let parts = (id.clone(), config.clone(), deliveries.clone());
    let registry = Registry::start_in_arbiter(on, move |_| {
        let (id, config, deliveries) = parts;
        Registry::new(index, id, config, deliveries, bridge, audiences)
    });
    Worker { id, deliveries, registry }
}

/// Starts the door of a worker on its thread. What is sent to it is bounded by the seats.
fn open_door(
    on: &Arbiter,
    worker: &Worker,
    config: &Arc<GatewayConfig>,
    listens_on: IpAddr,
) -> mpsc::UnboundedSender<Arrival> {
    let (sender, mut arrivals) = mpsc::unbounded_channel::<Arrival>();
    let (worker, config) = (worker.clone(), config.clone());
    on.spawn_fn(move || {
        actix_rt::spawn(async move {
            let _vital = Vital("door");
            let page = page::server(config.publisher_url.as_deref().unwrap_or_default()).await;
            let door = Rc::new(Door::new(config, worker.id, worker.registry, page, listens_on));
            while let Some((socket, peer, admission)) = arrivals.recv().await {
                let Ok(stream) = TcpStream::from_std(socket) else {
                    continue;
                };
                let door = door.clone();
                actix_rt::spawn(async move {
                    match admission {
                        Admission::Seated(seat) => door.admit(stream, peer, seat).await,
                        Admission::Full(_seat) => door.turn_away(stream, peer).await,
                    }
                });
            }
        });
    });
    sender
}

/// Accepts connections and gives each to the worker with the fewest.
async fn accept(
    listener: &tokio::net::TcpListener,
    seats: &Seats,
    doors: &[mpsc::UnboundedSender<Arrival>],
    max_connections: usize,
) -> Infallible {
    let refusals = Seats::new(doors.len());
    let mut told_full = None::<Instant>;
    loop {
        // The stream is taken from this thread's reactor again, for that of its worker.
        let accepted = listener.accept().await;
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                let seated = seats.take(max_connections);
                let seated = seated.map(|(worker, seat)| (worker, Admission::Seated(seat)));
                let full =
                    || refusals.take(MAX_REFUSALS).map(|(w, seat)| (w, Admission::Full(seat)));
                if let Some((worker, admission)) = seated.or_else(full) {
                    // A door is closed only when its thread ends, with the process.
                    let _ = doors[worker].send((stream, peer, admission));
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                if told_full.is_none_or(|told| told.elapsed() > Duration::from_secs(60)) {
                    warn!(%error, connections = seats.taken(), "cannot accept, trying again");
                    told_full = Some(Instant::now());
                }
                sleep(FULL_PAUSE).await;
            }
        }
    }
}

/// `accept` also reports errors of the connection that it would have accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

async fn emptied(seats: &Seats) {
    while seats.taken() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn accepted_sockets_inherit_what_is_set_on_the_listener() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let user_timeout = Duration::from_secs(7);
        prepare(&listener, &GatewayConfig { user_timeout, ..GatewayConfig::default() }).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(user_timeout));
    }
}
