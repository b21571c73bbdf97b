//! The flags of the services that run in a process, whichever command started them.

use std::path::PathBuf;

use campanile_admin::Opened;

use super::{BrokerArgs, BrokerCommandArgs, Command, GatewayArgs, PublisherArgs};
use crate::exposure::{SERVICES, Service};
use crate::otlp::OtlpUrl;
use crate::secrets::ClusterSecret;
use crate::units::{AdminAddress, BrokerAddresses};

/// The flags of the services that run in this process.
#[derive(Debug, Clone, Default)]
pub struct ServiceArgs {
    /// Those of a broker.
    pub broker: Option<BrokerArgs>,
    /// Those of a gateway.
    pub gateway: Option<GatewayArgs>,
    /// Those of a publisher.
    pub publisher: Option<PublisherArgs>,
    /// Where the secret of their links is. In `up`, it is the broker's.
    pub cluster_secret: Option<ClusterSecret>,
    /// TLS of the links to or from other processes.
    pub links: LinkFiles,
    /// The listener for operators. In `up`, it is the gateway's.
    pub admin: Option<AdminArgs>,
    /// Where spans go. In `up`, it is the broker's.
    pub otlp: Option<OtlpUrl>,
}

/// Where the listener for operators is, and what is open there.
#[derive(Debug, Clone)]
pub struct AdminArgs {
    /// The service whose flags these are.
    pub service: Service,
    /// `None` if nobody said where.
    pub listen: Option<AdminAddress>,
    /// What needs no key.
    pub opened: Opened,
}

impl AdminArgs {
    fn new(service: Service, listen: &Option<AdminAddress>, opened: Option<Opened>) -> Self {
        Self { service, listen: listen.clone(), opened: opened.unwrap_or_default() }
    }
}

impl ServiceArgs {
    /// Whether a service runs.
    pub fn has(&self, service: Service) -> bool {
        match service {
            Service::Broker => self.broker.is_some(),
            Service::Gateway => self.gateway.is_some(),
            Service::Publisher => self.publisher.is_some(),
        }
    }

    /// The flags in a command; none if it runs no service.
    pub fn of(command: &Command) -> Self {
        let secret =
            |file: &Option<PathBuf>, variable| Some(ClusterSecret { file: file.clone(), variable });
        let of_gateway = |gateway: &GatewayArgs| {
            AdminArgs::new(Service::Gateway, &gateway.admin_listen, gateway.admin_open)
        };
        match command {
            Command::Up(up) => Self {
                broker: Some(up.broker.clone()),
                gateway: Some(up.gateway.clone()),
                publisher: Some(up.publisher.clone()),
                cluster_secret: secret(&up.broker.secret_file, "CAMPANILE_BROKER_SECRET"),
                links: LinkFiles::default(),
                admin: Some(of_gateway(&up.gateway)),
                otlp: up.broker.otlp.url.clone(),
            },
            Command::Broker(args) => Self {
                broker: Some(args.broker.clone()),
                cluster_secret: secret(&args.broker.secret_file, "CAMPANILE_BROKER_SECRET"),
                links: LinkFiles::of_broker(args),
                admin: Some(AdminArgs::new(Service::Broker, &args.admin_listen, args.admin_open)),
                otlp: args.broker.otlp.url.clone(),
                ..Self::default()
            },
            Command::Gateway(args) => Self {
                gateway: Some(args.gateway.clone()),
                cluster_secret: secret(&args.secret_file, "CAMPANILE_GATEWAY_SECRET"),
                links: LinkFiles::to_broker(
                    &args.broker,
                    [&args.broker_ca, &args.link_cert, &args.link_key],
                ),
                admin: Some(of_gateway(&args.gateway)),
                otlp: args.otlp.url.clone(),
                ..Self::default()
            },
            Command::Publisher(args) => Self {
                publisher: Some(args.publisher.clone()),
                cluster_secret: secret(&args.secret_file, "CAMPANILE_PUBLISHER_SECRET"),
                links: LinkFiles::to_broker(
                    &args.broker,
                    [&args.broker_ca, &args.link_cert, &args.link_key],
                ),
                admin: Some(AdminArgs::new(
                    Service::Publisher,
                    &args.admin_listen,
                    args.admin_open,
                )),
                otlp: args.otlp.url.clone(),
                ..Self::default()
            },
            Command::Config(_)
            | Command::Key(_)
            | Command::Token(_)
            | Command::Bench(_)
            | Command::Push(_)
            | Command::Tail(_)
            | Command::Top(_)
            | Command::Trace(_)
            | Command::BenchPart(_) => Self::default(),
        }
    }

    /// The settings of each service that do not go together, in a sentence each.
    pub fn contradictions(&self) -> Vec<String> {
        let is_in_up = self.broker.is_some() && self.gateway.is_some();
        let prefix = |service: Service| if is_in_up { service.prefix() } else { "" };
        let broker = self.broker.as_ref().map(|args| args.config().map(drop));
        let gateway = self.gateway.as_ref();
        let gateway =
            gateway.map(|args| args.config("".into(), prefix(Service::Gateway)).map(drop));
        let publisher = self.publisher.as_ref();
        let publisher =
            publisher.map(|args| args.config("".into(), prefix(Service::Publisher)).map(drop));
        let named = SERVICES.into_iter().zip([broker, gateway, publisher]);
        let failed = named.filter_map(|(service, result)| Some((service, result?.err()?)));
        failed.map(|(service, error)| format!("{}: {error:#}", service.name())).collect()
    }

    /// Whether any of them names a file that is read again at SIGHUP.
    pub fn name_files(&self) -> bool {
        let of_tls = [
            self.gateway.as_ref().map(|args| &args.tls_cert),
            self.publisher.as_ref().map(|args| &args.tls_cert),
        ];
        self.cluster_secret.as_ref().is_some_and(|secret| secret.file.is_some())
            || self.gateway.as_ref().is_some_and(|gateway| gateway.token_keys.is_some())
            || of_tls.into_iter().flatten().any(Option::is_some)
            || self.links.authorities.is_some()
            || self.links.cert.is_some()
    }
}

/// The files for TLS of links. On the side of a broker they are `--tls-cert`, `--tls-key` and
/// `--client-ca`; on the other side `--link-cert`, `--link-key` and `--broker-ca`.
#[derive(Debug, Clone, Default)]
pub struct LinkFiles {
    /// Where the broker is, on the other side.
    pub broker: Option<BrokerAddresses>,
    /// Who must have signed the peer's certificate.
    pub authorities: Option<PathBuf>,
    /// The own certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl LinkFiles {
    /// Those of a gateway or publisher: the broker's authorities, its own certificate and its key.
    fn to_broker(broker: &BrokerAddresses, files: [&Option<PathBuf>; 3]) -> Self {
        let [authorities, cert, key] = files.map(Clone::clone);
        Self { broker: Some(broker.clone()), authorities, cert, key }
    }

    fn of_broker(args: &BrokerCommandArgs) -> Self {
        Self {
            broker: None,
            authorities: args.client_ca.clone(),
            cert: args.tls_cert.clone(),
            key: args.tls_key.clone(),
        }
    }
}
