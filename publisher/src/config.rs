//! What a publisher can be told.

use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

use campanile_channel::Watchdog;
use campanile_messages::event::MAX_CONTENT_BYTES;

use crate::budget::Shares;
use crate::courier::health::Health;
use crate::push::BodyKind;
use crate::{AllowHosts, AllowOrigins};

/// The settings of a publisher. [`PublisherConfig::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// The broker, `HOST:PORT`; looked up at every try to reach it.
    pub broker: String,
    /// The largest content, at most 16 MiB; a larger one is answered 413. Default: 1 MiB.
    pub max_content_bytes: usize,
    /// How long a push waits for a broker that is out of reach, or that does not take what it is
    /// sent, before it is answered 503. Default: 5 s.
    pub broker_wait: Duration,
    /// How long a push that was handed to a link waits for the broker's answer before it is answered
    /// 504; if the link breaks, the next one counts too. Default: 10 s, as long as a gateway may be
    /// away.
    pub confirm_limit: Duration,
    /// How many bytes of content may be on their way through this process, those that are still
    /// being read included, and answers of batches that were not taken yet; what is over it, or over the shares of [`budget`](crate::budget), is
    /// answered 503. Default: 64 MiB.
    pub max_pending_bytes: usize,
    /// How large the body of a batch may be; a larger one is answered 413. Default: 8 MiB, room for one
    /// content of 1 MiB of which every byte is escaped.
    pub max_batch_bytes: usize,
    /// How many items a batch may have; more are answered 413. Default: 10,000.
    pub max_batch_items: usize,
    /// How many publishes of one stream may be without their answers; past it the stream is not read.
    /// Default: 8,192.
    pub max_stream_items: usize,
    /// How many bytes of contents those may have, 512 a content at least; past it the stream is not
    /// read. An idle one takes one of any size. Default: 8 MiB.
    pub max_stream_bytes: usize,
    /// How long a publish stream may be silent, pings unanswered, and how long any caller may leave
    /// what it was sent unread, before its connection ends. At least 1 s. Default: 30 s.
    pub silence_limit: Duration,
    /// How many threads serve HTTP, at least 1. Default: one a core.
    pub workers: usize,
    /// How many HTTP connections there may be; more wait in the listener's backlog. Default: 4,096.
    pub max_connections: usize,
    /// Which web pages may push and read the answers. Default: see [`AllowOrigins::Local`].
    pub allow_origins: AllowOrigins,
    /// By which hosts a publisher that listens on loopback may be asked, beside the loopback ones.
    /// Default: none.
    pub allow_hosts: AllowHosts,
    /// What `/health/ready` answers; whoever knows of something that makes this process unfit says
    /// so here. Default: nothing is known.
    pub health: Health,
    /// How long a caller may take for its first request's head; then it is answered 408. It is kept
    /// to half a second, so less than 1 s makes no sense. Default: 5 s.
    pub head_limit: Duration,
    /// How long a caller may take for a body; then it is answered 408. Default: 30 s.
    pub body_limit: Duration,
    /// How long an HTTP connection may be idle between two requests. Default: 75 s, so that a
    /// client's pool, most give up after 60 s or less, closes first.
    pub keep_alive: Duration,
    /// How long the requests under way may take at shutdown, and what was handed over to be answered.
    /// Default: 7 s.
    pub shutdown_limit: Duration,
    /// Watches the publisher's actor, tasks and threads. Default: nobody.
    pub watchdog: Watchdog,
}

/// A setting that no publisher can run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// Outside of what is accepted.
    #[error("{key} is {value}, from {min} to {max} are accepted")]
    OutOfRange {
        /// Which setting.
        key: &'static str,
        /// What it is.
        value: usize,
        /// The least that is accepted.
        min: usize,
        /// The most that is accepted.
        max: usize,
    },
}

impl PublisherConfig {
    /// The defaults, for the broker at `broker`.
    pub fn new(broker: impl Into<String>) -> Self {
        Self {
            broker: broker.into(),
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
            allow_origins: AllowOrigins::Local,
            allow_hosts: AllowHosts::default(),
            health: Health::default(),
            head_limit: Duration::from_secs(5),
            body_limit: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            shutdown_limit: Duration::from_secs(7),
            watchdog: Watchdog::none(),
        }
    }

    /// Who may have how many of the bytes on their way.
    pub(crate) fn shares(&self) -> Shares {
        let max_form_bytes = BodyKind::Form.max_bytes(self.max_content_bytes);
        let max_body_bytes = self.max_batch_bytes.max(max_form_bytes);
        Shares::of(self.max_pending_bytes, self.max_content_bytes, max_body_bytes)
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        // 512 is the most that actix-server takes.
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
    fn a_content_that_no_link_carries_is_no_setting() {
        let mut config = PublisherConfig::new("localhost:2206");
        config.max_content_bytes = MAX_CONTENT_BYTES + 1;
        let error = config.check().expect_err("too large");
        assert_eq!(
            error.to_string(),
            "max_content_bytes is 16777217, from 1 to 16777216 are accepted"
        );
    }

    #[test]
    fn a_publisher_without_workers_or_room_is_no_setting() {
        let mut config = PublisherConfig::new("localhost:2206");
        config.workers = 0;
        assert!(config.check().is_err());
        let mut config = PublisherConfig::new("localhost:2206");
        config.max_pending_bytes = config.max_content_bytes - 1;
        assert!(config.check().is_err());
    }
}
