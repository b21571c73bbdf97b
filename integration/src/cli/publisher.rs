//! The flags of a publisher.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use campanile_admin::Opened;
use campanile_channel::brokers::Brokers;
use campanile_edge::{AddressLimits, AllowHosts, AllowOrigins, Networks, PerAddress};
use campanile_publisher::{PublisherConfig, default_addresses, fixed_addresses};
use clap::Args;

use super::PublisherOtlp;
use crate::units::{
    AdminAddress, BrokerAddresses, HostPort, answer_limit, content_size, count, duration,
    positive_duration, size,
};

/// A publisher on its own.
#[derive(Debug, Clone, Args)]
pub struct PublisherCommandArgs {
    /// Address of the broker, or of several that share one log, separated by commas; tls://HOST:PORT if they
    /// speak TLS
    #[arg(id = "publisher-broker", long = "broker", value_name = "HOST:PORT")]
    #[arg(alias = "channel")]
    #[arg(env = "CAMPANILE_PUBLISHER_BROKER", default_value = "127.0.0.1:2206")]
    pub broker: BrokerAddresses,
    /// Authorities, in a PEM file, that may have signed the certificate of a broker with tls://: one of
    /// your own, or the system's, such as /etc/ssl/certs/ca-certificates.crt [default: none]
    #[arg(id = "publisher-broker-ca", long = "broker-ca", value_name = "FILE")]
    #[arg(env = "CAMPANILE_PUBLISHER_BROKER_CA")]
    pub broker_ca: Option<PathBuf>,
    /// Certificate to show the broker, in a PEM file, where it has a --client-ca [default: none]
    #[arg(id = "publisher-link-cert", long = "link-cert", value_name = "FILE")]
    #[arg(env = "CAMPANILE_PUBLISHER_LINK_CERT")]
    pub link_cert: Option<PathBuf>,
    /// Private key of --link-cert, in a PEM file [default: none]
    #[arg(id = "publisher-link-key", long = "link-key", value_name = "FILE")]
    #[arg(env = "CAMPANILE_PUBLISHER_LINK_KEY")]
    pub link_key: Option<PathBuf>,
    /// File with the cluster's secret, as the broker has it; or CAMPANILE_PUBLISHER_SECRET has the secret
    /// itself [default: none]
    #[arg(id = "publisher-secret-file", long = "secret-file", value_name = "FILE")]
    #[arg(env = "CAMPANILE_PUBLISHER_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,
    /// Address of the listener for operators, with the metrics and health checks; or off [default:
    /// 127.0.0.1:4247, or none if that is taken]
    #[arg(id = "publisher-admin-listen", long = "admin-listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_PUBLISHER_ADMIN_LISTEN")]
    pub admin_listen: Option<AdminAddress>,
    /// What everybody who reaches the listener for operators may see without an API key, separated by
    /// commas: health, metrics, or all, as long as there are no keys [default: none off loopback]
    #[arg(id = "publisher-admin-open", long = "admin-open", value_name = "PATHS")]
    #[arg(env = "CAMPANILE_PUBLISHER_ADMIN_OPEN")]
    pub admin_open: Option<Opened>,
    #[command(flatten)]
    pub otlp: PublisherOtlp,
    #[command(flatten)]
    pub publisher: PublisherArgs,
}

/// A publisher's flags, without the broker's address.
#[derive(Debug, Clone, Args)]
pub struct PublisherArgs {
    /// Address to listen on for pushes; a host name means all of its addresses
    #[arg(id = "publisher-listen", long = "listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_PUBLISHER_LISTEN", default_value = "127.0.0.1:4237")]
    pub listen: HostPort,
    /// Let everybody who reaches the address push, although there is no API key
    #[arg(id = "publisher-open", long = "open", env = "CAMPANILE_PUBLISHER_OPEN")]
    pub open: bool,
    /// Log every push, with the name of its key, the kind of its audience, its bytes, result and duration
    #[arg(
        id = "publisher-access-log",
        long = "access-log",
        env = "CAMPANILE_PUBLISHER_ACCESS_LOG"
    )]
    pub access_log: bool,
    /// Certificate of the listener, followed by its chain, in a PEM file; with --tls-key, the listener
    /// speaks TLS. Read again on SIGHUP [default: none, plain HTTP]
    #[arg(id = "publisher-tls-cert", long = "tls-cert", value_name = "FILE")]
    #[arg(env = "CAMPANILE_PUBLISHER_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, in a PEM file [default: none]
    #[arg(id = "publisher-tls-key", long = "tls-key", value_name = "FILE")]
    #[arg(env = "CAMPANILE_PUBLISHER_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// The largest content, at most 16MiB; a larger one is answered 413
    #[arg(id = "publisher-max-content", long = "max-content", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_PUBLISHER_MAX_CONTENT", default_value = "1MiB")]
    #[arg(value_parser = content_size)]
    pub max_content: usize,
    /// Bytes of content that may be on their way at a time, three quarters of them from one address; a
    /// push beyond that is answered 503
    #[arg(id = "publisher-max-pending", long = "max-pending", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_PUBLISHER_MAX_PENDING", default_value = "64MiB", value_parser = size)]
    pub max_pending: usize,
    /// The most HTTP connections at a time; more wait to be accepted
    #[arg(id = "publisher-max-connections", long = "max-connections", value_name = "N")]
    #[arg(env = "CAMPANILE_PUBLISHER_MAX_CONNECTIONS", default_value = "4096")]
    #[arg(value_parser = count::<1, 1_000_000>)]
    pub max_connections: usize,
    /// The most connections of one address (an IPv4 address or an IPv6 /64) at a time; one more is
    /// answered 503; 0 means no limit [default: 500, and no limit for loopback and for a private
    /// address that sends X-Forwarded-For without being in --trusted-proxies]
    #[arg(id = "publisher-max-connections-per-address", long = "max-connections-per-address")]
    #[arg(value_name = "N", env = "CAMPANILE_PUBLISHER_MAX_CONNECTIONS_PER_ADDRESS")]
    #[arg(value_parser = count::<0, 1_000_000>)]
    pub max_connections_per_address: Option<usize>,
    /// Addresses and networks of your proxies, separated by commas, such as 10.0.0.0/8; the address of a
    /// caller behind them is taken from X-Forwarded-For, read from the right [default: none]
    #[arg(id = "publisher-trusted-proxies", long = "trusted-proxies", value_name = "NETWORKS")]
    #[arg(env = "CAMPANILE_PUBLISHER_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<Networks>,
    /// Every connection begins with a PROXY header (version 1 or 2) from an address in
    /// --trusted-proxies; any other connection is closed
    #[arg(id = "publisher-proxy-protocol", long = "proxy-protocol")]
    #[arg(env = "CAMPANILE_PUBLISHER_PROXY_PROTOCOL")]
    pub proxy_protocol: bool,
    /// How long a caller may take for its first request's head before it is answered 408
    #[arg(id = "publisher-head-limit", long = "head-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_HEAD_LIMIT", default_value = "5s")]
    #[arg(value_parser = positive_duration)]
    pub head_limit: Duration,
    /// How long a caller may take for a body before it is answered 408
    #[arg(id = "publisher-body-limit", long = "body-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_BODY_LIMIT", default_value = "30s")]
    #[arg(value_parser = positive_duration)]
    pub body_limit: Duration,
    /// How long an HTTP connection may be idle between two requests
    #[arg(id = "publisher-keep-alive", long = "keep-alive", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_KEEP_ALIVE", default_value = "75s")]
    #[arg(value_parser = positive_duration)]
    pub keep_alive: Duration,
    /// How long a push waits for a broker that cannot be reached before it is answered 503
    #[arg(id = "publisher-broker-wait", long = "broker-wait", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_BROKER_WAIT", default_value = "5s", value_parser = duration)]
    pub broker_wait: Duration,
    /// How long a push that was sent waits for its confirmation before it is answered 504
    #[arg(id = "publisher-confirm-limit", long = "confirm-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_CONFIRM_LIMIT", default_value = "10s")]
    #[arg(value_parser = answer_limit)]
    pub confirm_limit: Duration,
    /// Origins whose pages may push and read the answers, separated by commas, or * [default: pages
    /// of this host, if it listens on loopback]
    #[arg(id = "publisher-allow-origin", long = "allow-origin", value_name = "ORIGINS")]
    #[arg(env = "CAMPANILE_PUBLISHER_ALLOW_ORIGIN")]
    pub allow_origin: Option<AllowOrigins>,
    /// Host names other than loopback ones, separated by commas, that the header Host may have, or *. It
    /// is checked only if --listen is a loopback address and there is no API key; then a request for any
    /// other host is answered 403 [default: none]
    #[arg(id = "publisher-allow-host", long = "allow-host", value_name = "HOSTS")]
    #[arg(env = "CAMPANILE_PUBLISHER_ALLOW_HOST")]
    pub allow_host: Option<AllowHosts>,
    /// Pushes per second of each key that has no rate of its own; a push beyond that is answered 429, and
    /// a stream waits; 0 means no limit
    #[arg(id = "publisher-max-pushes-per-second", long = "max-pushes-per-second")]
    #[arg(
        value_name = "N",
        env = "CAMPANILE_PUBLISHER_MAX_PUSHES_PER_SECOND",
        default_value = "0"
    )]
    pub max_pushes_per_second: u32,
    /// Accept keys in the URL (key=), although URLs end up in the logs of proxies; on loopback they are
    /// always accepted
    #[arg(id = "publisher-key-in-url", long = "key-in-url")]
    #[arg(env = "CAMPANILE_PUBLISHER_KEY_IN_URL")]
    pub key_in_url: bool,
    /// On shutdown, requests that have begun may take this long
    #[arg(id = "publisher-shutdown-limit", long = "shutdown-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_SHUTDOWN_LIMIT", default_value = "7s")]
    #[arg(value_parser = duration)]
    pub shutdown_limit: Duration,
}

impl PublisherArgs {
    /// The settings of a publisher whose broker is one of `broker`.
    ///
    /// # Errors
    /// If flags contradict each other; `prefix` stands before their names.
    pub fn config(&self, broker: Brokers, prefix: &str) -> anyhow::Result<PublisherConfig> {
        anyhow::ensure!(
            self.max_pending >= self.max_content,
            "--{prefix}max-pending is {}; accepted is a size from --{prefix}max-content on, {}",
            ByteSize(self.max_pending as u64),
            ByteSize(self.max_content as u64)
        );
        let addresses = self.addresses();
        anyhow::ensure!(
            !self.proxy_protocol || !addresses.trusted_proxies.is_empty(),
            "--{prefix}proxy-protocol needs --{prefix}trusted-proxies NETWORKS, the addresses from which \
             PROXY headers are accepted, such as 10.0.0.0/8"
        );
        let default = PublisherConfig::new(broker);
        Ok(PublisherConfig {
            max_content_bytes: self.max_content,
            max_pending_bytes: self.max_pending,
            // Each thread accepts at least one.
            max_connections: self.max_connections.max(default.workers),
            addresses: fixed_addresses(addresses),
            proxy_protocol: self.proxy_protocol,
            head_limit: self.head_limit,
            body_limit: self.body_limit,
            keep_alive: self.keep_alive,
            broker_wait: self.broker_wait,
            confirm_limit: self.confirm_limit,
            allow_origins: self.allow_origin.clone().unwrap_or_default(),
            allow_hosts: self.allow_host.clone().unwrap_or_default(),
            access_log: self.access_log,
            key_in_url: self.key_in_url,
            shutdown_limit: self.shutdown_limit,
            ..default
        })
    }

    /// The limits of addresses, which may change while the publisher runs.
    pub fn addresses(&self) -> AddressLimits {
        let default = default_addresses();
        let max_connections =
            self.max_connections_per_address.map_or(default.max_connections, |count| {
                PerAddress::set(u32::try_from(count).unwrap_or(u32::MAX))
            });
        let trusted_proxies = self.trusted_proxies.clone().unwrap_or_default();
        AddressLimits { max_connections, trusted_proxies, ..default }
    }
}
