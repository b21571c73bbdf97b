//! The settings of a gateway.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use campanile_channel::brokers::Brokers;
use campanile_channel::watchdog::Watchdog;
use campanile_channel::{LinkTls, Spans, TlsSettings};
use campanile_channel::{Secrets, SecretsNow, unchanging};
use campanile_edge::websocket::Limits;
use campanile_edge::{AllowHosts, AllowOrigins, Exposure, Incidents};
use campanile_messages::InstanceId;
use tokio::sync::{Notify, watch};

use crate::access::Access;
use crate::entrance::health::Health;
use crate::limits::GatewayLimits;
use crate::meters::GatewayMeters;

/// Everything that can be set on a gateway. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where the broker listens; or several brokers that share one log, of which it uses one.
    pub broker: Brokers,
    /// Whom links to the broker trust over TLS, and who this gateway is. `None` means that they are not
    /// encrypted.
    pub broker_tls: Option<LinkTls>,
    /// What the gateway and its broker prove to each other. Default: nothing.
    pub secrets: SecretsNow,
    /// How many worker threads hold the connections. At least 1.
    pub workers: usize,
    /// The URL of the publisher that the page uses, or `:PORT` for one on the page's own host; `None`
    /// means port 4237 of that host.
    pub publisher_url: Option<String>,
    /// The most connections at a time that there is room for. Any more are answered 503. The
    /// [`limits`](Self::limits) may say fewer.
    pub max_connections: usize,
    /// The limits that may change while the gateway runs. Default: those of [`GatewayLimits`].
    pub limits: watch::Receiver<Arc<GatewayLimits>>,
    /// Whether each connection begins with a PROXY header. It is read from trusted proxies only, and any
    /// other connection is closed.
    pub proxy_protocol: bool,
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
    /// Where the gateway is open and listens on loopback only: which names a `Host` header may have
    /// besides the loopback ones. Default: none.
    pub allow_hosts: AllowHosts,
    /// Whether the gateway is open to everybody who reaches it. Default: [`Exposure::Local`].
    pub exposure: Exposure,
    /// What is known of the gateway's health. Clones share it.
    pub health: Health,
    /// What the gateway counts. Clones share it. Default: numbers that nobody sees.
    pub meters: GatewayMeters,
    /// Whether there is the page for development at `/`; `None` if that depends on whether the gateway
    /// listens on loopback only. The JavaScript client is always there.
    pub page: Option<bool>,
    /// Whom the gateway lets in. A change counts for new clients at once. Within a second, clients that the
    /// new deny list names are closed, and guests have the new rights of guests, or are closed; all others
    /// stay until their tokens expire. Default: everybody.
    pub access: watch::Receiver<Arc<Access>>,
    /// Notified when a token names a key that is not known, so that the keys can be fetched again.
    pub unknown_key: Arc<Notify>,
    /// The name of a cookie that may carry the token. Needs a list of `allow_origins`. Default: none.
    pub token_cookie: Option<String>,
    /// Whether the token may be in the query (`token=`) although the gateway does not listen on loopback.
    pub token_in_url: bool,
    /// How long a client that has opened a `campanile.v1` websocket without a token may take to send it.
    /// Then it is closed with 4401.
    pub auth_limit: Duration,
    /// How long a client may stay after its token has expired, so that it can send a new one. Then it is
    /// closed with 4401.
    pub token_grace: Duration,
    /// The time of day, in seconds since 1970-01-01 UTC.
    pub unix_time: fn() -> u64,
    /// Query parameters that are ignored, even those that the gateway knows.
    pub ignored_params: Vec<String>,
    /// How large a client's message may be. A larger one closes the connection with 1009.
    pub client_limits: Limits,
    /// The settings of TLS, which all listeners speak then; a newcomer gets the latest. `None` means
    /// that they speak plain HTTP.
    pub tls: Option<TlsSettings>,
    /// The most TLS handshakes under way per worker. Newcomers beyond it wait.
    pub max_tls_handshakes: usize,
    /// How long the PROXY header, the TLS handshake and a request head may take together before the
    /// connection is refused, and how long the broker may take to confirm a connection before that is closed with 1013.
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
    /// Whether the end of every connection is logged. Default: no.
    pub access_log: bool,
    /// What is logged of refused connections and requests. Default: nothing has happened.
    pub incidents: Incidents,
    /// Watches the gateway's actors and threads.
    pub watchdog: Watchdog,
    /// By which the cluster knows this gateway as long as it runs. Default: a random one, drawn when it starts.
    pub instance: Option<InstanceId>,
    /// Where the spans go of events that belong to a trace. Default: nowhere.
    pub spans: Spans,
}

impl GatewayConfig {
    /// How open the gateway is: as soon as there are token keys or guests, it is not.
    pub(crate) fn exposure_now(&self) -> Exposure {
        match self.access.borrow().is_open() {
            true => self.exposure,
            false => Exposure::Guarded,
        }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            broker: "127.0.0.1:2206".into(),
            secrets: unchanging(Secrets::default()),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            publisher_url: None,
            max_connections: 100_000,
            limits: GatewayLimits::default().fixed(),
            proxy_protocol: false,
            max_groups: 100,
            max_outbox_bytes: 1 << 20,
            max_replay_bytes: 1 << 20,
            recent_bytes: 16 << 20,
            allow_origins: AllowOrigins::Local,
            allow_hosts: AllowHosts::default(),
            exposure: Exposure::Local,
            health: Health::default(),
            meters: GatewayMeters::default(),
            page: None,
            access: watch::channel(Arc::default()).1,
            unknown_key: Arc::default(),
            token_cookie: None,
            token_in_url: false,
            auth_limit: Duration::from_secs(10),
            token_grace: Duration::from_secs(25),
            unix_time,
            ignored_params: Vec::new(),
            client_limits: Limits { max_message_bytes: 64 << 10, max_fragments: 1_024 },
            tls: None,
            broker_tls: None,
            max_tls_handshakes: 1_024,
            handshake_limit: Duration::from_secs(10),
            ping_after: Duration::from_secs(25),
            silence_limit: Duration::from_secs(60),
            user_timeout: Duration::from_secs(20),
            linger: Duration::from_secs(5),
            return_limit: Duration::from_secs(20),
            max_pending_bytes: 16 << 20,
            broker_wait: Duration::from_secs(5),
            confirm_limit: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            shutdown_limit: Duration::from_secs(2),
            access_log: false,
            incidents: Incidents::default(),
            watchdog: Watchdog::none(),
            instance: None,
            spans: Spans::default(),
        }
    }
}

fn unix_time() -> u64 {
    seconds(SystemTime::now())
}

/// A clock before 1970 is wrong. Then it is so late that every token has expired.
fn seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use campanile_edge::Secret;
    use campanile_edge::tokens::{Expected, Key, Keys, Verifier};
    use campanile_harness::sign_token;
    use jsonwebtoken::{Algorithm, EncodingKey};

    use super::*;

    /// A token with these claims, signed with the secret of 32 sevens.
    fn token(claims: &str) -> String {
        let key = EncodingKey::from_secret(&[7; 32]).expect("a key");
        sign_token(r#"{"alg":"HS256"}"#, claims, &key, Algorithm::HS256)
    }

    #[test]
    fn a_clock_that_is_wrong_lets_nobody_in() {
        let key = Key::from_secret(None, None, &Secret::new([7; 32])).expect("a key");
        let verifier = Verifier::new(Keys::new(vec![key]).expect("one"), Expected::default());
        let hour = Duration::from_secs(3_600);
        for (now, is_accepted) in
            [(SystemTime::UNIX_EPOCH + hour, true), (SystemTime::UNIX_EPOCH - hour, false)]
        {
            for expires in [7_000, 253_402_300_799_u64] {
                let token = token(&format!(r#"{{"aud":"campanile","exp":{expires}}}"#));
                let verified = verifier.verify(&token, seconds(now));
                assert_eq!(verified.is_ok(), is_accepted, "{verified:?}");
            }
        }
    }
}
