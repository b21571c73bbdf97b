//! The flags of the broker.

use std::path::PathBuf;
use std::time::Duration;

use campanile_admin::Opened;
use campanile_channel::broker::{BrokerConfig, Storage};
use campanile_messages::Durability;
use clap::{Args, ValueEnum};

use super::BrokerOtlp;
use crate::units::{AdminAddress, HostPort, count, duration, positive_duration, size};

/// A broker on its own.
#[derive(Debug, Clone, Args)]
pub struct BrokerCommandArgs {
    /// Certificate of the listener, followed by its chain, in a PEM file; with --tls-key, links must use
    /// TLS. Read again on SIGHUP [default: none, links are not encrypted]
    #[arg(id = "broker-tls-cert", long = "tls-cert", value_name = "FILE")]
    #[arg(env = "CAMPANILE_BROKER_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, in a PEM file [default: none]
    #[arg(id = "broker-tls-key", long = "tls-key", value_name = "FILE")]
    #[arg(env = "CAMPANILE_BROKER_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Authorities, in a PEM file; gateways and publishers need a certificate from one of them (their
    /// --link-cert) [default: none, they need no certificate]
    #[arg(id = "broker-client-ca", long = "client-ca", value_name = "FILE")]
    #[arg(env = "CAMPANILE_BROKER_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,
    /// Address of the listener for operators, with the metrics and health checks; or off [default:
    /// 127.0.0.1:2216, or none if that is taken]
    #[arg(id = "broker-admin-listen", long = "admin-listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_BROKER_ADMIN_LISTEN")]
    pub admin_listen: Option<AdminAddress>,
    /// What everybody who reaches the listener for operators may see without an API key, separated by
    /// commas: health, metrics, or all, as long as there are no keys [default: none off loopback]
    #[arg(id = "broker-admin-open", long = "admin-open", value_name = "PATHS")]
    #[arg(env = "CAMPANILE_BROKER_ADMIN_OPEN")]
    pub admin_open: Option<Opened>,
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// The broker's flags, without those for links from outside the process.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// Address to listen on for gateways and publishers; a host name means all of its addresses
    #[arg(id = "broker-listen", long = "listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_BROKER_LISTEN", default_value = "127.0.0.1:2206")]
    pub listen: HostPort,
    /// Let everybody who reaches the address use this broker, although there is no cluster secret
    #[arg(id = "broker-open", long = "open", env = "CAMPANILE_BROKER_OPEN")]
    pub open: bool,
    /// File with the cluster's secret, which this process and all other services of the cluster prove to
    /// each other, with two lines while it is replaced; or CAMPANILE_BROKER_SECRET has the secret itself
    /// [default: none, anybody may link]
    #[arg(id = "secret-file", long, value_name = "FILE")]
    #[arg(env = "CAMPANILE_BROKER_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,
    /// Directory for the log, which then survives the end of the broker; created if it does not exist
    /// [default: none, the log is in memory only]
    #[arg(id = "data-dir", long, value_name = "DIR")]
    #[arg(env = "CAMPANILE_BROKER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// How durable an accepted push is in --data-dir: on disk (it survives a loss of power), written
    /// (handed to the system: it survives the end of the broker), or in memory (it survives an
    /// orderly stop)
    #[arg(id = "durability", long, value_name = "HOW")]
    #[arg(env = "CAMPANILE_BROKER_DURABILITY", value_enum)]
    pub durability: Option<HowDurable>,
    /// Bytes that may wait for one link; a link beyond it is cut and comes back
    #[arg(id = "broker-link-queue", long = "link-queue", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_BROKER_LINK_QUEUE", default_value = "64MiB", value_parser = size)]
    pub link_queue: usize,
    /// Bytes of recent events kept for clients and gateways that come back; older ones are dropped
    #[arg(id = "broker-log-size", long = "log-size", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_BROKER_LOG_SIZE", default_value = "64MiB", value_parser = size)]
    pub log_size: usize,
    /// How long recent events are kept: how long a client may be away without missing anything
    #[arg(id = "broker-log-age", long = "log-age", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_BROKER_LOG_AGE", default_value = "5m")]
    #[arg(value_parser = positive_duration)]
    pub log_age: Duration,
    /// How long a gateway may take to come back before its connections count as gone; for the same time
    /// after the broker's start, no event is dropped because of its age
    #[arg(id = "broker-return-limit", long = "return-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_BROKER_RETURN_LIMIT", default_value = "20s")]
    #[arg(value_parser = positive_duration)]
    pub return_limit: Duration,
    /// The most ids of pushes that are remembered, each for 150 s; a push with a further id is answered 503
    #[arg(id = "broker-max-ids", long = "max-ids", value_name = "N")]
    #[arg(env = "CAMPANILE_BROKER_MAX_IDS", default_value = "500000")]
    #[arg(value_parser = count::<1, 100_000_000>)]
    pub max_ids: usize,
    /// The most links; one more is refused
    #[arg(id = "broker-max-links", long = "max-links", value_name = "N")]
    #[arg(env = "CAMPANILE_BROKER_MAX_LINKS", default_value = "1024")]
    #[arg(value_parser = count::<1, 1_000_000>)]
    pub max_links: usize,
    /// On shutdown, how long links and the disk have to take what waits for them; the rest is given up
    #[arg(id = "broker-shutdown-limit", long = "shutdown-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_BROKER_SHUTDOWN_LIMIT", default_value = "5s", value_parser = duration)]
    pub shutdown_limit: Duration,
    #[command(flatten)]
    pub otlp: BrokerOtlp,
}

/// [`Durability`] as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HowDurable {
    Disk,
    Written,
    Memory,
}

impl From<HowDurable> for Durability {
    fn from(how: HowDurable) -> Self {
        match how {
            HowDurable::Disk => Self::Disk,
            HowDurable::Written => Self::Written,
            HowDurable::Memory => Self::Memory,
        }
    }
}

impl BrokerArgs {
    /// The settings of the broker.
    ///
    /// # Errors
    /// If flags contradict each other.
    pub fn config(&self) -> anyhow::Result<BrokerConfig> {
        let promises_more = self.durability.is_some_and(|how| how != HowDurable::Memory);
        anyhow::ensure!(
            self.data_dir.is_some() || !promises_more,
            "--durability promises more than memory; that is accepted with a --data-dir"
        );
        let durability = self.durability.unwrap_or(HowDurable::Disk).into();
        Ok(BrokerConfig {
            storage: self.data_dir.clone().map(|dir| Storage { dir, durability }),
            max_link_queue_bytes: self.link_queue,
            log_max_bytes: self.log_size,
            log_max_age: self.log_age,
            max_links: self.max_links,
            return_limit: self.return_limit,
            max_ids: self.max_ids,
            shutdown_limit: self.shutdown_limit,
            ..BrokerConfig::default()
        })
    }
}
