//! A whole gateway: its workers, its bridge, the thread that accepts connections, and the order in
//! which all that ends.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use actix_rt::Arbiter;
use campanile_messages::origins::most_exposed;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::acceptor::{Acceptor, Admission, Arrival};
use crate::bridge::{Bridge, Finish, Worker};
use crate::config::GatewayConfig;
use crate::delivery::Deliveries;
use crate::door::Door;
use crate::page;
use crate::registry::{Drain, Registry};
use crate::seats::Seats;
use crate::vital::Vital;

/// How long the bridge may take to end its link.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// Runs a gateway on bound listeners, at least one, until `shutdown` resolves and its clients have been told to
/// go; calls `ready` when it has a broker, and so can take its first connection. Needs the context
/// of an actix `System`.
///
/// # Errors
/// What the system answers about the listeners. Nothing that a peer does ends it.
pub async fn serve(
    config: GatewayConfig,
    listeners: Vec<TcpListener>,
    ready: impl FnOnce() + 'static,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut addresses = Vec::new();
    for listener in &listeners {
        prepare(listener, &config)?;
        addresses.push(listener.local_addr()?.ip());
    }
    let no_listener = || io::Error::new(io::ErrorKind::InvalidInput, "no listener was given");
    let listens_on = most_exposed(addresses).ok_or_else(no_listener)?;
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

    let acceptor = Acceptor::start(listeners, seats.clone(), doors, config.max_connections)?;
    shutdown.await;
    acceptor.stop();
    info!(connections = seats.taken(), "shutting down: clients are told to go");
    for worker in &workers {
        worker.registry.do_send(Drain { over: config.drain });
    }
    if timeout(config.drain + config.shutdown_limit, emptied(&seats)).await.is_err() {
        warn!(connections = seats.taken(), "cut the connections that did not end in time");
    }
    if timeout(FINISH_LIMIT, bridge.send(Finish)).await.is_err() {
        warn!("the bridge has not ended its link in time");
    }
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
            while let Some(Arrival { socket, peer, admission }) = arrivals.recv().await {
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
