//! What a gateway counts for its operators. `docs/metrics.md` says what each number means.
//!
//! What happens for each event and connection is counted by its worker, in plain numbers of its own; a
//! scrape adds them up. Everything else is counted where it happens.

mod label;
mod labels;
mod summary;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::dialects::Dialect;
use label::Counted;
use worker::{BOUNDS_MICROS, Durations};

pub use labels::{
    ClientLimit, Closed, GapReason, Limit, PublishResult, Refused, ResumeResult, TlsHandshake,
    TokenResult,
};
pub use worker::{Plain, WorkerMeters, Written};

/// The numbers of one gateway. Clones are the same numbers.
#[derive(Clone, Default)]
pub struct GatewayMeters(Arc<Meters>);

/// What they are now is for scrapes: configurations with different numbers are the same.
impl fmt::Debug for GatewayMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayMeters")
    }
}

/// See [`GatewayMeters`].
#[derive(Debug, Default)]
pub struct Meters {
    workers: Mutex<Vec<Arc<WorkerMeters>>>,
    opened: Counted<Dialect>,
    ended: Counted<Dialect>,
    closed: Counted<Closed>,
    /// Requests for a connection that were refused.
    pub refused: Counted<Refused>,
    /// Sockets that were accepted; written by the thread that accepts them.
    pub accepted: Plain,
    /// Limits that were reached by newcomers.
    pub limits: Counted<Limit>,
    /// Limits that were reached by connected clients.
    pub client_limits: Counted<ClientLimit>,
    /// TLS handshakes of clients.
    pub tls_handshakes: Counted<TlsHandshake>,
    /// Clients that came back with a position.
    pub resumes: Counted<ResumeResult>,
    /// Gaps that clients were told of, once for all of them.
    pub gaps: Counted<GapReason>,
    /// Tokens that were looked at.
    pub tokens: Counted<TokenResult>,
    /// What clients published.
    pub publishes: Counted<PublishResult>,
    /// How long events took from the broker, by the time of day; written by the bridge.
    pub link_delay: Durations,
    /// Whether there is a link to the broker: 0 or 1.
    pub link_up: Plain,
    /// Links that the broker welcomed.
    pub link_connects: AtomicU64,
}

impl std::ops::Deref for GatewayMeters {
    type Target = Meters;

    fn deref(&self) -> &Meters {
        &self.0
    }
}

impl GatewayMeters {
    /// Shows the numbers in a registry, with names that begin with `campanile_gateway`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("campanile_gateway");
        registry.register_collector(Box::new(self.clone()));
    }

    /// The numbers of one more worker, which alone may write them.
    pub fn add_worker(&self) -> Arc<WorkerMeters> {
        let worker = Arc::<WorkerMeters>::default();
        self.lock().push(worker.clone());
        worker
    }

    /// Counts a connection that was let in.
    pub fn opened(&self, dialect: Dialect) {
        self.opened.count(dialect);
    }

    /// Counts the end of such a connection, which was closed with this code; 0 for none.
    pub fn ended(&self, dialect: Dialect, code: u16) {
        let code = Closed::from(code);
        self.ended.count(dialect);
        self.closed.count(code);
        self.reached(ClientLimit::closes_with(code));
    }

    /// Counts a limit that a connected client reached, if it reached one.
    pub fn reached(&self, limit: Option<ClientLimit>) {
        limit.into_iter().for_each(|limit| self.client_limits.count(limit));
    }

    /// Records a link to the broker.
    pub fn link_up(&self) {
        self.link_up.set(1);
        self.link_connects.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that there is no link.
    pub fn link_lost(&self) {
        self.link_up.set(0);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<WorkerMeters>>> {
        // Nothing can panic while it changes.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, number: impl Fn(&WorkerMeters) -> &Plain) -> u64 {
        self.lock().iter().map(|worker| number(worker).get()).sum()
    }

    fn delivery_durations(&self) -> (f64, Vec<(f64, u64)>) {
        let bucket =
            |index| self.sum(|worker: &WorkerMeters| &worker.delivery_duration.buckets[index]);
        let sum = self.sum(|worker| &worker.delivery_duration.sum_nanos);
        (sum as f64 / 1e9, buckets(bucket))
    }

    fn link_delays(&self) -> (f64, Vec<(f64, u64)>) {
        let Durations { buckets: counts, sum_nanos } = &self.link_delay;
        (sum_nanos.get() as f64 / 1e9, buckets(|index| counts[index].get()))
    }
}

fn buckets(count: impl Fn(usize) -> u64) -> Vec<(f64, u64)> {
    let bounds = BOUNDS_MICROS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
    bounds.enumerate().map(|(index, bound)| (bound, count(index))).collect()
}

impl Collector for GatewayMeters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let now = "Connections now";
        self.opened.encode_without(&self.ended, encoder, "connections", now)?;
        self.opened.encode(encoder, "connections_opened", "Connections that were let in")?;
        let help = "Connections that ended, by the close code that was sent";
        self.closed.encode(encoder, "connections_closed", help)?;
        let help = "Requests for a connection that were refused";
        self.refused.encode(encoder, "connections_refused", help)?;
        let help = "Sockets that were accepted, whatever became of them";
        counter(encoder, "accepted", help, self.accepted.get())?;
        let help = "How often a limit was reached, by its setting";
        self.limits.encode(encoder, "handshake_limit_hits", help)?;
        let help = "How often connected clients reached a limit, by its setting";
        self.client_limits.encode(encoder, "client_limit_hits", help)?;
        let help = "TLS handshakes of clients, by what became of them";
        self.tls_handshakes.encode(encoder, "tls_handshakes", help)?;
        self.resumes.encode(encoder, "resumes", "Clients that came back with a position")?;
        let help = "Gaps that connected clients were told of, once for each gap";
        self.gaps.encode(encoder, "gaps", help)?;
        let help = "Events written to a connection's outbox, once for each connection";
        counter(encoder, "deliveries", help, self.sum(|worker| &worker.deliveries))?;
        let bytes = self.sum(|worker| &worker.delivered_bytes);
        counter(encoder, "delivered_bytes", "Bytes of their frames", bytes)?;
        let bytes = self.sum(|worker| &worker.outbox_bytes);
        gauge(encoder, "outbox_bytes", "Bytes that wait for clients", bytes)?;
        let help = "Connections that were closed because too much waited for them";
        counter(encoder, "slow_closed", help, self.closed.of(Closed::TooSlow))?;
        let help = "From the receipt of a batch to its write";
        histogram(encoder, "delivery_duration_seconds", help, self.delivery_durations())?;
        let help = "From the broker to this gateway, by the time of day of both hosts";
        histogram(encoder, "link_delay_wall_seconds", help, self.link_delays())?;
        gauge(encoder, "link_up", "1 while there is a link to the broker", self.link_up.get())?;
        let connects = self.link_connects.load(Ordering::Relaxed);
        counter(encoder, "link_connects", "Links that the broker welcomed", connects)?;
        self.tokens.encode(encoder, "tokens", "Tokens that were looked at")?;
        self.publishes.encode(encoder, "publishes", "What clients published, by the answer")
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(encoder)
}

fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    (sum, buckets): (f64, Vec<(f64, u64)>),
) -> fmt::Result {
    let count = buckets.iter().map(|(_, count)| count).sum();
    encoder
        .encode_descriptor(name, help, None, MetricType::Histogram)?
        .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(encoder)
}
