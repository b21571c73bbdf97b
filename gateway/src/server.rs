//! A whole gateway: starts its workers, its bridge and the thread that accepts connections, and ends
//! them in the right order.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use actix_rt::Arbiter;
use campanile_channel::incidents;
use campanile_channel::watchdog::Pulse;
use campanile_edge::most_exposed;
use campanile_messages::{InstanceId, WorkerId};
use socket2::SockRef;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::bridge::heads::PositionSource;
use crate::bridge::{Bridge, Finish, Ready, Worker};
use crate::config::GatewayConfig;
use crate::delivery::{Deliveries, Signal};
use crate::entrance::acceptor::{Acceptor, Arrival};
use crate::entrance::door::Door;
use crate::entrance::health::Health;
use crate::entrance::page;
use crate::entrance::reception::Reception;
use crate::entrance::seats::Seats;
use crate::entrance::unauthenticated::Unauthenticated;
use crate::publishing::Desk;
use crate::registry::Registry;
use crate::websocket::CloseCode;

/// How long the bridge may take to end its link to the broker.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// Runs a gateway on at least one bound listener until `shutdown` resolves and its connections have
/// been closed. Calls `ready` as soon as there is a link to the broker, so that clients can be accepted.
/// Must be called inside an actix `System`.
///
/// # Errors
/// If there is no listener, or the system cannot set it up; or if the first broker that is found cannot be
/// the gateway's, because it does not share its log with the others that were given. Nothing else that a peer
/// does is an error.
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
    let health = config.health.clone();
    let instance = config.instance.unwrap_or_else(|| InstanceId(rand::random()));
    let (desk, desk_link) = Desk::start(&config, instance);
    let (unfit, is_unfit) = oneshot::channel();
    let (mut workers, mut registries) = (Vec::new(), Vec::new());
    let bridge = Bridge::create(|ctx| {
        let handles = arbiters.iter().map(Arbiter::handle).enumerate();
        let start = |(i, on)| {
            let shared = (ctx.address(), audiences.clone(), desk.clone());
            start_registry(i, &on, &config, shared)
        };
        (workers, registries) = handles.map(start).unzip();
        let told = (Box::new(ready) as Ready, unfit);
        Bridge::new(instance, &config, workers.clone(), audiences.clone(), told, health.clone())
    });
    let source = PositionSource::new(bridge.clone().recipient(), config.clone(), listens_on);
    let unauthenticated = Unauthenticated::new(config.limits.clone());
    let doors = arbiters.iter().zip(workers.iter().zip(registries)).enumerate();
    let doors: Vec<_> = doors
        .map(|(index, (arbiter, (worker, registry)))| {
            let pulse = config.watchdog.watch(format!("door {index}"));
            let worker = (worker.id.clone(), registry);
            let shared = (source.clone(), health.clone(), unauthenticated.clone());
            open_door(arbiter, worker, &config, shared, pulse)
        })
        .collect();

    let pulse = config.watchdog.watch("acceptor");
    let (settings, newcomers) = (config.clone(), health.clone());
    let acceptor = Acceptor::start(listeners, seats.clone(), doors, settings, newcomers, pulse)?;
    let mut reports = JoinSet::new();
    reports.spawn_local(incidents::report(config.incidents.clone()));
    let unfit = tokio::select! {
        Ok(reason) = is_unfit => Some(reason),
        () = shutdown => None,
    };
    // From here on, new clients are turned away, and health checks are still answered.
    health.begin_drain();
    info!(connections = seats.taken(), "shutting down, closing the connections");
    for worker in &workers {
        worker.signals.do_send(Signal::Drain { over: config.drain, code: CloseCode::GoingAway });
    }
    if timeout(config.drain + config.shutdown_limit, emptied(&seats)).await.is_err() {
        warn!(connections = seats.taken(), "cutting the connections that did not end in time");
    }
    acceptor.stop();
    // What clients have published may still wait to be written to the link.
    if !desk.finish(desk_link, FINISH_LIMIT).await {
        warn!("the broker did not answer in time what clients had published");
    }
    if timeout(FINISH_LIMIT, bridge.send(Finish)).await.is_err() {
        warn!("the bridge did not end its link in time");
    }
    for arbiter in arbiters {
        arbiter.stop();
    }
    unfit.map_or(Ok(()), |reason| Err(io::Error::other(reason)))
}

/// Sets the socket options that every accepted connection inherits from its listener.
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
    (bridge, audiences, desk): (Addr<Bridge>, Arc<AtomicUsize>, Arc<Desk>),
) -> (Worker, Addr<Registry>) {
    let id = Arc::new(OnceLock::new());
    let deliveries = Deliveries::default();
    let parts = (id.clone(), config.clone(), deliveries.clone());
    let registry = Registry::start_in_arbiter(on, move |_| {
        let (id, config, deliveries) = parts;
        Registry::new(index, id, config, deliveries, bridge, audiences, desk)
    });
    let (signals, inquiries) = (registry.clone().recipient(), registry.clone().recipient());
    (Worker { id, deliveries, signals, inquiries }, registry)
}

/// Starts the door of a worker on the worker's thread. Each arrival holds a seat, which bounds how many
/// can wait for the door.
fn open_door(
    on: &Arbiter,
    (id, registry): (Arc<OnceLock<WorkerId>>, Addr<Registry>),
    config: &Arc<GatewayConfig>,
    (source, health, unauthenticated): (PositionSource, Health, Unauthenticated),
    pulse: Pulse,
) -> mpsc::UnboundedSender<Arrival> {
    let (sender, mut arrivals) = mpsc::unbounded_channel::<Arrival>();
    let config = config.clone();
    on.spawn_fn(move || {
        actix_rt::spawn(async move {
            let listens_on = source.listens_on();
            let has_page = config.page.unwrap_or(listens_on.to_canonical().is_loopback());
            let publisher_url = config.publisher_url.as_deref().unwrap_or_default();
            let page = page::server(has_page.then_some(publisher_url), source).await;
            let worker = (id, registry);
            let shared = (health, unauthenticated);
            let door = Door::new(config.clone(), worker, page, listens_on, shared);
            let reception = Reception::new(Rc::new(door), config);
            let receive = async {
                while let Some(arrival) = arrivals.recv().await {
                    reception.receive(arrival);
                }
            };
            // The door waits for new connections and for nothing else.
            pulse.during(receive).await;
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
    fn accepted_sockets_inherit_the_options_of_the_listener() {
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
