//! A histogram of durations that operators see in two places: in the metrics, and in the summary of the
//! process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use campanile_messages::inquiry::HistogramSummary;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// How often something took how long. Clones are the same numbers; any thread may add to them.
#[derive(Debug, Clone)]
pub struct DurationHistogram(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// In seconds, ascending.
    bounds: &'static [f64],
    /// One for each bound, and one for what exceeds them.
    buckets: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

impl DurationHistogram {
    /// Nothing yet. The bounds of the buckets are in seconds and ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Counts { bounds, buckets, sum_nanos: AtomicU64::new(0) }))
    }

    /// Adds a duration.
    pub fn observe(&self, duration: Duration) {
        let Counts { bounds, buckets, sum_nanos } = &*self.0;
        let seconds = duration.as_secs_f64();
        buckets[bounds.partition_point(|bound| *bound < seconds)].fetch_add(1, Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        sum_nanos.fetch_add(nanos, Relaxed);
    }

    /// The numbers for the summary of a process, of several histograms together. All have the same bounds.
    pub fn summary(histograms: &[&Self]) -> HistogramSummary {
        let bounds = histograms.first().map_or(&[][..], |histogram| histogram.0.bounds);
        let mut count = 0;
        let mut buckets = Vec::with_capacity(bounds.len());
        for index in 0..=bounds.len() {
            let within =
                histograms.iter().map(|histogram| histogram.0.buckets[index].load(Relaxed));
            count += within.sum::<u64>();
            if let Some(bound) = bounds.get(index) {
                buckets.push(((bound * 1e6).round() as u64, count));
            }
        }
        let sum =
            histograms.iter().map(|histogram| histogram.0.sum_nanos.load(Relaxed)).sum::<u64>();
        HistogramSummary { buckets, count, sum_micros: sum / 1_000 }
    }
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Counts { bounds, buckets, sum_nanos } = &*self.0;
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> =
            bounds.zip(buckets.iter().map(|bucket| bucket.load(Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = sum_nanos.load(Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn metrics_and_summary_show_the_same_durations() {
        let histogram = DurationHistogram::new(&[0.001, 0.5]);
        for millis in [0, 1, 2, 500, 501] {
            histogram.observe(Duration::from_millis(millis));
        }
        let summary = DurationHistogram::summary(&[&histogram]);
        let buckets = vec![(1_000, 2), (500_000, 4)];
        assert_eq!(summary, HistogramSummary { buckets, count: 5, sum_micros: 1_004_000 });
        let twice = DurationHistogram::summary(&[&histogram, &histogram]);
        assert_eq!((twice.buckets[1], twice.count), ((500_000, 8), 10));
        assert_eq!(DurationHistogram::summary(&[]), HistogramSummary::default());

        let mut registry = Registry::default();
        registry.register("took", "How long", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        for line in [
            "took_bucket{le=\"0.001\"} 2",
            "took_bucket{le=\"0.5\"} 4",
            "took_bucket{le=\"+Inf\"} 5",
            "took_count 5",
            "took_sum 1.004",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
        }
    }
}
