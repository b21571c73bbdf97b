//! Runs one service, or all three in one process.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use campanile_channel::broker::{BrokerConfig, Storage};
use campanile_channel::{TlsSettings, Watchdog};
use campanile_edge::Exposure;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::admin::Admin;
use crate::cli::{BrokerCommandArgs, GatewayCommandArgs, PublisherCommandArgs, UpArgs};
use crate::exposure::{self, Service};
use crate::files::{limited, room};
use crate::live::Live;
use crate::otlp::Otlp;
use crate::shutdown::{Shutdown, Trigger};
use crate::threads::start;
use crate::token_keys;
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
    (live, otlp): (&Live, &Otlp),
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let config = BrokerConfig {
        watchdog,
        secrets: live.secrets(),
        tls: live.tls.broker(),
        spans: otlp.spans(Service::Broker),
        ..args.broker.config()?
    };
    let door = Door { service: Service::Broker, is_open: args.broker.open, is_in_up: false };
    let (listeners, exposure) = door.listen(&args.broker.listen, live)?;
    if config.storage.is_none() {
        info!("{IN_MEMORY}");
    }
    notice(Service::Broker, exposure);
    if let Some(mut admin) = Admin::bind(live, otlp)? {
        admin.show_broker(&config);
        admin.start(live, &config.watchdog);
    }
    shutdown.ends_within(config.shutdown_limit + BROKER_GRACE + otlp.finish_limit());
    Ok(campanile_channel::broker::serve(config, listeners, shutdown.begun()).await?)
}

/// Runs a gateway.
pub async fn gateway(
    args: Box<GatewayCommandArgs>,
    (live, otlp): (&Live, &Otlp),
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let mut config = args.gateway.config((&args.broker).into(), "")?;
    config.broker_tls = live.tls.link();
    config.watchdog = watchdog;
    config.tls = live.tls.gateway();
    config.spans = otlp.spans(Service::Gateway);
    config.instance = Some(otlp.instance(Service::Gateway));
    config.secrets = live.secrets();
    config.access = live.token_keys.access();
    token_keys::fetch(&live.token_keys, config.unknown_key.clone(), &config.watchdog);
    config.limits = live.limits.gateway();
    let door = Door { service: Service::Gateway, is_open: args.gateway.open, is_in_up: false };
    let (listeners, exposure) = door.listen(&args.gateway.listen, live)?;
    config.exposure = exposure;
    config.max_connections = live.limits.for_gateway(room());
    for address in addresses(&listeners)? {
        info!(%address, workers = config.workers, "the gateway listens");
    }
    notice(Service::Gateway, exposure);
    if let Some(mut admin) = Admin::bind(live, otlp)? {
        admin.show_gateway(&config);
        admin.start(live, &config.watchdog);
    }
    let ready = || info!("the gateway takes connections");
    shutdown.ends_within(config.drain + config.shutdown_limit + GRACE + otlp.finish_limit());
    Ok(campanile_gateway::serve(config, listeners, ready, shutdown.begun()).await?)
}

/// Runs a publisher.
pub async fn publisher(
    args: Box<PublisherCommandArgs>,
    (live, otlp): (&Live, &Otlp),
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let mut config = args.publisher.config((&args.broker).into(), "")?;
    config.broker_tls = live.tls.link();
    config.watchdog = watchdog;
    config.tls = live.tls.publisher();
    config.spans = otlp.spans(Service::Publisher);
    config.instance = Some(otlp.instance(Service::Publisher));
    config.secrets = live.secrets();
    config.keys = live.keys();
    config.addresses = live.limits.publisher();
    let door = Door { service: Service::Publisher, is_open: args.publisher.open, is_in_up: false };
    let (listeners, exposure) = door.listen(&args.publisher.listen, live)?;
    config.exposure = exposure;
    config.max_connections = limited("--max-connections", config.max_connections, room());
    for address in addresses(&listeners)? {
        info!(%address, "the publisher listens");
    }
    notice(Service::Publisher, exposure);
    if let Some(mut admin) = Admin::bind(live, otlp)? {
        admin.show_publisher(&config);
        admin.start(live, &config.watchdog);
    }
    shutdown.ends_within(config.shutdown_limit + GRACE + otlp.finish_limit());
    Ok(campanile_publisher::serve(config, listeners, shutdown.begun()).await?)
}

/// Runs all three services over real links, each on a thread of its own. They end in the order in
/// which everything that was accepted is still delivered.
pub async fn up(
    args: Box<UpArgs>,
    (live, otlp): (&Live, &Otlp),
    shutdown: Shutdown,
    watchdog: Watchdog,
) -> anyhow::Result<()> {
    let door = |service, is_open| Door { service, is_open, is_in_up: true };
    let (broker, broker_exposure) =
        door(Service::Broker, args.broker.open).listen(&args.broker.listen, live)?;
    let (gateway, gateway_exposure) =
        door(Service::Gateway, args.gateway.open).listen(&args.gateway.listen, live)?;
    let (publisher, publisher_exposure) =
        door(Service::Publisher, args.publisher.open).listen(&args.publisher.listen, live)?;
    let exposures = [broker_exposure, gateway_exposure, publisher_exposure];
    let addresses = [addresses(&broker)?, addresses(&gateway)?, addresses(&publisher)?];
    let [link, _, push] = addresses.each_ref().map(|addresses| reachable(addresses[0]));

    let admin = Admin::bind(live, otlp)?;
    let operators = admin.as_ref().map(Admin::address);
    let pulse = watchdog.watch("up");
    let mut broker_config = args.broker.config()?;
    let storage = broker_config.storage.clone();
    let mut gateway_config = args.gateway.config(link.to_string().into(), "gateway-")?;
    gateway_config.publisher_url.get_or_insert_with(|| match addresses[2][0].ip() {
        // Whoever opens the page knows this host by a name, and reaches the publisher by it, too.
        ip if ip.is_unspecified() => format!(":{}", push.port()),
        _ => format!("{}://{push}", scheme(&live.tls.publisher())),
    });
    let mut publisher_config = args.publisher.config(link.to_string().into(), "publisher-")?;
    gateway_config.tls = live.tls.gateway();
    publisher_config.tls = live.tls.publisher();
    let schemes = [&gateway_config.tls, &publisher_config.tls].map(scheme);
    broker_config.shutdown_limit = broker_config.shutdown_limit.min(SHARE);
    gateway_config.shutdown_limit = gateway_config.shutdown_limit.min(SHARE);
    publisher_config.shutdown_limit = publisher_config.shutdown_limit.min(SHARE);
    gateway_config.exposure = gateway_exposure;
    publisher_config.exposure = publisher_exposure;
    broker_config.spans = otlp.spans(Service::Broker);
    gateway_config.spans = otlp.spans(Service::Gateway);
    gateway_config.instance = Some(otlp.instance(Service::Gateway));
    publisher_config.spans = otlp.spans(Service::Publisher);
    publisher_config.instance = Some(otlp.instance(Service::Publisher));
    broker_config.watchdog = watchdog.clone();
    gateway_config.watchdog = watchdog.clone();
    publisher_config.watchdog = watchdog;
    broker_config.secrets = live.secrets();
    gateway_config.secrets = live.secrets();
    gateway_config.access = live.token_keys.access();
    token_keys::fetch(
        &live.token_keys,
        gateway_config.unknown_key.clone(),
        &gateway_config.watchdog,
    );
    gateway_config.limits = live.limits.gateway();
    publisher_config.secrets = live.secrets();
    publisher_config.keys = live.keys();
    publisher_config.addresses = live.limits.publisher();
    shutdown.ends_within(gateway_config.drain + AFTER_DRAIN + otlp.finish_limit());
    let room = room();
    let wanted = publisher_config.max_connections;
    publisher_config.max_connections = limited("--publisher-max-connections", wanted, room / 4);
    let left = room - publisher_config.max_connections;
    gateway_config.max_connections = live.limits.for_gateway(left);

    let only_here = addresses[1].iter().all(|address| address.ip().to_canonical().is_loopback());
    let has_page = gateway_config.page.unwrap_or(only_here);

    if let Some(mut admin) = admin {
        admin.show_broker(&broker_config);
        admin.show_gateway(&gateway_config);
        admin.show_publisher(&publisher_config);
        admin.start(live, &gateway_config.watchdog);
    }

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
                Ok(()) = is_ready => {
                    announce(addresses, operators, schemes, exposures, has_page, storage.as_ref());
                }
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

/// Where a service is reached.
#[derive(Clone, Copy)]
struct Door {
    service: Service,
    /// Whether somebody said that everybody may use it.
    is_open: bool,
    is_in_up: bool,
}

impl Door {
    /// Binds at least one listener, unless the service would be too open. Errors name the flag.
    fn listen(
        self,
        address: &HostPort,
        live: &Live,
    ) -> anyhow::Result<(Vec<TcpListener>, Exposure)> {
        let Self { service, is_open, is_in_up } = self;
        let prefix = if is_in_up { service.prefix() } else { "" };
        let flag = || {
            format!(
                "--{prefix}listen {address}: cannot listen there, give a HOST:PORT of this host that is \
                 free"
            )
        };
        let addresses = address.addresses().with_context(flag)?;
        let is_authenticated = live.is_authenticated(service);
        // Before it listens, so that nobody gets in meanwhile.
        let exposure = exposure::check(service, &addresses, is_authenticated, is_open, is_in_up)?;
        Ok((address.listen(&addresses).with_context(flag)?, exposure))
    }
}

/// Says in the log that a service is open.
fn notice(service: Service, exposure: Exposure) {
    match (exposure::notice(service, exposure), exposure) {
        (Some(notice), Exposure::Open) => warn!("{notice}"),
        (Some(notice), _) => info!("{notice}"),
        (None, _) => {}
    }
}

fn addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
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
    operators: Option<SocketAddr>,
    [pages, pushes]: [&str; 2],
    exposures: [Exposure; 3],
    has_page: bool,
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
    let names = ["broker", "gateway", "publisher"].into_iter().zip(exposures);
    let open = names.filter(|(_, exposure)| exposure.is_open()).map(|(name, _)| name);
    let open: Vec<_> = open.collect();
    let notice = match open.is_empty() {
        true => String::new(),
        false => format!(
            "  without authentication, anybody who reaches them may do anything: {}\n",
            open.join(", ")
        ),
    };
    let [_, listening, pushing] = exposures.map(Exposure::is_open);
    let token = if listening { "" } else { " -H 'Authorization: Bearer TOKEN'" };
    let key = if pushing { "" } else { " -H 'Authorization: Bearer KEY'" };
    let page_line =
        if has_page { format!("  open       {pages}://{page}/\n") } else { String::new() };
    let operators = operators
        .map(|address| format!("  operators  {address}, with /console and /metrics\n"))
        .unwrap_or_default();
    let text = format!(
        "campanile {} is up; {kept}

  broker     {broker}
  gateway    {gateway}
  publisher  {publisher}
{operators}{notice}
{page_line}  listen     curl -N '{pages}://{page}/events?group=news'{token}
  push       curl '{pushes}://{push}/?content=hello'{key}
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
