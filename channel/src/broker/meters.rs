//! The numbers that a broker shows to its operators: see `docs/metrics.md`.
//!
//! The broker is one thread, so it counts with plain numbers in its core, and stores them here after each
//! batch of messages. Only the writer's thread observes something itself, once per batch.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use campanile_messages::inquiry::HistogramSummary;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::counts::Figures;
use super::links::Lag;
use crate::durations::DurationHistogram;

/// The upper bounds of the buckets for the duration of a write, in seconds. A healthy disk takes about
/// 10 ms, and after 2 s it counts as slow.
const WRITE_SECONDS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 10.0];

/// A count that is never negative.
type Level = Gauge<u64, AtomicU64>;

/// A value of a label, which is one of a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRole {
    role: Word,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ForReason {
    reason: Word,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithResult {
    result: Word,
}

/// Why a caller was not welcomed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedFor {
    /// There are as many links as there may be.
    Full,
    /// It speaks another version, or takes less than it would be sent.
    Version,
    /// It has another cluster secret, or none, or only one side has one.
    Secret,
    /// It said nothing in time.
    Silent,
    /// Anything else.
    Other,
}

impl RefusedFor {
    const ALL: [(Self, &str); 5] = [
        (Self::Full, "full"),
        (Self::Version, "version"),
        (Self::Secret, "secret"),
        (Self::Silent, "silent"),
        (Self::Other, "other"),
    ];
}

/// The numbers of one broker. Clones are the same numbers. The default is registered nowhere.
#[derive(Clone)]
pub struct BrokerMeters {
    links: Family<OfRole, Level>,
    opened: Family<OfRole, Counter>,
    refused: Family<ForReason, Counter>,
    gaps: Family<ForReason, Counter>,
    by_result: Results,
    head: Level,
    log_events: Level,
    log_bytes: Level,
    oldest_age: Gauge<f64, AtomicU64>,
    ids: Level,
    staged_bytes: Level,
    write_duration: DurationHistogram,
    disk_waits: Level,
    link_events: Counter,
    lag_events: Level,
    lag_bytes: Level,
    lag_age: Gauge<f64, AtomicU64>,
    replayed: Counter,
    epochs: Counter,
}

/// What they are now is for scrapes: configurations with different numbers are the same.
impl fmt::Debug for BrokerMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokerMeters")
    }
}

/// The numbers that are stored after every batch, so that they are not looked up then.
#[derive(Debug, Clone)]
struct Results {
    publishes: Family<WithResult, Counter>,
    directs: Family<WithResult, Counter>,
    accepted: Counter,
    duplicates: Counter,
    conflicts: Counter,
    busy: Counter,
    delivered: Counter,
    gone: Counter,
    expired: Counter,
    epoch_changed: Counter,
}

/// The roles of links, as the log names them.
const ROLES: [&str; 2] = ["gateway", "publisher"];

impl Default for BrokerMeters {
    fn default() -> Self {
        let (links, opened) = (Family::default(), Family::default());
        for role in ROLES.map(Word) {
            links.get_or_create_owned(&OfRole { role });
            opened.get_or_create_owned(&OfRole { role });
        }
        let refused = Family::default();
        for (_, word) in RefusedFor::ALL {
            refused.get_or_create_owned(&ForReason { reason: Word(word) });
        }
        let (publishes, directs) = (Family::default(), Family::default());
        let published =
            |result| publishes.get_or_create_owned(&WithResult { result: Word(result) });
        let direct = |result| directs.get_or_create_owned(&WithResult { result: Word(result) });
        let gaps = Family::default();
        let gap = |reason| gaps.get_or_create_owned(&ForReason { reason: Word(reason) });
        let by_result = Results {
            accepted: published("accepted"),
            duplicates: published("duplicate"),
            conflicts: published("conflict"),
            busy: published("busy"),
            delivered: direct("delivered"),
            gone: direct("gone"),
            expired: gap("expired"),
            epoch_changed: gap("epoch_changed"),
            publishes: publishes.clone(),
            directs: directs.clone(),
        };
        Self {
            links,
            opened,
            refused,
            gaps,
            by_result,
            head: Level::default(),
            log_events: Level::default(),
            log_bytes: Level::default(),
            oldest_age: Gauge::default(),
            ids: Level::default(),
            staged_bytes: Level::default(),
            write_duration: DurationHistogram::new(&WRITE_SECONDS),
            disk_waits: Level::default(),
            link_events: Counter::default(),
            lag_events: Level::default(),
            lag_bytes: Level::default(),
            lag_age: Gauge::default(),
            replayed: Counter::default(),
            epochs: Counter::default(),
        }
    }
}

impl BrokerMeters {
    /// Shows the numbers under `campanile_broker_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("campanile_broker");
        let Results { publishes, directs, .. } = &self.by_result;
        registry.register("links", "Links now", self.links.clone());
        registry.register("links_opened", "Links that were welcomed", self.opened.clone());
        registry.register("links_refused", "Callers that were not welcomed", self.refused.clone());
        registry.register(
            "publishes",
            "Publishes for an audience, by what became of them",
            publishes.clone(),
        );
        registry.register("directs", "Pushes to one connection", directs.clone());
        registry.register(
            "head_sequence",
            "The sequence of the newest event in the log",
            self.head.clone(),
        );
        registry.register("log_events", "Events in the log", self.log_events.clone());
        registry.register("log_bytes", "Memory that they take", self.log_bytes.clone());
        registry.register(
            "log_oldest_age_seconds",
            "Age of the oldest of them",
            self.oldest_age.clone(),
        );
        registry.register("ids", "Ids that are remembered", self.ids.clone());
        registry.register(
            "staged_bytes",
            "Bytes that wait for the disk",
            self.staged_bytes.clone(),
        );
        registry.register(
            "write_duration_seconds",
            "How long a batch took to be written, with its fsync where there is one",
            self.write_duration.clone(),
        );
        registry.register("disk_waits", "1 while a write takes too long", self.disk_waits.clone());
        registry.register(
            "link_events",
            "Events for gateways, once for each gateway",
            self.link_events.clone(),
        );
        registry.register(
            "link_lag_events",
            "Events that wait for the gateway that is furthest behind",
            self.lag_events.clone(),
        );
        registry.register(
            "link_lag_bytes",
            "Bytes that wait for the link with the most",
            self.lag_bytes.clone(),
        );
        registry.register(
            "link_lag_seconds",
            "For how long the oldest of what waits for any link has waited",
            self.lag_age.clone(),
        );
        registry.register(
            "replayed_events",
            "Events that gateways fetched for returning clients",
            self.replayed.clone(),
        );
        registry.register(
            "gaps",
            "Gateways that came back and could not continue",
            self.gaps.clone(),
        );
        registry.register("epochs", "New epochs since the start", self.epochs.clone());
    }

    /// A caller was not welcomed.
    pub fn refused(&self, reason: RefusedFor) {
        let known = RefusedFor::ALL.into_iter().find(|(other, _)| *other == reason);
        if let Some((_, word)) = known {
            self.refused.get_or_create(&ForReason { reason: Word(word) }).inc();
        }
    }

    /// A new epoch begins.
    pub fn epoch_began(&self) {
        self.epochs.inc();
    }

    /// A link of this role is up.
    pub(super) fn link_opened(&self, role: &'static str) {
        self.opened.get_or_create(&OfRole { role: Word(role) }).inc();
    }

    /// How many links of a role there are now.
    pub(super) fn links(&self, number_of: impl Fn(&str) -> usize) {
        for role in ROLES {
            let links = self.links.get_or_create_owned(&OfRole { role: Word(role) });
            links.set(number_of(role) as u64);
        }
    }

    /// What the exchange has done and holds. `writer_bytes` were handed to the writer and are not stored.
    pub(super) fn note(&self, figures: &Figures, writer_bytes: usize) {
        let Figures { counts, head, log_events, log_bytes, oldest_age, ids, staged_bytes } =
            *figures;
        let results = &self.by_result;
        for (counter, value) in [
            (&results.accepted, counts.accepted),
            (&results.duplicates, counts.duplicates),
            (&results.conflicts, counts.conflicts),
            (&results.busy, counts.busy),
            (&results.delivered, counts.delivered),
            (&results.gone, counts.gone),
            (&results.expired, counts.expired),
            (&results.epoch_changed, counts.epoch_changed),
            (&self.link_events, counts.link_events),
            (&self.replayed, counts.replayed),
        ] {
            counter.inner().store(value, Relaxed);
        }
        for (gauge, value) in [
            (&self.head, head),
            (&self.log_events, log_events),
            (&self.log_bytes, log_bytes),
            (&self.ids, ids),
            (&self.staged_bytes, staged_bytes.max(writer_bytes as u64)),
        ] {
            gauge.inner().store(value, Relaxed);
        }
        self.oldest_age.set(oldest_age.as_secs_f64());
    }

    /// How long writes took.
    pub(super) fn writes(&self) -> HistogramSummary {
        DurationHistogram::summary(&[&self.write_duration])
    }

    /// How many new epochs there were.
    pub(super) fn epochs(&self) -> u64 {
        self.epochs.get()
    }

    /// Whether a write takes too long now.
    pub(super) fn disk_waits(&self, waits: bool) {
        self.disk_waits.set(u64::from(waits));
    }

    /// A batch was written in this time.
    pub(super) fn wrote(&self, took: Duration) {
        self.write_duration.observe(took);
    }

    /// How far links are behind.
    pub(super) fn lag(&self, Lag { events, bytes, age }: Lag) {
        self.lag_events.set(events as u64);
        self.lag_bytes.set(bytes as u64);
        self.lag_age.set(age.as_secs_f64());
    }
}
