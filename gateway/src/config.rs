//! What can be set on a gateway.

use std::time::Duration;

use campanile_channel::watchdog::Watchdog;
use campanile_edge::websocket::Limits;
use campanile_edge::{AllowHosts, AllowOrigins};

/// The settings of a gateway. Sizes are bytes.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where the broker listens, `HOST:PORT`.
    pub broker: String,
    /// How many worker threads hold the connections. At least 1.
    pub workers: usize,
    /// The URL of a publisher for the page, or `:PORT` for one on the page's own host; `None` means
    /// port 4237 there.
    pub publisher_url: Option<String>,
    /// The most connections at a time; one more is answered 503.
    pub max_connections: usize,
    /// The most groups that one connection listens to; one more is refused.
    pub max_groups: usize,
    /// What may wait for one client; past it the client is closed with 4001. An empty outbox always
    /// takes one event, whatever its size.
    pub max_outbox_bytes: usize,
    /// What a client that comes back may have missed, in bytes as they wait for it; one that missed
    /// more is told so. Besides `max_outbox_bytes`; one event may have any size. Only while no more
    /// than `max_outbox_bytes` waits for it: else that counts as too much, too.
    pub max_replay_bytes: usize,
    /// How much of what was received lately is kept for clients that come back, and four times as
    /// much while they wait for the broker. What is no longer here is asked of it.
    pub recent_bytes: usize,
    /// Which web pages may read event streams, and, where it is a list, open websockets. Default: see
    /// [`AllowOrigins::Local`].
    pub allow_origins: AllowOrigins,
    /// By which names beside the loopback ones the gateway may be asked where it listens on loopback
    /// only. Default: none.
    pub allow_hosts: AllowHosts,
    /// Query parameters that are never read, also known ones.
    pub ignored_params: Vec<String>,
    /// What a client may send in one message; past it the client is closed with 1009.
    pub client_limits: Limits,
    /// A request head that is not complete by then is refused, and a connection that the broker
    /// has not confirmed by then is closed with 1013.
    pub handshake_limit: Duration,
    /// A client that was silent for this long is sent a ping.
    pub ping_after: Duration,
    /// A client that was silent for this long is closed with 1011.
    pub silence_limit: Duration,
    /// A client that acknowledges nothing for this long is gone (`TCP_USER_TIMEOUT`).
    pub user_timeout: Duration,
    /// Interest without a member is kept this long, for those who come back.
    pub linger: Duration,
    /// Without a link for this long, the gateway sends its clients away over
    /// [`drain`](Self::drain), and takes no new ones until there is a link. Zero: it keeps them.
    pub return_limit: Duration,
    /// On shutdown, clients are told to go over this time.
    pub drain: Duration,
    /// After [`drain`](Self::drain), what is not gone by then is cut.
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
            drain: Duration::from_secs(5),
            shutdown_limit: Duration::from_secs(2),
            watchdog: Watchdog::none(),
        }
    }
}
