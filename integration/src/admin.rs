//! The listener for operators of this process: whether and where it listens, and what it shows.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use campanile_admin::{Access, AdminConfig, HealthCheck, Mount, Opened, ProcessMeters};
use campanile_channel::broker::BrokerConfig;
use campanile_channel::{TlsSettings, Watchdog};
use campanile_edge::{Exposure, most_exposed};
use campanile_gateway::GatewayConfig;
use campanile_publisher::PublisherConfig;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use crate::cli::AdminArgs;
use crate::exposure::Service;
use crate::live::Live;
use crate::otlp::Otlp;
use crate::process_meters::{DiskRoom, Expiry, LogAndWatchdog};
use crate::threads::start;
use crate::units::{AdminAddress, HostPort};

/// A bound listener for operators, and what it will show.
pub struct Admin {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    access: Access,
    registry: Registry,
    health: Vec<HealthCheck>,
    mounted: Vec<Mount>,
    tls: Option<TlsSettings>,
}

impl Admin {
    /// Binds the listener. `None` if there is to be none, or if nobody said where and the default address
    /// is taken, which the log says.
    ///
    /// # Errors
    /// If the address that somebody named cannot be bound, or would be open to others by mistake.
    pub fn bind(live: &Live, otlp: &Otlp) -> anyhow::Result<Option<Self>> {
        let Some(AdminArgs { service, listen, opened }) = live.admin() else { return Ok(None) };
        let address = match listen {
            Some(AdminAddress::Off) => return Ok(None),
            Some(AdminAddress::At(address)) => address.clone(),
            None => default_address(*service),
        };
        let flag = || {
            format!(
                "--admin-listen {address}: cannot listen there, give a HOST:PORT of this host that is free, \
                 or off"
            )
        };
        let addresses = address.addresses().with_context(flag)?;
        let is_guarded = live.has_keys() || (*opened != Opened::default() && !opened.all);
        let ips = addresses.iter().map(|address| address.ip());
        let exposure = Exposure::of(ips, is_guarded, opened.all).with_context(|| {
            format!(
                "--admin-listen {address}: without an API key anybody who reaches this address could see \
                 what happens; accepted is a loopback address, an API key ([[keys]]) with the scope read, \
                 --admin-open health,metrics ([{0}] admin_open) if everybody may see these, or \
                 --admin-open all",
                service.name()
            )
        })?;
        let listeners = match (address.listen(&addresses), listen) {
            (Ok(listeners), _) => listeners,
            (Err(error), None) => {
                warn!(
                    %address, %error,
                    "there is no listener for operators: its address is taken; --admin-listen names another"
                );
                return Ok(None);
            }
            (bound @ Err(_), Some(_)) => bound.with_context(flag)?,
        };
        let bound = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let ips = bound.iter().map(SocketAddr::ip);
        let listens_on = most_exposed(ips).context("no address")?;
        // Who asks from the same host need not check a name for that.
        let tls =
            (!listens_on.to_canonical().is_loopback()).then(|| live.tls.of(*service)).flatten();
        for address in &bound {
            info!(%address, tls = tls.is_some(), "operators are answered");
        }
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("campanile_build", "The release that runs", build);
        registry.register_collector(Box::new(ProcessMeters));
        otlp.meters().register(&mut registry);
        registry.register(Expiry::NAME, Expiry::HELP, live.tls.expiry.metric());
        let access = Access { exposure, listens_on, opened: *opened };
        let (health, mounted) = (Vec::new(), Vec::new());
        Ok(Some(Self { listeners, addresses: bound, access, registry, health, mounted, tls }))
    }

    /// Where it can be reached from this host.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Shows the numbers and the health of the broker.
    pub fn show_broker(&mut self, config: &BrokerConfig) {
        config.meters.register(&mut self.registry);
        if let Some(storage) = &config.storage {
            match DiskRoom::of(storage.dir.clone()) {
                Ok(disk) => self.registry.register_collector(Box::new(disk)),
                Err(error) => warn!(%error, "there is no thread that looks at the disk"),
            }
        }
        let health = config.health.clone();
        let hindrance = Box::new(move || health.hindrance());
        self.health.push(HealthCheck { service: "broker", hindrance });
    }

    /// Shows the health of the gateway.
    pub fn show_gateway(&mut self, config: &GatewayConfig) {
        config.meters.register(&mut self.registry);
        let (health, access) = (config.health.clone(), config.access.clone());
        let hindrance = Box::new(move || health.hindrance().or(access.borrow().hindrance()));
        self.health.push(HealthCheck { service: "gateway", hindrance });
    }

    /// Shows the numbers and the health of the publisher, and what it learns of the cluster.
    pub fn show_publisher(&mut self, config: &PublisherConfig) {
        config.meters.register(&mut self.registry);
        let health = config.health.clone();
        let hindrance = Box::new(move || health.readiness().hindrance());
        self.health.push(HealthCheck { service: "publisher", hindrance });
        self.mounted.push(campanile_console::mount(&config.inquirer, &config.composer));
    }

    /// Answers operators on a thread of its own until the process ends: how the services shut down is shown,
    /// too. A failure is logged, and the services go on.
    pub fn start(self, live: &Live, watchdog: &Watchdog) {
        let Self { listeners, access, mut registry, health, mounted, tls, .. } = self;
        registry.register_collector(Box::new(LogAndWatchdog(watchdog.clone())));
        let (keys, watchdog) = (live.keys(), watchdog.clone());
        let config = AdminConfig { access, keys, registry, health, mounted, tls, watchdog };
        let serving = start("listener for operators", move || {
            campanile_admin::serve(config, listeners, std::future::pending())
        });
        actix_rt::spawn(async move {
            if let Err(error) = serving.await {
                warn!(error = format!("{error:#}"), "operators are not answered any more");
            }
        });
    }
}

fn default_address(service: Service) -> HostPort {
    let port = match service {
        Service::Broker => 2216,
        Service::Gateway => 4246,
        Service::Publisher => 4247,
    };
    format!("127.0.0.1:{port}").parse().expect("it is an address")
}
