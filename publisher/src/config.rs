//! The settings of a publisher.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use campanile_channel::brokers::Brokers;
use campanile_channel::courier::Inquirer;
use campanile_channel::{LinkTls, Secrets, SecretsNow, Spans, TlsSettings, Watchdog, unchanging};
use campanile_edge::{AddressLimits, Exposure, Incidents, Keys, PerAddress};
use campanile_messages::InstanceId;
use campanile_messages::event::MAX_CONTENT_BYTES;
use tokio::sync::watch;

use crate::budget::Shares;
use crate::courier::health::Health;
use crate::http::Composer;
use crate::meters::PublisherMeters;
use crate::push::BodyKind;
use crate::{AllowHosts, AllowOrigins};

/// The settings of a publisher. [`PublisherConfig::new`] returns the defaults.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// Where the broker is; or several brokers that share one log, of which the publisher uses one.
    pub broker: Brokers,
    /// Whom links to the broker trust over TLS, and who this publisher is. Default: none, they are not
    /// encrypted.
    pub broker_tls: Option<LinkTls>,
    /// What the publisher and its broker prove to each other. Default: nothing.
    pub secrets: SecretsNow,
    /// The largest content, at most 16 MiB. A larger one gets 413. Default: 1 MiB.
    pub max_content_bytes: usize,
    /// How long a push waits for a broker that cannot be reached, or that takes no more pushes, before it
    /// gets 503. Default: 5 s.
    pub broker_wait: Duration,
    /// How long a push that was handed to a link waits for the broker's answer before it gets 504. If the
    /// link breaks, the time on the next one counts, too. Default: 10 s.
    pub confirm_limit: Duration,
    /// How many bytes of content may be on their way through this process, including those that are
    /// still being read, and answers to batches that were not read yet. What exceeds it, or a share of
    /// [`budget`](crate::budget), gets 503. Default: 64 MiB.
    pub max_pending_bytes: usize,
    /// How large the body of a batch may be. A larger one gets 413. Default: 8 MiB, which has room for
    /// one content of 1 MiB with every byte escaped.
    pub max_batch_bytes: usize,
    /// How many items a batch may have. A batch with more gets 413. Default: 10,000.
    pub max_batch_items: usize,
    /// How many items of one stream may have no answer yet. Beyond that, the stream is not read.
    /// Default: 8,192.
    pub max_stream_items: usize,
    /// How many bytes of content these items may have. Each counts with at least 512. Beyond that, the
    /// stream is not read. An idle stream accepts one item of any size. Default: 8 MiB.
    pub max_stream_bytes: usize,
    /// How long a publish stream may send nothing, not even pongs, and how long any caller may leave
    /// answers unread, before the connection is ended. At least 1 s. Default: 30 s.
    pub silence_limit: Duration,
    /// How many threads serve HTTP, at least 1. Default: one per core.
    pub workers: usize,
    /// How many HTTP connections there may be. More of them wait in the listener's backlog. Default:
    /// 4,096.
    pub max_connections: usize,
    /// How many connections each address may have, and which proxies are trusted to say whom a request is
    /// from. May change while the publisher runs; nobody is closed because of it. Default: 500, with the
    /// exceptions of [`PerAddress`]. New connections have no rate.
    pub addresses: watch::Receiver<Arc<AddressLimits>>,
    /// Whether each connection begins with a PROXY header. It is read from trusted proxies only, and any
    /// other connection is closed. Default: no.
    pub proxy_protocol: bool,
    /// Which web pages may push and read the answers. Default: see [`AllowOrigins::Local`].
    pub allow_origins: AllowOrigins,
    /// Which values of `Host` an open publisher on loopback accepts besides the loopback ones. Default:
    /// none.
    pub allow_hosts: AllowHosts,
    /// Whether the publisher is open to everybody who reaches it. Default: [`Exposure::Local`].
    pub exposure: Exposure,
    /// The health that `/health/ready` reports. Whatever makes this process unready must be noted here.
    /// Default: nothing is known.
    pub health: Health,
    /// How long a caller may take to send the head of a request before it gets 408. It is kept to within
    /// half a second, so less than 1 s makes no sense. Default: 5 s.
    pub head_limit: Duration,
    /// How long a caller may take to send a body before it gets 408. Default: 30 s.
    pub body_limit: Duration,
    /// How long an HTTP connection may be idle between two requests. Default: 75 s, so that the pool of
    /// a client closes it first: most pools do so after at most 60 s.
    pub keep_alive: Duration,
    /// How long a shutdown may wait for requests under way and for answers to what was handed over.
    /// Default: 7 s.
    pub shutdown_limit: Duration,
    /// The settings of TLS, which all listeners speak then; a newcomer gets the latest. Its handshake may take
    /// as long as the head of a request. Default: none, they speak plain HTTP.
    pub tls: Option<TlsSettings>,
    /// How many TLS handshakes each thread serves at a time. Newcomers beyond it wait. Default: 256.
    pub max_tls_handshakes: usize,
    /// The keys of those who may push. While there are none, everybody may. A new set holds for requests
    /// that come later, and for open streams at once. Default: none.
    pub keys: watch::Receiver<Arc<Keys>>,
    /// Whether a key may be in the URL although the publisher does not listen on loopback only. Default:
    /// it may not, because URLs are written to logs.
    pub key_in_url: bool,
    /// Whether every push is logged. Default: no.
    pub access_log: bool,
    /// What is logged of refused pushes and connections. Default: nothing has happened.
    pub incidents: Incidents,
    /// Watches the publisher's actor, tasks and threads. Default: they are not watched.
    pub watchdog: Watchdog,
    /// What operators see of the publisher. Default: registered nowhere.
    pub meters: PublisherMeters,
    /// By which the cluster knows this publisher as long as it runs. Default: a random one, drawn when it starts.
    pub instance: Option<InstanceId>,
    /// Where the spans go of pushes that belong to a trace. Default: nowhere.
    pub spans: Spans,
    /// Asks the cluster on behalf of operators, as soon as the publisher runs.
    pub inquirer: Inquirer,
    /// Pushes what operators compose, as soon as the publisher runs.
    pub composer: Composer,
}

/// The limits of addresses that nobody has changed.
pub fn default_addresses() -> AddressLimits {
    AddressLimits { max_arrivals_per_second: PerAddress::set(0), ..AddressLimits::default() }
}

/// Limits that hold for as long as the publisher runs.
pub fn fixed_addresses(limits: AddressLimits) -> watch::Receiver<Arc<AddressLimits>> {
    watch::Sender::new(Arc::new(limits)).subscribe()
}

/// A setting that a publisher cannot run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// The value is out of range.
    #[error("{key} is {value}, from {min} to {max} are accepted")]
    OutOfRange {
        /// The name of the setting.
        key: &'static str,
        /// Its value.
        value: usize,
        /// The least that is accepted.
        min: usize,
        /// The most that is accepted.
        max: usize,
    },
}

impl PublisherConfig {
    /// Returns the defaults, with the broker at `broker`.
    pub fn new(broker: impl Into<Brokers>) -> Self {
        Self {
            broker: broker.into(),
            secrets: unchanging(Secrets::default()),
            max_content_bytes: 1 << 20,
            broker_wait: Duration::from_secs(5),
            confirm_limit: Duration::from_secs(10),
            max_pending_bytes: 64 << 20,
            max_batch_bytes: 8 << 20,
            max_batch_items: 10_000,
            max_stream_items: 8_192,
            max_stream_bytes: 8 << 20,
            silence_limit: Duration::from_secs(30),
            workers: available_parallelism().map_or(1, NonZero::get),
            max_connections: 4_096,
            addresses: fixed_addresses(default_addresses()),
            proxy_protocol: false,
            allow_origins: AllowOrigins::Local,
            allow_hosts: AllowHosts::default(),
            exposure: Exposure::Local,
            health: Health::default(),
            head_limit: Duration::from_secs(5),
            body_limit: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            shutdown_limit: Duration::from_secs(7),
            tls: None,
            broker_tls: None,
            max_tls_handshakes: 256,
            keys: watch::channel(Arc::default()).1,
            key_in_url: false,
            access_log: false,
            incidents: Incidents::default(),
            watchdog: Watchdog::none(),
            meters: PublisherMeters::default(),
            instance: None,
            spans: Spans::default(),
            inquirer: Inquirer::default(),
            composer: Composer::default(),
        }
    }

    /// Returns the bounds of the bytes on their way.
    pub(crate) fn shares(&self) -> Shares {
        let max_form_bytes = BodyKind::Form.max_bytes(self.max_content_bytes);
        let max_body_bytes = self.max_batch_bytes.max(max_form_bytes);
        Shares::of(self.max_pending_bytes, self.max_content_bytes, max_body_bytes)
    }

    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        // actix-server accepts at most 512.
        for (key, value, min, max) in [
            ("max_content_bytes", self.max_content_bytes, 1, MAX_CONTENT_BYTES),
            ("max_pending_bytes", self.max_pending_bytes, self.max_content_bytes, usize::MAX),
            ("max_batch_bytes", self.max_batch_bytes, 1, usize::MAX),
            ("max_batch_items", self.max_batch_items, 1, usize::MAX),
            ("max_stream_items", self.max_stream_items, 1, usize::MAX),
            ("workers", self.workers, 1, 512),
            ("max_connections", self.max_connections, self.workers, usize::MAX),
        ] {
            if value < min || value > max {
                return Err(InvalidConfig::OutOfRange { key, value, min, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(PublisherConfig::new("localhost:2206").check(), Ok(()));
    }

    #[test]
    fn a_content_larger_than_a_link_can_carry_is_refused() {
        let mut config = PublisherConfig::new("localhost:2206");
        config.max_content_bytes = MAX_CONTENT_BYTES + 1;
        let error = config.check().expect_err("too large");
        assert_eq!(
            error.to_string(),
            "max_content_bytes is 16777217, from 1 to 16777216 are accepted"
        );
    }

    #[test]
    fn a_publisher_without_workers_or_room_is_refused() {
        let mut config = PublisherConfig::new("localhost:2206");
        config.workers = 0;
        assert!(config.check().is_err());
        let mut config = PublisherConfig::new("localhost:2206");
        config.max_pending_bytes = config.max_content_bytes - 1;
        assert!(config.check().is_err());
    }
}
