//! The flags of a gateway.

use std::path::PathBuf;
use std::time::Duration;

use campanile_edge::websocket::Limits;
use campanile_edge::{AllowHosts, AllowOrigins, Rate};
use campanile_gateway::GatewayConfig;
use clap::Args;

use crate::units::{HostPort, count, duration, positive_duration, size};

/// A gateway on its own.
#[derive(Debug, Clone, Args)]
pub struct GatewayCommandArgs {
    /// Address of the broker
    #[arg(id = "gateway-broker", long = "broker", value_name = "HOST:PORT")]
    #[arg(alias = "channel")]
    #[arg(env = "CAMPANILE_GATEWAY_BROKER", default_value = "127.0.0.1:2206")]
    pub broker: HostPort,
    /// File with the cluster's secret, as the broker has it [default: none]
    #[arg(id = "gateway-secret-file", long = "secret-file", value_name = "FILE")]
    #[arg(env = "CAMPANILE_GATEWAY_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,
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
    /// Hosts, separated by commas, that the header Host may name beside loopback ones where --listen
    /// is a loopback address, or *; a request for any other host is answered 403 [default: none]
    #[arg(id = "gateway-allow-host", long = "allow-host", value_name = "HOSTS")]
    #[arg(env = "CAMPANILE_GATEWAY_ALLOW_HOST")]
    pub allow_host: Option<AllowHosts>,
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
    /// How many events one connection may publish in a second on average, and all connections of one
    /// user together; after a pause twice as many at once. Any more get the error rate_limited
    #[arg(
        id = "gateway-max-publishes-per-second",
        long = "max-publishes-per-second",
        value_name = "N"
    )]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_PUBLISHES_PER_SECOND", default_value = "20")]
    #[arg(value_parser = count::<1, 1_000_000>)]
    pub max_publishes_per_second: usize,
    /// Bytes of what clients publish that may be under way to the broker; any more get the error busy
    #[arg(id = "gateway-max-pending", long = "max-pending", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_PENDING", default_value = "16MiB", value_parser = size)]
    pub max_pending: usize,
    /// Time for a client to send its request (then 408), and for the broker to confirm what it
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
    /// The settings of a gateway whose broker is at `broker`.
    ///
    /// # Errors
    /// If flags contradict each other; `prefix` stands before their names.
    pub fn config(&self, broker: String, prefix: &str) -> anyhow::Result<GatewayConfig> {
        let default = GatewayConfig::default();
        anyhow::ensure!(
            self.silence_limit > self.ping_after,
            "--{prefix}silence-limit is {:?}; accepted is a duration above --{prefix}ping-after, {:?}",
            self.silence_limit,
            self.ping_after
        );
        Ok(GatewayConfig {
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
            ignored_params: names(&self.ignore_params),
            client_limits: Limits {
                max_message_bytes: self.max_message,
                max_fragments: u32::try_from(self.max_fragments).unwrap_or(u32::MAX),
            },
            publish_rate: {
                let per_second = u32::try_from(self.max_publishes_per_second).unwrap_or(u32::MAX);
                Rate::new(per_second, per_second.saturating_mul(2))
            },
            max_pending_bytes: self.max_pending,
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
}

/// The names of a list, without the white space around them and without empty ones.
fn names(list: &[String]) -> Vec<String> {
    list.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Reads an absolute URL that a browser can push to.
fn http_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', '@', ' ']) => {
            Ok(text.to_owned())
        }
        _ => Err("accepted is http://HOST[:PORT][/PATH] or the same with https".to_owned()),
    }
}
