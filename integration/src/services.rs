//! Runs one service, or all three in one process.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use actix_rt::Arbiter;
use anyhow::{Context as _, anyhow};
use campanile_channel::broker::{BrokerConfig, Storage};
use campanile_channel::{TlsSettings, Watchdog};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::cli::{BrokerCommandArgs, GatewayCommandArgs, PublisherCommandArgs, UpArgs};
use crate::files::{limited, room};
use crate::live::Live;
use crate::shutdown::{Shutdown, Trigger};
use crate::units::HostPort;

/// What the log says if there is no data directory.
const IN_MEMORY: &str =
    "events are kept in memory only, and lost with the broker: --data-dir DIR keeps them on disk";

/// In `up` the services end one after the other. All of them have this long in addition to the
/// gateway's drain; with the default drain that is 8 s, and Docker kills after 10.
const AFTER_DRAIN: Duration = Duration::from_secs(3);

/// In `up`, how much of that each service may take, so that something is left for the disk.
const SHARE: Duration = Duration::from_millis(800);

/// A service that has not ended this long after its own limits is ended.
const GRACE: Duration = Duration::from_millis(1_500);

/// The same for a broker, which writes its log to the disk once its links are gone.
const BROKER_GRACE: Duration = Duration::from_secs(3);

/// Runs the broker.
pub async fn broker(
    args: Box<BrokerCommandArgs>,
    live: &Live,
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let config = BrokerConfig {
        watchdog,
        secrets: live.secrets(),
        tls: live.tls.broker(),
        ..args.broker.config()?
    };
    let listeners = listen("--listen", &args.broker.listen)?;
    if config.storage.is_none() {
        info!("{IN_MEMORY}");
    }
    shutdown.ends_within(config.shutdown_limit + BROKER_GRACE);
    Ok(campanile_channel::broker::serve(config, listeners, shutdown.begun()).await?)
}

/// Runs a gateway.
pub async fn gateway(
    args: Box<GatewayCommandArgs>,
    live: &Live,
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let mut config = args.gateway.config(args.broker.host_port.to_string(), "")?;
    config.broker_tls = live.tls.link();
    config.watchdog = watchdog;
    config.tls = live.tls.gateway();
    config.secrets = live.secrets();
    config.access = live.access();
    config.limits = live.limits.gateway();
    let listeners = listen("--listen", &args.gateway.listen)?;
    config.max_connections = limited("--max-connections", config.max_connections, room());
    for address in addresses(&listeners)? {
        info!(%address, workers = config.workers, "the gateway listens");
    }
    let ready = || info!("the gateway takes connections");
    shutdown.ends_within(config.drain + config.shutdown_limit + GRACE);
    Ok(campanile_gateway::serve(config, listeners, ready, shutdown.begun()).await?)
}

/// Runs a publisher.
pub async fn publisher(
    args: Box<PublisherCommandArgs>,
    live: &Live,
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let mut config = args.publisher.config(args.broker.host_port.to_string(), "")?;
    config.broker_tls = live.tls.link();
    config.watchdog = watchdog;
    config.tls = live.tls.publisher();
    config.secrets = live.secrets();
    config.keys = live.keys();
    config.addresses = live.limits.publisher();
    let listeners = listen("--listen", &args.publisher.listen)?;
    config.max_connections = limited("--max-connections", config.max_connections, room());
    for address in addresses(&listeners)? {
        info!(%address, "the publisher listens");
    }
    shutdown.ends_within(config.shutdown_limit + GRACE);
    Ok(campanile_publisher::serve(config, listeners, shutdown.begun()).await?)
}

/// Runs all three services over real links, each on a thread of its own. They end in the order in
/// which everything that was accepted is still delivered.
pub async fn up(
    args: Box<UpArgs>,
    live: &Live,
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let broker = listen("--broker-listen", &args.broker.listen)?;
    let gateway = listen("--gateway-listen", &args.gateway.listen)?;
    let publisher = listen("--publisher-listen", &args.publisher.listen)?;
    let addresses = [addresses(&broker)?, addresses(&gateway)?, addresses(&publisher)?];
    let [link, _, push] = addresses.each_ref().map(|addresses| reachable(addresses[0]));

    let pulse = watchdog.watch("up");
    let mut broker_config = args.broker.config()?;
    let storage = broker_config.storage.clone();
    let mut gateway_config = args.gateway.config(link.to_string(), "gateway-")?;
    gateway_config.publisher_url.get_or_insert_with(|| match addresses[2][0].ip() {
        // Whoever opens the page knows this host by a name, and reaches the publisher by it, too.
        ip if ip.is_unspecified() => format!(":{}", push.port()),
        _ => format!("{}://{push}", scheme(&live.tls.publisher())),
    });
    let mut publisher_config = args.publisher.config(link.to_string(), "publisher-")?;
    gateway_config.tls = live.tls.gateway();
    publisher_config.tls = live.tls.publisher();
    let schemes = [&gateway_config.tls, &publisher_config.tls].map(scheme);
    broker_config.shutdown_limit = broker_config.shutdown_limit.min(SHARE);
    gateway_config.shutdown_limit = gateway_config.shutdown_limit.min(SHARE);
    publisher_config.shutdown_limit = publisher_config.shutdown_limit.min(SHARE);
    broker_config.watchdog = watchdog.clone();
    gateway_config.watchdog = watchdog.clone();
    publisher_config.watchdog = watchdog;
    broker_config.secrets = live.secrets();
    gateway_config.secrets = live.secrets();
    gateway_config.access = live.access();
    gateway_config.limits = live.limits.gateway();
    publisher_config.secrets = live.secrets();
    publisher_config.keys = live.keys();
    publisher_config.addresses = live.limits.publisher();
    shutdown.ends_within(gateway_config.drain + AFTER_DRAIN);
    let room = room();
    let wanted = publisher_config.max_connections;
    publisher_config.max_connections = limited("--publisher-max-connections", wanted, room / 4);
    let wanted = gateway_config.max_connections;
    let left = room - publisher_config.max_connections;
    gateway_config.max_connections = limited("--gateway-max-connections", wanted, left);

    let (ready, is_ready) = oneshot::channel();
    let (stop_broker, stopped) = Trigger::new();
    let mut broker = start("broker", move || {
        campanile_channel::broker::serve(broker_config, broker, stopped.begun())
    });
    let (stop_gateway, stopped) = Trigger::new();
    let mut gateway = start("gateway", move || {
        let ready = || ready.send(()).unwrap_or(());
        campanile_gateway::serve(gateway_config, gateway, ready, stopped.begun())
    });
    let (stop_publisher, stopped) = Trigger::new();
    let mut publisher = start("publisher", move || {
        campanile_publisher::serve(publisher_config, publisher, stopped.begun())
    });

    let supervised = async {
        let announced = async {
            tokio::select! {
                Ok(()) = is_ready => announce(addresses, schemes, storage.as_ref()),
                () = shutdown.clone().begun() => return,
            }
            shutdown.begun().await;
        };
        tokio::select! {
            () = announced => {}
            ended = &mut broker => return ended_early(ended),
            ended = &mut gateway => return ended_early(ended),
            ended = &mut publisher => return ended_early(ended),
        }
        stop_publisher.pull();
        let published = publisher.await;
        stop_gateway.pull();
        let delivered = gateway.await;
        stop_broker.pull();
        broker.await.and(delivered).and(published)
    };
    // Each service has its own watchdog, and all must end within the limit of the shutdown.
    pulse.during(supervised).await
}

/// Binds at least one listener; the error names the flag.
fn listen(flag: &str, address: &HostPort) -> anyhow::Result<Vec<TcpListener>> {
    address.listen().with_context(|| {
        format!("{flag} {address}: cannot listen there, give a HOST:PORT of this host that is free")
    })
}

fn addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// Starts a service on a thread of its own. The future resolves when it ends.
fn start<F, S>(name: &'static str, serve: F) -> impl Future<Output = anyhow::Result<()>> + Unpin
where
    F: FnOnce() -> S + Send + 'static,
    S: Future<Output = io::Result<()>> + 'static,
{
    let arbiter = Arbiter::new();
    let (ended, end) = oneshot::channel();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move { ended.send(serve().await) });
    });
    Box::pin(async move {
        let result = end.await.map_err(|_| anyhow!("the {name} panicked"))?;
        arbiter.stop();
        result.with_context(|| format!("the {name} failed"))
    })
}

fn ended_early(ended: anyhow::Result<()>) -> anyhow::Result<()> {
    ended.and(Err(anyhow!("a service ended by itself")))
}

/// The address by which a listener can be reached from its own host.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// How URLs of a listener begin.
fn scheme(tls: &Option<TlsSettings>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

fn announce(
    addresses: [Vec<SocketAddr>; 3],
    [pages, pushes]: [&str; 2],
    storage: Option<&Storage>,
) {
    let kept = match storage {
        None => IN_MEMORY.to_owned(),
        Some(Storage { dir, durability }) => {
            format!("events are kept in {} (durability {})", dir.display(), durability.word())
        }
    };
    let [_, page, push] = addresses.each_ref().map(|addresses| reachable(addresses[0]));
    let [broker, gateway, publisher] = addresses.map(|addresses| {
        addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
    });
    let text = format!(
        "campanile {} is up; {kept}

  broker     {broker}
  gateway    {gateway}
  publisher  {publisher}

  open       {pages}://{page}/
  listen     curl -N '{pages}://{page}/events?group=news'
  push       curl '{pushes}://{push}/?content=hello'
",
        env!("CARGO_PKG_VERSION")
    );
    // Perhaps nobody reads standard output, or it is full: neither is a reason to end or to wait.
    let announcing = move || {
        let mut output = io::stdout();
        if let Err(error) = writeln!(output, "{text}").and_then(|()| output.flush()) {
            warn!(%error, "cannot write to standard output");
        }
    };
    if let Err(error) = thread::Builder::new().name("announcement".to_owned()).spawn(announcing) {
        warn!(%error, "cannot start the thread that writes to standard output");
    }
}
