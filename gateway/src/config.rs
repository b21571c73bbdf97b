//! The settings of a gateway.

use std::time::Duration;

use campanile_channel::watchdog::Watchdog;
use campanile_edge::websocket::Limits;
use campanile_edge::{AllowHosts, AllowOrigins, Rate};

/// Everything that can be set on a gateway. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where the broker listens, `HOST:PORT`.
    pub broker: String,
    /// How many worker threads hold the connections. At least 1.
    pub workers: usize,
    /// The URL of the publisher that the page uses, or `:PORT` for one on the page's own host; `None`
    /// means port 4237 of that host.
    pub publisher_url: Option<String>,
    /// The most connections at a time. Any more are answered 503.
    pub max_connections: usize,
    /// The most groups that one connection may listen to. Any more are refused.
    pub max_groups: usize,
    /// How much may wait for one client before it is closed with 4001. An empty outbox takes one event
    /// of any size.
    pub max_outbox_bytes: usize,
    /// How much a client that comes back may have missed, in bytes as they wait for it. If it missed
    /// more, or if more than `max_outbox_bytes` waits for it already, nothing is recovered, and the
    /// reason is `too_far`. One event may have any size.
    pub max_replay_bytes: usize,
    /// How many bytes of the newest events are kept for clients that come back; four times as many while
    /// clients wait for the broker's answer. Older events are fetched from the broker.
    pub recent_bytes: usize,
    /// Which web pages may read event streams. A list also limits which pages may open websockets.
    /// Default: [`AllowOrigins::Local`].
    pub allow_origins: AllowOrigins,
    /// Where the gateway listens on loopback only: which names a `Host` header may have besides the
    /// loopback ones. Default: none.
    pub allow_hosts: AllowHosts,
    /// Query parameters that are ignored, even those that the gateway knows.
    pub ignored_params: Vec<String>,
    /// How large a client's message may be. A larger one closes the connection with 1009.
    pub client_limits: Limits,
    /// How long a request head may take to arrive before it is refused, and how long the broker may
    /// take to confirm a connection before that is closed with 1013.
    pub handshake_limit: Duration,
    /// How long a client may be silent before it gets a ping.
    pub ping_after: Duration,
    /// How long a client may be silent before it is closed with 1011.
    pub silence_limit: Duration,
    /// How long a client may acknowledge nothing before its connection is given up (`TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// How long the interest in a group outlives its last member, for clients that come back.
    pub linger: Duration,
    /// How long the gateway keeps its clients without a link to the broker. Then it closes them, spread
    /// over [`drain`](Self::drain), and accepts no new ones until there is a link. Zero means for ever.
    pub return_limit: Duration,
    /// How often one connection may publish, and all connections of one user together.
    pub publish_rate: Rate,
    /// How many bytes of what clients publish may be under way to the broker. Any more are refused with the
    /// error `busy`. If nothing is under way, one publish of any size is accepted.
    pub max_pending_bytes: usize,
    /// How long a publish waits for the broker before the error `unavailable`; it was not sent then.
    pub broker_wait: Duration,
    /// How long the broker may take to answer a publish before the error `unknown`.
    pub confirm_limit: Duration,
    /// The time over which the connections are closed on shutdown.
    pub drain: Duration,
    /// How long connections may take to end after [`drain`](Self::drain) before they are cut.
    pub shutdown_limit: Duration,
    /// Watches the gateway's actors and threads.
    pub watchdog: Watchdog,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            broker: "127.0.0.1:2206".to_owned(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            publisher_url: None,
            max_connections: 100_000,
            max_groups: 100,
            max_outbox_bytes: 1 << 20,
            max_replay_bytes: 1 << 20,
            recent_bytes: 16 << 20,
            allow_origins: AllowOrigins::Local,
            allow_hosts: AllowHosts::default(),
            ignored_params: Vec::new(),
            client_limits: Limits { max_message_bytes: 64 << 10, max_fragments: 1_024 },
            handshake_limit: Duration::from_secs(10),
            ping_after: Duration::from_secs(25),
            silence_limit: Duration::from_secs(60),
            user_timeout: Duration::from_secs(20),
            linger: Duration::from_secs(5),
            return_limit: Duration::from_secs(20),
            publish_rate: Rate::new(20, 40),
            max_pending_bytes: 16 << 20,
            broker_wait: Duration::from_secs(5),
            confirm_limit: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            shutdown_limit: Duration::from_secs(2),
            watchdog: Watchdog::none(),
        }
    }
}
