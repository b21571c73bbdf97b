//! The numbers that a publisher shows to its operators: see `docs/metrics.md`.
//!
//! Many pushes of one caller are counted together: a batch once, a stream once per turn.

mod pushes;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use campanile_channel::DurationHistogram;
use campanile_channel::publishing::{Push, Target, Wait};
use campanile_messages::Position;
use campanile_messages::inquiry::{MAX_REFUSED_PUSHES, PublisherSummary, PublisherTotals};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _, LabelValueEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::budget::Budget;
use crate::recent_pushes::RecentPushes;
use crate::refused::RefusedPushes;
use pushes::{Pushed, Pushes, Status};

pub use pushes::Kind;

/// The upper bounds of the buckets for the duration of a push, in seconds. With a broker in memory it takes
/// less than 1 ms, and after some seconds it is refused.
const PUSH_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A limit of the publisher, by its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Limit {
    MaxConnectionsPerAddress,
    MaxPending,
    MaxPushesPerSecond,
    MaxContent,
    MaxBatch,
    MaxBatchItems,
    HeadLimit,
    BodyLimit,
    BrokerWait,
    ConfirmLimit,
}

impl Limit {
    const ALL: [(Self, &str); 10] = [
        (Self::MaxConnectionsPerAddress, "max_connections_per_address"),
        (Self::MaxPending, "max_pending"),
        (Self::MaxPushesPerSecond, "max_pushes_per_second"),
        (Self::MaxContent, "max_content"),
        (Self::MaxBatch, "max_batch"),
        (Self::MaxBatchItems, "max_batch_items"),
        (Self::HeadLimit, "head_limit"),
        (Self::BodyLimit, "body_limit"),
        (Self::BrokerWait, "broker_wait"),
        (Self::ConfirmLimit, "confirm_limit"),
    ];
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Hit {
    limit: Limit,
}

impl EncodeLabelValue for Limit {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = Self::ALL.into_iter().find(|(limit, _)| limit == self);
        EncodeLabelValue::encode(&word.map_or("", |(_, word)| word), encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Waited {
    wait: &'static str,
}

/// The results of many pushes of one caller.
#[derive(Debug, Default)]
pub struct Results {
    /// There are few different ones.
    statuses: Vec<(u16, u64)>,
    limits: Vec<Limit>,
    /// Where the events stand that were accepted.
    accepted: Vec<Position>,
    /// Statuses, sentences, and how many there were of them in a row.
    refused: Vec<(u16, String, u64)>,
}

impl Results {
    /// Adds the answer to one push: its status, and the limit that was reached, if any.
    pub fn add(&mut self, status: u16, limit: Option<Limit>) {
        match self.statuses.iter_mut().find(|(other, _)| *other == status) {
            Some((_, count)) => *count += 1,
            None => self.statuses.push((status, 1)),
        }
        self.limits.extend(limit);
    }

    /// Adds a push that the broker has accepted.
    pub fn accept(&mut self, position: Position) {
        self.accepted.push(position);
    }

    /// Adds what the caller of a push that was refused is told. Of many different sentences, only the first
    /// ones are kept.
    pub fn refuse(&mut self, status: u16, sentence: &impl fmt::Display) {
        if self.refused.len() >= MAX_REFUSED_PUSHES {
            return;
        }
        let sentence = sentence.to_string();
        match self.refused.last_mut() {
            Some((same, last, count)) if *same == status && *last == sentence => *count += 1,
            _ => self.refused.push((status, sentence, 1)),
        }
    }
}

/// The numbers of one publisher. Clones are the same numbers. The default is registered nowhere.
#[derive(Clone)]
pub struct PublisherMeters {
    pushes: Pushes,
    durations: Family<Waited, DurationHistogram>,
    accepted: DurationHistogram,
    delivered: DurationHistogram,
    in_flight: Gauge,
    connections: Gauge,
    limit_hits: Family<Hit, Counter>,
    link_up: Gauge,
    link_connects: Counter,
    budget: Arc<OnceLock<Budget>>,
    recent: RecentPushes,
    refused: RefusedPushes,
}

/// What they are now is for scrapes: configurations with different numbers are the same.
impl fmt::Debug for PublisherMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublisherMeters")
    }
}

impl Default for PublisherMeters {
    fn default() -> Self {
        let durations = Family::<Waited, DurationHistogram>::new_with_constructor(|| {
            DurationHistogram::new(&PUSH_SECONDS)
        });
        let limit_hits = Family::<Hit, Counter>::default();
        for (limit, _) in Limit::ALL {
            limit_hits.get_or_create_owned(&Hit { limit });
        }
        Self {
            pushes: Pushes::default(),
            accepted: durations.get_or_create_owned(&Waited { wait: "accepted" }),
            delivered: durations.get_or_create_owned(&Waited { wait: "delivered" }),
            durations,
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            limit_hits,
            link_up: Gauge::default(),
            link_connects: Counter::default(),
            budget: Arc::default(),
            recent: RecentPushes::default(),
            refused: RefusedPushes::default(),
        }
    }
}

impl PublisherMeters {
    /// Shows the numbers under `campanile_publisher_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("campanile_publisher");
        registry.register("pushes", "Pushes, one for each item", self.pushes.clone());
        registry.register(
            "push_duration_seconds",
            "From when a push or a batch was handed to the broker to its answer",
            self.durations.clone(),
        );
        registry.register(
            "in_flight",
            "Pushes that were handed to the broker and have no answer yet",
            self.in_flight.clone(),
        );
        registry.register("connections", "HTTP connections now", self.connections.clone());
        registry.register(
            "limit_hits",
            "How often a limit was reached, by its setting",
            self.limit_hits.clone(),
        );
        registry.register("link_up", "1 while there is a link to the broker", self.link_up.clone());
        registry.register(
            "link_connects",
            "Links that the broker welcomed",
            self.link_connects.clone(),
        );
        registry.register_collector(Box::new(Pending(self.budget.clone())));
    }

    /// One request has this result: the status of its answer, or `None` if its caller was gone before.
    /// `key` is the name of the caller's key, or empty.
    pub fn pushed(&self, kind: Kind, status: Option<u16>, key: &str, count: u64) {
        let pushed = Pushed { kind, result: Status(status), key: key.to_owned() };
        self.pushes.add(pushed, count);
    }

    /// Many pushes of one caller have these results.
    pub fn pushed_all(&self, kind: Kind, results: &Results, key: &str) {
        for (status, count) in &results.statuses {
            self.pushed(kind, Some(*status), key, *count);
        }
        results.limits.iter().for_each(|limit| self.limit_hit(*limit));
        self.recent.note(&results.accepted, key);
        for (status, sentence, count) in &results.refused {
            self.refused.add(kind.word(), *status, key, sentence, *count);
        }
    }

    /// The events that were pushed lately.
    pub fn recent(&self) -> &RecentPushes {
        &self.recent
    }

    /// A push was refused, with this sentence, which quotes nothing that may be content or a key.
    pub fn refused(&self, kind: Kind, status: u16, key: &str, sentence: &str) {
        self.refused.add(kind.word(), status, key, sentence, 1);
    }

    /// A limit was reached.
    pub fn limit_hit(&self, limit: Limit) {
        self.limit_hits.get_or_create(&Hit { limit }).inc();
    }

    /// A push or a batch has got its answer this long after it was handed to the broker.
    pub fn took(&self, waits: Waits, duration: Duration) {
        let histogram = match waits {
            Waits::Accepted => &self.accepted,
            Waits::Delivered => &self.delivered,
        };
        histogram.observe(duration);
    }

    /// Counts pushes that have no answer yet, until the returned value is dropped.
    pub fn in_flight(&self) -> InFlight {
        InFlight { gauge: self.in_flight.clone(), pushes: 0 }
    }

    /// Counts a connection until the returned value is dropped.
    pub fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// Whether there is a link to the broker now.
    pub fn link(&self, is_up: bool) {
        if is_up {
            self.link_connects.inc();
        }
        self.link_up.set(i64::from(is_up));
    }

    /// The numbers for the summary of this publisher.
    pub fn summary(&self) -> PublisherSummary {
        let limits = Limit::ALL.into_iter().map(|(limit, word)| {
            (word.to_owned(), self.limit_hits.get_or_create(&Hit { limit }).get())
        });
        PublisherSummary {
            connections: u64::try_from(self.connections.get()).unwrap_or(0),
            in_flight: u64::try_from(self.in_flight.get()).unwrap_or(0),
            pending_bytes: self.budget.get().map_or(0, Budget::used_bytes) as u64,
            totals: PublisherTotals {
                pushes: self.pushes.counts(),
                limits: limits.filter(|(_, count)| *count > 0).collect(),
                reconnects: self.link_connects.get().saturating_sub(1),
            },
            pushes: DurationHistogram::summary(&[&self.accepted, &self.delivered]),
            refused: self.refused.list(),
            ..PublisherSummary::default()
        }
    }

    /// Shows how much of this budget is taken. Only the first call counts.
    pub fn watch_budget(&self, budget: Budget) {
        let _ = self.budget.set(budget);
    }
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// That the broker has the event.
    Accepted,
    /// That something was written to clients.
    Delivered,
}

impl From<&Push> for Waits {
    fn from(push: &Push) -> Self {
        match (&push.target, push.wait) {
            (Target::Audience(_), Wait::Accepted) => Self::Accepted,
            _ => Self::Delivered,
        }
    }
}

/// Pushes of one caller without an answer.
#[derive(Debug)]
pub struct InFlight {
    gauge: Gauge,
    pushes: i64,
}

impl InFlight {
    /// There are this many now.
    pub fn set(&mut self, pushes: usize) {
        let pushes = i64::try_from(pushes).unwrap_or(i64::MAX);
        if pushes != self.pushes {
            self.gauge.inc_by(pushes - self.pushes);
            self.pushes = pushes;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec_by(self.pushes);
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Looks at the budget when somebody asks.
#[derive(Debug)]
struct Pending(Arc<OnceLock<Budget>>);

impl Collector for Pending {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bytes = self.0.get().map_or(0, Budget::used_bytes) as u64;
        let help = "Bytes of contents that have no answer yet";
        let encoder = encoder.encode_descriptor("pending_bytes", help, None, MetricType::Gauge)?;
        ConstGauge::new(bytes).encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_in_flight_are_taken_back_when_their_caller_is_gone() {
        let meters = PublisherMeters::default();
        let (mut one, mut other) = (meters.in_flight(), meters.in_flight());
        one.set(3);
        other.set(2);
        one.set(1);
        assert_eq!(meters.in_flight.get(), 3);
        drop(one);
        assert_eq!(meters.in_flight.get(), 2);
        other.set(0);
        assert_eq!(meters.in_flight.get(), 0);
    }

    #[test]
    fn results_are_counted_by_status() {
        let (meters, mut results) = (PublisherMeters::default(), Results::default());
        for status in [200, 404, 200, 200] {
            results.add(status, None);
        }
        results.add(429, Some(Limit::MaxPushesPerSecond));
        meters.pushed_all(Kind::Batch, &results, "shop");
        let count = |status| {
            let (kind, key) = (Kind::Batch, "shop".to_owned());
            let labels = Pushed { kind, result: Status(Some(status)), key };
            meters.pushes.of(&labels)
        };
        assert_eq!([200, 404, 429, 503].map(count), [3, 1, 1, 0]);
        let limit = Limit::MaxPushesPerSecond;
        assert_eq!(meters.limit_hits.get_or_create_owned(&Hit { limit }).get(), 1);
    }
}
