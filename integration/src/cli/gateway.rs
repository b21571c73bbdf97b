//! The flags of a gateway.

mod values;

use std::path::PathBuf;
use std::time::Duration;

use campanile_admin::Opened;
use campanile_channel::brokers::Brokers;
use campanile_edge::websocket::Limits;
use campanile_edge::{AddressLimits, AllowHosts, AllowOrigins, Networks, PerAddress};
use campanile_gateway::{ClientRates, GatewayConfig, GatewayLimits};
use clap::Args;

use crate::units::{
    AdminAddress, BrokerAddresses, HostPort, Switch, count, duration, positive_duration, size,
};

use values::{cookie_name, http_url, names};

/// A gateway on its own.
#[derive(Debug, Clone, Args)]
pub struct GatewayCommandArgs {
    /// Address of the broker, or of several that share one log, separated by commas; tls://HOST:PORT if they
    /// speak TLS
    #[arg(id = "gateway-broker", long = "broker", value_name = "HOST:PORT")]
    #[arg(alias = "channel")]
    #[arg(env = "CAMPANILE_GATEWAY_BROKER", default_value = "127.0.0.1:2206")]
    pub broker: BrokerAddresses,
    /// Authorities, in a PEM file, that may have signed the certificate of a broker with tls://: one of
    /// your own, or the system's, such as /etc/ssl/certs/ca-certificates.crt [default: none]
    #[arg(id = "gateway-broker-ca", long = "broker-ca", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_BROKER_CA")]
    pub broker_ca: Option<PathBuf>,
    /// Certificate to show the broker, in a PEM file, where it has a --client-ca [default: none]
    #[arg(id = "gateway-link-cert", long = "link-cert", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_LINK_CERT")]
    pub link_cert: Option<PathBuf>,
    /// Private key of --link-cert, in a PEM file [default: none]
    #[arg(id = "gateway-link-key", long = "link-key", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_LINK_KEY")]
    pub link_key: Option<PathBuf>,
    /// File with the cluster's secret, as the broker has it; or CAMPANILE_GATEWAY_SECRET has the secret itself
    /// [default: none]
    #[arg(id = "gateway-secret-file", long = "secret-file", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,
    #[command(flatten)]
    pub otlp: super::GatewayOtlp,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// A gateway's flags, without the broker's address.
#[derive(Debug, Clone, Args)]
pub struct GatewayArgs {
    /// Address to listen on for clients; a host name means all of its addresses
    #[arg(id = "gateway-listen", long = "listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_GATEWAY_LISTEN", default_value = "127.0.0.1:4236")]
    pub listen: HostPort,
    /// Let everybody who reaches the address listen to everything and publish, although there is no token key
    #[arg(id = "gateway-open", long = "open", env = "CAMPANILE_GATEWAY_OPEN")]
    pub open: bool,
    /// Address of the listener for operators, with the metrics and health checks; or off [default:
    /// 127.0.0.1:4246, or none if that is taken]
    #[arg(id = "gateway-admin-listen", long = "admin-listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_GATEWAY_ADMIN_LISTEN")]
    pub admin_listen: Option<AdminAddress>,
    /// What everybody who reaches the listener for operators may see without an API key, separated by
    /// commas: health, metrics, or all, as long as there are no keys [default: none off loopback]
    #[arg(id = "gateway-admin-open", long = "admin-open", value_name = "PATHS")]
    #[arg(env = "CAMPANILE_GATEWAY_ADMIN_OPEN")]
    pub admin_open: Option<Opened>,
    /// Whether the page for development is served at / [default: on, if --listen is a loopback address]
    #[arg(id = "gateway-page", long = "page", value_name = "WHETHER")]
    #[arg(env = "CAMPANILE_GATEWAY_PAGE", value_enum)]
    pub page: Option<Switch>,
    /// Log the end of every connection, with its user, duration, close code and bytes
    #[arg(id = "gateway-access-log", long = "access-log", env = "CAMPANILE_GATEWAY_ACCESS_LOG")]
    pub access_log: bool,
    /// Certificate of the listener, followed by its chain, in a PEM file; with --tls-key, the listener
    /// speaks TLS. Read again on SIGHUP [default: none, plain HTTP]
    #[arg(id = "gateway-tls-cert", long = "tls-cert", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, in a PEM file [default: none]
    #[arg(id = "gateway-tls-key", long = "tls-key", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// The most TLS handshakes under way per thread; more wait, and stalled ones make room for them
    #[arg(id = "gateway-max-tls-handshakes", long = "max-tls-handshakes", value_name = "N")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_TLS_HANDSHAKES", default_value = "1024")]
    #[arg(value_parser = count::<1, 100_000>)]
    pub max_tls_handshakes: usize,
    /// Threads that hold connections [default: one per core]
    #[arg(id = "workers", long, value_name = "N", env = "CAMPANILE_GATEWAY_WORKERS")]
    #[arg(value_parser = count::<1, 1024>)]
    pub workers: Option<usize>,
    /// Where the page pushes to [default: the page's own host on port 4237, in `up` its publisher]
    #[arg(id = "gateway-publisher-url", long = "publisher-url", value_name = "URL")]
    #[arg(env = "CAMPANILE_GATEWAY_PUBLISHER_URL", value_parser = http_url)]
    pub publisher_url: Option<String>,
    /// The most connections at a time; one more is answered 503
    #[arg(id = "gateway-max-connections", long = "max-connections", value_name = "N")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_CONNECTIONS", default_value = "100000")]
    #[arg(value_parser = count::<1, 10_000_000>)]
    pub max_connections: usize,
    /// The most connections of one address (an IPv4 address or an IPv6 /64) at a time; one more is
    /// answered 503; 0 means no limit [default: 500, and no limit for loopback and for a private
    /// address that sends X-Forwarded-For without being in --trusted-proxies]
    #[arg(id = "gateway-max-connections-per-address", long = "max-connections-per-address")]
    #[arg(value_name = "N", env = "CAMPANILE_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS")]
    #[arg(value_parser = count::<0, 10_000_000>)]
    pub max_connections_per_address: Option<usize>,
    /// The most connections of one user at a time; one more is answered 503; 0 means no limit
    #[arg(id = "gateway-max-connections-per-user", long = "max-connections-per-user")]
    #[arg(value_name = "N", env = "CAMPANILE_GATEWAY_MAX_CONNECTIONS_PER_USER")]
    #[arg(default_value = "1000", value_parser = count::<0, 10_000_000>)]
    pub max_connections_per_user: usize,
    /// New connections of one address per second, and ten times as many at once; more are answered
    /// 429; 0 means no limit [default: 50, with the exceptions of --max-connections-per-address]
    #[arg(id = "gateway-max-handshakes-per-second-per-address")]
    #[arg(long = "max-handshakes-per-second-per-address", value_name = "N")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_HANDSHAKES_PER_SECOND_PER_ADDRESS")]
    #[arg(value_parser = count::<0, 1_000_000>)]
    pub max_handshakes_per_second_per_address: Option<usize>,
    /// New connections per second in all; more wait to be accepted, and none is dropped; 0 means no
    /// limit
    #[arg(id = "gateway-max-handshakes-per-second", long = "max-handshakes-per-second")]
    #[arg(value_name = "N", env = "CAMPANILE_GATEWAY_MAX_HANDSHAKES_PER_SECOND")]
    #[arg(default_value = "0", value_parser = count::<0, 1_000_000>)]
    pub max_handshakes_per_second: usize,
    /// Messages of one client per second, and ten times as many at once; more get an error, and if
    /// that goes on, close code 4429; 0 means no limit
    #[arg(id = "gateway-max-messages-per-second", long = "max-messages-per-second")]
    #[arg(value_name = "N", env = "CAMPANILE_GATEWAY_MAX_MESSAGES_PER_SECOND")]
    #[arg(default_value = "100", value_parser = count::<0, 1_000_000>)]
    pub max_messages_per_second: usize,
    /// The same for joins of groups
    #[arg(id = "gateway-max-joins-per-second", long = "max-joins-per-second")]
    #[arg(value_name = "N", env = "CAMPANILE_GATEWAY_MAX_JOINS_PER_SECOND")]
    #[arg(default_value = "50", value_parser = count::<0, 1_000_000>)]
    pub max_joins_per_second: usize,
    /// Addresses and networks of your proxies, separated by commas, such as 10.0.0.0/8; the address of a
    /// client behind them is taken from X-Forwarded-For, read from the right [default: none]
    #[arg(id = "gateway-trusted-proxies", long = "trusted-proxies", value_name = "NETWORKS")]
    #[arg(env = "CAMPANILE_GATEWAY_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<Networks>,
    /// Every connection begins with a PROXY header (version 1 or 2) from an address in
    /// --trusted-proxies; any other connection is closed
    #[arg(id = "gateway-proxy-protocol", long = "proxy-protocol")]
    #[arg(env = "CAMPANILE_GATEWAY_PROXY_PROTOCOL")]
    pub proxy_protocol: bool,
    /// The most groups of one connection; one more is refused
    #[arg(id = "gateway-max-groups", long = "max-groups", value_name = "N")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_GROUPS", default_value = "100")]
    #[arg(value_parser = count::<0, 10_000>)]
    pub max_groups: usize,
    /// Bytes that may wait for one client; a client with more is closed with 4001
    #[arg(id = "gateway-max-outbox", long = "max-outbox", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_OUTBOX", default_value = "1MiB", value_parser = size)]
    pub max_outbox: usize,
    /// Bytes that a client may have missed when it comes back; one that missed more gets `recovered: false`
    #[arg(id = "gateway-max-replay", long = "max-replay", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_REPLAY", default_value = "1MiB", value_parser = size)]
    pub max_replay: usize,
    /// Bytes of received events kept for clients that come back; the gateway asks the broker for
    /// older ones
    #[arg(id = "gateway-recent", long = "recent", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_RECENT", default_value = "16MiB", value_parser = size)]
    pub recent: usize,
    /// Origins whose pages may read event streams and open websockets, separated by commas, or *
    /// [default: pages of this host may read event streams if it listens on loopback, any page may
    /// open websockets]
    #[arg(id = "gateway-allow-origin", long = "allow-origin", value_name = "ORIGINS")]
    #[arg(env = "CAMPANILE_GATEWAY_ALLOW_ORIGIN")]
    pub allow_origin: Option<AllowOrigins>,
    /// Host names other than loopback ones, separated by commas, that the header Host may have, or *. It
    /// is checked only if --listen is a loopback address and there is no token key; then a request for any
    /// other host is answered 403 [default: none]
    #[arg(id = "gateway-allow-host", long = "allow-host", value_name = "HOSTS")]
    #[arg(env = "CAMPANILE_GATEWAY_ALLOW_HOST")]
    pub allow_host: Option<AllowHosts>,
    /// File with the key that clients' tokens are signed with: a set of keys (JWKS), a public key (PEM), or
    /// a secret of at least 32 bytes; without any key and without guests, everybody may listen to
    /// everything [default: none]
    #[arg(id = "gateway-token-keys", long = "token-keys", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_TOKEN_KEYS")]
    pub token_keys: Option<PathBuf>,
    /// Name of a cookie that may have the token; needs a list of origins in --allow-origin [default: none]
    #[arg(id = "gateway-token-cookie", long = "token-cookie", value_name = "NAME")]
    #[arg(env = "CAMPANILE_GATEWAY_TOKEN_COOKIE", value_parser = cookie_name)]
    pub token_cookie: Option<String>,
    /// Accept tokens in the URL (token=), although URLs end up in the logs of proxies; on loopback they
    /// are always accepted
    #[arg(id = "gateway-token-in-url", long = "token-in-url")]
    #[arg(env = "CAMPANILE_GATEWAY_TOKEN_IN_URL")]
    pub token_in_url: bool,
    /// Time for a client of campanile.v1 to send its token in its first message; after that it is closed
    /// with 4401
    #[arg(id = "gateway-auth-limit", long = "auth-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_AUTH_LIMIT", default_value = "10s")]
    #[arg(value_parser = positive_duration)]
    pub auth_limit: Duration,
    /// Time for a client to send a new token after the old one has expired; after that it is closed with
    /// 4401
    #[arg(id = "gateway-token-grace", long = "token-grace", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_TOKEN_GRACE", default_value = "25s", value_parser = duration)]
    pub token_grace: Duration,
    /// The most clients at a time that have not sent their token yet; one more is closed with 4429
    #[arg(id = "gateway-max-unauthenticated", long = "max-unauthenticated", value_name = "N")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_UNAUTHENTICATED", default_value = "1000")]
    #[arg(value_parser = count::<0, 10_000_000>)]
    pub max_unauthenticated: usize,
    /// The same for one address (IPv4, or the /64 of IPv6) that is not loopback
    #[arg(
        id = "gateway-max-unauthenticated-per-address",
        long = "max-unauthenticated-per-address"
    )]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_UNAUTHENTICATED_PER_ADDRESS", value_name = "N")]
    #[arg(default_value = "100", value_parser = count::<0, 10_000_000>)]
    pub max_unauthenticated_per_address: usize,
    /// Query parameters, separated by commas, that are never read because they are meant for something
    /// else, such as a proxy that checks a token; names that begin with _ are always ignored, other
    /// unknown ones are answered 400 [default: none]
    #[arg(id = "gateway-ignore-params", long = "ignore-params", value_name = "NAMES")]
    #[arg(env = "CAMPANILE_GATEWAY_IGNORE_PARAMS", value_delimiter = ',')]
    pub ignore_params: Vec<String>,
    /// The largest message of a client; a larger one closes it with 1009
    #[arg(id = "gateway-max-message", long = "max-message", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_MESSAGE", default_value = "64KiB", value_parser = size)]
    pub max_message: usize,
    /// The most fragments of a client's message; more close it with 1009
    #[arg(id = "gateway-max-fragments", long = "max-fragments", value_name = "N")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_FRAGMENTS", default_value = "1024")]
    #[arg(value_parser = count::<1, 1_000_000>)]
    pub max_fragments: usize,
    /// Events that a connection may publish per second, and all connections of a user together; at
    /// once, as many as in 10 seconds. Beyond that, a publish gets the error rate_limited, and a client that
    /// goes on is closed with 4429. 0 means no limit
    #[arg(
        id = "gateway-max-publishes-per-second",
        long = "max-publishes-per-second",
        value_name = "N"
    )]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_PUBLISHES_PER_SECOND", default_value = "20")]
    #[arg(value_parser = count::<0, 1_000_000>)]
    pub max_publishes_per_second: usize,
    /// Bytes of what clients publish that may be under way to the broker; a publish beyond that gets the error
    /// busy
    #[arg(id = "gateway-max-pending", long = "max-pending", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_PENDING", default_value = "16MiB", value_parser = size)]
    pub max_pending: usize,
    /// Time for a client's TLS handshake and request together (then 408), and for the broker to confirm what it
    /// listens to (then close code 1013)
    #[arg(id = "gateway-handshake-limit", long = "handshake-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_HANDSHAKE_LIMIT", default_value = "10s")]
    #[arg(value_parser = positive_duration)]
    pub handshake_limit: Duration,
    /// A client that was silent for this long is sent a ping
    #[arg(id = "gateway-ping-after", long = "ping-after", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_PING_AFTER", default_value = "25s")]
    #[arg(value_parser = positive_duration)]
    pub ping_after: Duration,
    /// A client that was silent for this long is closed with 1011; longer than --ping-after
    #[arg(id = "gateway-silence-limit", long = "silence-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_SILENCE_LIMIT", default_value = "60s")]
    #[arg(value_parser = positive_duration)]
    pub silence_limit: Duration,
    /// A client that acknowledges nothing for this long is disconnected (TCP_USER_TIMEOUT)
    #[arg(id = "gateway-user-timeout", long = "user-timeout", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_USER_TIMEOUT", default_value = "20s")]
    #[arg(value_parser = positive_duration)]
    pub user_timeout: Duration,
    /// Without a broker for this long, clients are sent away over --drain (close code 1013) and new
    /// ones refused, because another gateway may have one; 0s keeps them. Set it to the same value as the
    /// broker's return limit
    #[arg(id = "gateway-return-limit", long = "return-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_RETURN_LIMIT", default_value = "20s", value_parser = duration)]
    pub return_limit: Duration,
    /// On shutdown, clients are asked to leave, spread over this time
    #[arg(id = "gateway-drain", long = "drain", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_DRAIN", default_value = "5s", value_parser = duration)]
    pub drain: Duration,
    /// After --drain, connections that have not ended within this time are cut
    #[arg(id = "gateway-shutdown-limit", long = "shutdown-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_SHUTDOWN_LIMIT", default_value = "2s", value_parser = duration)]
    pub shutdown_limit: Duration,
}

impl GatewayArgs {
    /// The settings of a gateway whose broker is one of `broker`.
    ///
    /// # Errors
    /// If flags contradict each other; `prefix` stands before their names.
    pub fn config(&self, broker: Brokers, prefix: &str) -> anyhow::Result<GatewayConfig> {
        let default = GatewayConfig::default();
        anyhow::ensure!(
            self.silence_limit > self.ping_after,
            "--{prefix}silence-limit is {:?}; accepted is a duration above --{prefix}ping-after, {:?}",
            self.silence_limit,
            self.ping_after
        );
        anyhow::ensure!(
            self.token_cookie.is_none()
                || matches!(self.allow_origin, Some(AllowOrigins::Only(ref list)) if !list.is_empty()),
            "--{prefix}token-cookie needs a list of origins in --{prefix}allow-origin, because a browser \
             sends a cookie whatever page makes it send the request"
        );
        let trusted_proxies = self.trusted_proxies.clone().unwrap_or_default();
        anyhow::ensure!(
            !self.proxy_protocol || !trusted_proxies.is_empty(),
            "--{prefix}proxy-protocol needs --{prefix}trusted-proxies NETWORKS, the addresses from which \
             PROXY headers are accepted, such as 10.0.0.0/8"
        );
        Ok(GatewayConfig {
            limits: self.limits().fixed(),
            proxy_protocol: self.proxy_protocol,
            broker,
            workers: self.workers.unwrap_or(default.workers),
            publisher_url: self.publisher_url.clone(),
            max_connections: self.max_connections,
            max_groups: self.max_groups,
            max_outbox_bytes: self.max_outbox,
            max_replay_bytes: self.max_replay,
            recent_bytes: self.recent,
            allow_origins: self.allow_origin.clone().unwrap_or_default(),
            allow_hosts: self.allow_host.clone().unwrap_or_default(),
            access_log: self.access_log,
            page: self.page.map(|switch| switch == Switch::On),
            token_cookie: self.token_cookie.clone(),
            token_in_url: self.token_in_url,
            auth_limit: self.auth_limit,
            token_grace: self.token_grace,
            ignored_params: names(&self.ignore_params),
            client_limits: Limits {
                max_message_bytes: self.max_message,
                max_fragments: u32::try_from(self.max_fragments).unwrap_or(u32::MAX),
            },
            max_pending_bytes: self.max_pending,
            max_tls_handshakes: self.max_tls_handshakes,
            handshake_limit: self.handshake_limit,
            ping_after: self.ping_after,
            silence_limit: self.silence_limit,
            user_timeout: self.user_timeout,
            return_limit: self.return_limit,
            drain: self.drain,
            shutdown_limit: self.shutdown_limit,
            ..default
        })
    }

    /// The limits that may change while the gateway runs.
    pub fn limits(&self) -> GatewayLimits {
        let default = AddressLimits::default();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let per_address = |set: Option<usize>, default| {
            set.map_or(default, |count| PerAddress::set(number(count)))
        };
        GatewayLimits {
            max_connections: self.max_connections,
            addresses: AddressLimits {
                max_connections: per_address(
                    self.max_connections_per_address,
                    default.max_connections,
                ),
                max_arrivals_per_second: per_address(
                    self.max_handshakes_per_second_per_address,
                    default.max_arrivals_per_second,
                ),
                trusted_proxies: self.trusted_proxies.clone().unwrap_or_default(),
            },
            max_connections_per_user: number(self.max_connections_per_user),
            max_handshakes_per_second: number(self.max_handshakes_per_second),
            max_unauthenticated: self.max_unauthenticated,
            max_unauthenticated_per_address: self.max_unauthenticated_per_address,
            rates: ClientRates::new(
                number(self.max_messages_per_second),
                number(self.max_joins_per_second),
                self.max_groups,
            )
            .with_publishes(number(self.max_publishes_per_second)),
        }
    }
}
