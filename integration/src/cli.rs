//! The command line. Every flag is also an environment variable: `gateway --listen` is
//! `CAMPANILE_GATEWAY_LISTEN` and, where one process runs all three services, `up --gateway-listen`.
//!
//! A flag's id is its name in `up`; [`command`] makes `up` from the flags of the others.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use campanile_channel::broker::{BrokerConfig, Storage};
use campanile_edge::websocket::Limits;
use campanile_edge::{AllowHosts, AllowOrigins};
use campanile_gateway::GatewayConfig;
use campanile_messages::Durability;
use campanile_publisher::PublisherConfig;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::bench::BenchArgs;
use crate::bench::bare::PartArgs;
use crate::logging::last_line;
use crate::units::{
    HostPort, answer_limit, content_size, count, duration, positive_duration, size,
};

/// A push cluster: call one URL, and a message appears in every browser on every host.
#[derive(Debug, Parser)]
#[command(name = "campanile", version, arg_required_else_help = true)]
#[command(after_help = "The log goes to standard error; CAMPANILE_LOG=debug makes it talkative. \
                        An empty environment variable counts as unset.")]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cluster in one process: a broker, a gateway and a publisher
    Up(Box<UpArgs>),
    /// Run the broker, one a cluster: it numbers events and hands them to the gateways
    Channel(ChannelArgs),
    /// Run a gateway: it holds the browsers' websockets and serves the page
    Gateway(Box<GatewayCommandArgs>),
    /// Run a publisher: it takes pushes over HTTP
    Publisher(PublisherCommandArgs),
    /// Measure how fast and how small a cluster is, beside the least that any server must do
    Bench(Box<BenchArgs>),
    /// Run a process of a benchmark
    #[command(hide = true)]
    BenchPart(PartArgs),
}

/// All three services, without the addresses by which they find each other.
#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub channel: ChannelArgs,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub publisher: PublisherArgs,
}

/// A gateway on its own.
#[derive(Debug, Args)]
pub struct GatewayCommandArgs {
    /// Address of the broker
    #[arg(id = "gateway-channel", long = "channel", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_GATEWAY_CHANNEL", default_value = "127.0.0.1:2206")]
    pub channel: HostPort,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

/// A publisher on its own.
#[derive(Debug, Args)]
pub struct PublisherCommandArgs {
    /// Address of the broker
    #[arg(id = "publisher-channel", long = "channel", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_PUBLISHER_CHANNEL", default_value = "127.0.0.1:2206")]
    pub channel: HostPort,
    #[command(flatten)]
    pub publisher: PublisherArgs,
}

/// The broker's flags.
#[derive(Debug, Args)]
pub struct ChannelArgs {
    /// Address to listen on for gateways and publishers; a host's name means all of its addresses
    #[arg(id = "channel-listen", long = "listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_CHANNEL_LISTEN", default_value = "127.0.0.1:2206")]
    pub listen: HostPort,
    /// Directory of the log, which then survives the end of the broker; made if it is not there
    /// [default: none, the log is in memory only]
    #[arg(id = "data-dir", long, value_name = "DIR")]
    #[arg(env = "CAMPANILE_CHANNEL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// How durable an accepted push is in --data-dir: on disk (it survives a loss of power), written
    /// (handed to the system: it survives the end of the broker), or in memory (it survives an
    /// orderly stop)
    #[arg(id = "durability", long, value_name = "HOW")]
    #[arg(env = "CAMPANILE_CHANNEL_DURABILITY", value_enum)]
    pub durability: Option<HowDurable>,
    /// Bytes that may wait for one link; a link past it is cut and comes back
    #[arg(id = "channel-link-queue", long = "link-queue", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_CHANNEL_LINK_QUEUE", default_value = "64MiB", value_parser = size)]
    pub link_queue: usize,
    /// Bytes of recent events kept for clients and gateways that come back; older ones are dropped
    #[arg(id = "channel-log-size", long = "log-size", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_CHANNEL_LOG_SIZE", default_value = "64MiB", value_parser = size)]
    pub log_size: usize,
    /// How long recent events are kept: as long may a client be away and miss nothing
    #[arg(id = "channel-log-age", long = "log-age", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_CHANNEL_LOG_AGE", default_value = "5m")]
    #[arg(value_parser = positive_duration)]
    pub log_age: Duration,
    /// How long a gateway may take to come back: so long it is not taken for gone, and after a start
    /// of the broker no event is too old
    #[arg(id = "channel-return-limit", long = "return-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_CHANNEL_RETURN_LIMIT", default_value = "20s")]
    #[arg(value_parser = positive_duration)]
    pub return_limit: Duration,
    /// The most ids of pushes that are remembered, each for 150 s; one more is answered 503
    #[arg(id = "channel-max-ids", long = "max-ids", value_name = "N")]
    #[arg(env = "CAMPANILE_CHANNEL_MAX_IDS", default_value = "500000")]
    #[arg(value_parser = count::<1, 100_000_000>)]
    pub max_ids: usize,
    /// The most links; one more is refused
    #[arg(id = "channel-max-links", long = "max-links", value_name = "N")]
    #[arg(env = "CAMPANILE_CHANNEL_MAX_LINKS", default_value = "1024")]
    #[arg(value_parser = count::<1, 1_000_000>)]
    pub max_links: usize,
    /// On shutdown, links may take this long to take what waits for them, and the disk too; what it has
    /// not taken by then is given up
    #[arg(id = "channel-shutdown-limit", long = "shutdown-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_CHANNEL_SHUTDOWN_LIMIT", default_value = "5s", value_parser = duration)]
    pub shutdown_limit: Duration,
}

/// As the command line has it.
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

impl ChannelArgs {
    /// The settings of the broker.
    ///
    /// # Errors
    /// Flags that contradict each other.
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

/// A gateway's flags, without the broker's address.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Address to listen on for browsers; a host's name means all of its addresses
    #[arg(id = "gateway-listen", long = "listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_GATEWAY_LISTEN", default_value = "127.0.0.1:4236")]
    pub listen: HostPort,
    /// Threads that hold connections [default: one a core]
    #[arg(id = "workers", long, value_name = "N", env = "CAMPANILE_GATEWAY_WORKERS")]
    #[arg(value_parser = count::<1, 1024>)]
    pub workers: Option<usize>,
    /// Where the page pushes to [default: the page's own host on port 4237, in `up` the publisher]
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
    /// Bytes that may wait for one client; past it the client is closed with 4001
    #[arg(id = "gateway-max-outbox", long = "max-outbox", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_OUTBOX", default_value = "1MiB", value_parser = size)]
    pub max_outbox: usize,
    /// Bytes that a client may have missed when it comes back; one that missed more is told so
    #[arg(id = "gateway-max-replay", long = "max-replay", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_GATEWAY_MAX_REPLAY", default_value = "1MiB", value_parser = size)]
    pub max_replay: usize,
    /// Bytes of received events kept for clients that come back; for older ones the broker is asked
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
    /// Query parameters, separated by commas, that are never read because they are meant for somebody
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
    /// A client that acknowledges nothing for this long is gone (TCP_USER_TIMEOUT)
    #[arg(id = "gateway-user-timeout", long = "user-timeout", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_USER_TIMEOUT", default_value = "20s")]
    #[arg(value_parser = positive_duration)]
    pub user_timeout: Duration,
    /// Without a broker for this long, clients are sent away over --drain (close code 1013) and new
    /// ones refused, as another gateway may have one; 0s keeps them. As the broker's --return-limit
    #[arg(id = "gateway-return-limit", long = "return-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_RETURN_LIMIT", default_value = "20s", value_parser = duration)]
    pub return_limit: Duration,
    /// On shutdown, clients are told to go spread over this time
    #[arg(id = "gateway-drain", long = "drain", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_DRAIN", default_value = "5s", value_parser = duration)]
    pub drain: Duration,
    /// After --drain, what is not gone within this time is cut
    #[arg(id = "gateway-shutdown-limit", long = "shutdown-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_GATEWAY_SHUTDOWN_LIMIT", default_value = "2s", value_parser = duration)]
    pub shutdown_limit: Duration,
}

impl GatewayArgs {
    /// The settings of a gateway on the broker at `channel`.
    ///
    /// # Errors
    /// Flags that contradict each other, which are named with `prefix`.
    pub fn config(&self, channel: String, prefix: &str) -> anyhow::Result<GatewayConfig> {
        let default = GatewayConfig::default();
        anyhow::ensure!(
            self.silence_limit > self.ping_after,
            "--{prefix}silence-limit is {:?}; accepted is a duration above --{prefix}ping-after, {:?}",
            self.silence_limit,
            self.ping_after
        );
        Ok(GatewayConfig {
            channel,
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

/// A publisher's flags, without the broker's address.
#[derive(Debug, Args)]
pub struct PublisherArgs {
    /// Address to listen on for pushes; a host's name means all of its addresses
    #[arg(id = "publisher-listen", long = "listen", value_name = "HOST:PORT")]
    #[arg(env = "CAMPANILE_PUBLISHER_LISTEN", default_value = "127.0.0.1:4237")]
    pub listen: HostPort,
    /// The largest content, at most 16MiB; a larger one is answered 413
    #[arg(id = "publisher-max-content", long = "max-content", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_PUBLISHER_MAX_CONTENT", default_value = "1MiB")]
    #[arg(value_parser = content_size)]
    pub max_content: usize,
    /// Bytes of content that may be on their way at a time, three quarters of them of one address; more
    /// are answered 503
    #[arg(id = "publisher-max-pending", long = "max-pending", value_name = "SIZE")]
    #[arg(env = "CAMPANILE_PUBLISHER_MAX_PENDING", default_value = "64MiB", value_parser = size)]
    pub max_pending: usize,
    /// The most HTTP connections at a time; more wait to be accepted
    #[arg(id = "publisher-max-connections", long = "max-connections", value_name = "N")]
    #[arg(env = "CAMPANILE_PUBLISHER_MAX_CONNECTIONS", default_value = "4096")]
    #[arg(value_parser = count::<1, 1_000_000>)]
    pub max_connections: usize,
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
    /// How long a push waits for a broker out of reach before it is answered 503
    #[arg(id = "publisher-broker-wait", long = "broker-wait", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_BROKER_WAIT", default_value = "5s", value_parser = duration)]
    pub broker_wait: Duration,
    /// How long a push that was sent waits for its confirmation before it is answered 504
    #[arg(id = "publisher-confirm-limit", long = "confirm-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_CONFIRM_LIMIT", default_value = "10s")]
    #[arg(value_parser = answer_limit)]
    pub confirm_limit: Duration,
    /// Origins whose pages may push and read the answers, with commas, or * [default: pages of this
    /// host, if it listens on loopback]
    #[arg(id = "publisher-allow-origin", long = "allow-origin", value_name = "ORIGINS")]
    #[arg(env = "CAMPANILE_PUBLISHER_ALLOW_ORIGIN")]
    pub allow_origin: Option<AllowOrigins>,
    /// Hosts by which a publisher on loopback may be asked, beside localhost and loopback addresses,
    /// with commas, or *
    #[arg(id = "publisher-allow-host", long = "allow-host", value_name = "HOSTS")]
    #[arg(env = "CAMPANILE_PUBLISHER_ALLOW_HOST")]
    pub allow_host: Option<AllowHosts>,
    /// On shutdown, requests under way may take this long
    #[arg(id = "publisher-shutdown-limit", long = "shutdown-limit", value_name = "DURATION")]
    #[arg(env = "CAMPANILE_PUBLISHER_SHUTDOWN_LIMIT", default_value = "7s")]
    #[arg(value_parser = duration)]
    pub shutdown_limit: Duration,
}

impl PublisherArgs {
    /// The settings of a publisher on the broker at `channel`.
    ///
    /// # Errors
    /// Flags that contradict each other, which are named with `prefix`.
    pub fn config(&self, channel: String, prefix: &str) -> anyhow::Result<PublisherConfig> {
        anyhow::ensure!(
            self.max_pending >= self.max_content,
            "--{prefix}max-pending is {}; accepted is a size from --{prefix}max-content on, {}",
            ByteSize(self.max_pending as u64),
            ByteSize(self.max_content as u64)
        );
        let default = PublisherConfig::new(channel);
        Ok(PublisherConfig {
            max_content_bytes: self.max_content,
            max_pending_bytes: self.max_pending,
            // Each thread takes one at least.
            max_connections: self.max_connections.max(default.workers),
            head_limit: self.head_limit,
            body_limit: self.body_limit,
            keep_alive: self.keep_alive,
            broker_wait: self.broker_wait,
            confirm_limit: self.confirm_limit,
            allow_origins: self.allow_origin.clone().unwrap_or_default(),
            allow_hosts: self.allow_host.clone().unwrap_or_default(),
            shutdown_limit: self.shutdown_limit,
            ..default
        })
    }
}

/// The whole command line. An empty environment variable counts as unset: `${X:-}` of a compose file
/// makes one.
pub fn command() -> clap::Command {
    without_empty_variables(all_flags(), &|name| std::env::var_os(name))
}

fn without_empty_variables(
    command: clap::Command,
    value: &dyn Fn(&OsStr) -> Option<OsString>,
) -> clap::Command {
    let is_empty = |name: &OsStr| value(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(None::<&str>),
            _ => arg,
        })
        .mut_subcommands(|command| without_empty_variables(command, value))
}

fn all_flags() -> clap::Command {
    Cli::command().mut_subcommand("up", |up| {
        up.mut_args(|arg| {
            let id = arg.get_id().clone();
            let Some(service) = service_of(id.as_str()) else { return arg };
            // A help text that names another flag means one of the same service.
            let help = arg.get_help().map(|help| help.to_string()).unwrap_or_default();
            let help = help.replace("--", &format!("--{service}-"));
            arg.long(id.clone()).help(help)
        })
    })
}

/// The service by whose name a flag begins in `up`; a flag that only one service can have does not.
fn service_of(id: &str) -> Option<&str> {
    let (service, _) = id.split_once('-')?;
    ["channel", "gateway", "publisher"].contains(&service).then_some(service)
}

/// Prints what clap found: help and version as they are, an error as one line.
pub fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
            let parts = lines.filter(|line| !line.is_empty() && !line.starts_with("For more"));
            last_line(&parts.collect::<Vec<_>>().join("; "));
            ExitCode::from(2)
        }
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

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn every_flag_has_its_environment_variable_and_its_name_in_up() {
        let mut command = command();
        command.build();
        for name in ["channel", "gateway", "publisher"] {
            let service = command.find_subcommand(name).expect("there").clone();
            for arg in service.get_arguments().filter(|arg| arg.get_id() != "help") {
                let flag = arg.get_long().expect("a flag");
                let prefixed = format!("{name}-{flag}");
                let variable = format!("campanile-{prefixed}").to_uppercase().replace('-', "_");
                assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(&*variable));
                if flag == "channel" {
                    continue;
                }
                let is_plain = ["workers", "data-dir", "durability"].contains(&flag);
                let in_up = if is_plain { flag } else { &prefixed };
                let up = command.find_subcommand("up").expect("there");
                let twin = up.get_arguments().find(|arg| arg.get_long() == Some(in_up));
                assert_eq!(twin.and_then(|arg| arg.get_env()), arg.get_env(), "{in_up}");
            }
        }
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let variable = |name: &OsStr| match name.to_str() {
            Some("CAMPANILE_GATEWAY_WORKERS") => Some(OsString::new()),
            Some("CAMPANILE_GATEWAY_LISTEN") => Some("h:1".into()),
            _ => None,
        };
        let command = without_empty_variables(all_flags(), &variable);
        for name in ["gateway", "up"] {
            let service = command.find_subcommand(name).expect("there");
            let read: Vec<_> =
                service.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
            assert!(!read.contains(&"CAMPANILE_GATEWAY_WORKERS"), "{read:?}");
            assert!(read.contains(&"CAMPANILE_GATEWAY_LISTEN"), "{read:?}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_libraries() {
        let parse = |args: &[&str]| {
            let matches = command().try_get_matches_from(args).expect("valid");
            Cli::from_arg_matches(&matches).expect("valid").command
        };
        let Command::Up(up) = parse(&["campanile", "up"]) else { panic!("not up") };
        assert_eq!(up.channel.config().expect("valid"), BrokerConfig::default());
        let gateway = up.gateway.config(GatewayConfig::default().channel, "").expect("valid");
        assert_eq!(format!("{gateway:?}"), format!("{:?}", GatewayConfig::default()));
        let publisher = up.publisher.config("h:1".to_owned(), "").expect("valid");
        assert_eq!(format!("{publisher:?}"), format!("{:?}", PublisherConfig::new("h:1")));
    }
}
