//! The numbers of a gateway in its answer to operators who ask how the cluster fares.

use std::sync::atomic::Ordering;

use campanile_messages::inquiry::{CountsByWord, GatewayTotals, HistogramSummary};

use super::label::{Counted, Label};
use super::{BOUNDS_MICROS, Closed, Dialect, GatewayMeters};

impl GatewayMeters {
    /// Connections now, by dialect.
    pub fn connections(&self) -> CountsByWord {
        let now = Dialect::ALL.iter().map(|dialect| {
            // Read first, so that one that ends in between is not subtracted without having been added.
            let ended = self.ended.of(*dialect);
            (dialect.word().to_owned(), self.opened.of(*dialect).saturating_sub(ended))
        });
        now.collect()
    }

    /// What was counted since the gateway started.
    pub fn totals(&self) -> GatewayTotals {
        GatewayTotals {
            opened: Dialect::ALL.iter().map(|dialect| self.opened.of(*dialect)).sum(),
            closed: by_word(&self.closed),
            refused: by_word(&self.refused),
            limits: by_word(&self.limits).into_iter().chain(by_word(&self.client_limits)).collect(),
            deliveries: self.sum(|worker| &worker.deliveries),
            delivered_bytes: self.sum(|worker| &worker.delivered_bytes),
            slow_closed: self.closed.of(Closed::TooSlow),
            resumes: by_word(&self.resumes),
            gaps: by_word(&self.gaps),
            reconnects: self.link_connects.load(Ordering::Relaxed).saturating_sub(1),
            tokens: by_word(&self.tokens),
            publishes: by_word(&self.publishes),
        }
    }

    /// From the receipt of a batch to its write.
    pub fn deliveries(&self) -> HistogramSummary {
        let mut count = 0;
        let mut within = |index: usize| {
            count += self.sum(|worker| &worker.delivery_duration.buckets[index]);
            count
        };
        let buckets = BOUNDS_MICROS.iter().enumerate();
        let buckets = buckets.map(|(index, bound)| (*bound, within(index))).collect();
        let count = within(BOUNDS_MICROS.len());
        let sum_micros = self.sum(|worker| &worker.delivery_duration.sum_nanos) / 1_000;
        HistogramSummary { buckets, count, sum_micros }
    }
}

/// The counts of those values that there were.
fn by_word<L: Label>(counted: &Counted<L>) -> CountsByWord {
    let counts = L::ALL.iter().map(|value| (value.word().to_owned(), counted.of(*value)));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meters::{Limit, Written};

    #[test]
    fn a_summary_has_the_numbers_of_all_workers() {
        let meters = GatewayMeters::default();
        let (one, two) = (meters.add_worker(), meters.add_worker());
        one.wrote(Written { events: 2, bytes: 20 });
        two.wrote(Written { events: 3, bytes: 30 });
        one.delivery_duration.observe(Duration::from_micros(100));
        two.delivery_duration.observe(Duration::from_micros(101));
        two.delivery_duration.observe(Duration::from_secs(11));
        for dialect in [Dialect::V1, Dialect::V1, Dialect::Plain] {
            meters.opened(dialect);
        }
        meters.ended(Dialect::V1, 4_001);
        meters.limits.count(Limit::Unauthenticated);
        meters.link_up();
        meters.link_up();
        let totals = meters.totals();
        assert_eq!((totals.opened, totals.deliveries, totals.delivered_bytes), (3, 5, 50));
        assert_eq!((totals.slow_closed, totals.reconnects), (1, 1));
        assert_eq!(totals.closed, CountsByWord::from([("4001".to_owned(), 1)]));
        let limits = ["max_outbox", "max_unauthenticated"].map(|limit| (limit.to_owned(), 1));
        assert_eq!(totals.limits, limits.into());
        let now = [("events", 0), ("plain", 1), ("v1", 1)];
        assert_eq!(meters.connections(), now.map(|(word, n)| (word.to_owned(), n)).into());
        let deliveries = meters.deliveries();
        assert_eq!(deliveries.buckets[..2], [(100, 1), (250, 2)]);
        assert_eq!((deliveries.buckets[15], deliveries.count), ((10_000_000, 2), 3));
        assert_eq!(deliveries.sum_micros, 11_000_201);
    }
}
