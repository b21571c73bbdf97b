//! Pushes, by how they came, what became of them, and whose they were.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use campanile_messages::inquiry::PushCount;
use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// How pushes come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One in a request.
    Push,
    /// Many in a request.
    Batch,
    /// Over a websocket.
    Stream,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Batch => "batch",
            Self::Stream => "stream",
        }
    }
}

impl EncodeLabelValue for Kind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.word(), encoder)
    }
}

/// The status of an answer; `None` if the caller was gone before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Status(pub Option<u16>);

impl Status {
    fn word(self) -> String {
        self.0.map_or_else(|| "none".to_owned(), |status| status.to_string())
    }
}

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.word(), encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Pushed {
    pub kind: Kind,
    pub result: Status,
    /// A name from the settings, or nothing.
    pub key: String,
}

/// How many pushes there were. Clones are the same numbers. Whoever pushes much counts many at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Pushes(Arc<Mutex<BTreeMap<Pushed, u64>>>);

impl Pushes {
    pub fn add(&self, pushed: Pushed, count: u64) {
        *self.lock().entry(pushed).or_default() += count;
    }

    /// How many there were with these labels.
    #[cfg(test)]
    pub fn of(&self, pushed: &Pushed) -> u64 {
        self.lock().get(pushed).copied().unwrap_or(0)
    }

    /// All of them, whosever they were.
    pub fn counts(&self) -> Vec<PushCount> {
        let mut counts = BTreeMap::<_, u64>::new();
        for (Pushed { kind, result, .. }, count) in &*self.lock() {
            *counts.entry((*kind, *result)).or_default() += count;
        }
        let counts = counts.into_iter().map(|((kind, result), count)| PushCount {
            kind: kind.word().to_owned(),
            result: result.word(),
            count,
        });
        counts.collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Pushed, u64>> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Pushes {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (pushed, count) in &*self.lock() {
            ConstCounter::new(*count).encode(encoder.encode_family(pushed)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
