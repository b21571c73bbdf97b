use campanile_messages::inquiry::{GatewayTotals, PublisherTotals, PushCount};

use super::*;

fn histogram(counts: [u64; 3]) -> HistogramSummary {
    let buckets = [1_000, 10_000, 100_000].into_iter().zip(counts).collect();
    HistogramSummary { buckets, count: counts[2], sum_micros: 0 }
}

fn gateway(instance: u64, deliveries: u64, latency: [u64; 3]) -> (InstanceId, Answer) {
    let delivered_bytes = deliveries * 10;
    let gateway = GatewaySummary {
        connections: [("plain".to_owned(), 1), ("v1".to_owned(), 2)].into(),
        totals: GatewayTotals { deliveries, delivered_bytes, ..GatewayTotals::default() },
        deliveries: histogram(latency),
        ..GatewaySummary::default()
    };
    (InstanceId(instance), Answer::Summary(Summary::Gateway(Box::new(gateway))))
}

fn publisher(instance: u64, accepted: u64, refused: u64) -> (InstanceId, Answer) {
    let push = |result: &str, count| {
        let (kind, result) = ("push".to_owned(), result.to_owned());
        PushCount { kind, result, count }
    };
    let pushes = vec![push("200", accepted), push("429", refused), push("none", refused)];
    let totals = PublisherTotals { pushes, ..PublisherTotals::default() };
    let publisher = PublisherSummary { totals, ..PublisherSummary::default() };
    (InstanceId(instance), Answer::Summary(Summary::Publisher(Box::new(publisher))))
}

struct Clocked(Sampler, Instant);

impl Clocked {
    fn new() -> Self {
        Self(Sampler::default(), Instant::now())
    }

    fn at(&mut self, second: u64, answers: Vec<(InstanceId, Answer)>) -> Sample {
        let answered = Answered { broker: Answer::Busy, answers, silent: vec![] };
        self.0.sample(&answered, self.1 + Duration::from_secs(second))
    }
}

const NONE: [u64; 3] = [0; 3];

#[test]
fn rates_are_the_differences_of_counters_by_time() {
    let mut sampler = Clocked::new();
    let first = sampler.at(10, vec![gateway(1, 100, NONE), publisher(1, 5, 1)]);
    assert_eq!((first.connections, first.deliveries, first.accepted), (Some(3.0), None, None));
    let second = sampler.at(12, vec![gateway(1, 150, NONE), publisher(1, 9, 8)]);
    assert_eq!((second.deliveries, second.delivered_bytes), (Some(25.0), Some(250.0)));
    assert_eq!((second.accepted, second.delivery_p50), (Some(2.0), None));
}

#[test]
fn a_process_that_is_new_or_starts_again_makes_no_peak() {
    let mut sampler = Clocked::new();
    sampler.at(0, vec![gateway(1, 1_000_000, NONE)]);
    let restarted = sampler.at(1, vec![gateway(1, 3, NONE), gateway(2, 500_000, NONE)]);
    assert_eq!(restarted.deliveries, Some(0.0));
    let next = sampler.at(2, vec![gateway(1, 5, NONE), gateway(2, 500_004, NONE)]);
    assert_eq!((next.deliveries, next.connections), (Some(6.0), Some(6.0)));
}

#[test]
fn a_process_that_was_silent_is_counted_over_that_time() {
    let mut sampler = Clocked::new();
    sampler.at(0, vec![gateway(1, 0, NONE)]);
    sampler.at(1, vec![]);
    let now = sampler.1 + Duration::from_secs(2);
    sampler.0.missed(now);
    assert_eq!(sampler.at(3, vec![gateway(1, 30, NONE)]).deliveries, Some(10.0));
    (4..64).for_each(|second| _ = sampler.at(second, vec![]));
    assert!(sampler.0.gateways.is_empty(), "it is forgotten");
}

#[test]
fn nothing_is_known_of_a_time_in_which_nobody_asked() {
    let mut sampler = Clocked::new();
    sampler.at(0, vec![gateway(1, 0, NONE)]);
    let after = sampler.at(12, vec![gateway(1, 1_200, NONE)]);
    assert_eq!(after.deliveries, Some(100.0), "a short pause");
    let after = sampler.at(25, vec![gateway(1, 9_999, [0, 0, 9])]);
    assert_eq!((after.deliveries, after.delivery_p50), (None, None));
}

#[test]
fn percentiles_are_those_of_the_last_seconds() {
    let mut sampler = Clocked::new();
    sampler.at(0, vec![gateway(1, 0, [900; 3])]);
    let busy = sampler.at(1, vec![gateway(1, 0, [900, 950, 1_000])]);
    assert!(busy.delivery_p50.is_some_and(|p50| p50 < 0.0101), "{busy:?}");
    assert!(busy.delivery_p99.is_some_and(|p99| p99 > 0.09), "{busy:?}");
    let idle = sampler.at(11, vec![gateway(1, 0, [900, 950, 1_000])]);
    assert_eq!(idle.delivery_p50, None);
    let beyond = HistogramSummary { buckets: vec![(1_000_000, 10)], count: 20, sum_micros: 0 };
    assert_eq!(percentile(&beyond, 0.99), Some(1.0), "beyond the last bound");
    assert_eq!(add(&histogram([1, 2, 3]), &histogram([1, 1, 1])), histogram([2, 3, 4]));
}

#[test]
fn numbers_that_cannot_be_are_survived() {
    let mut sampler = Clocked::new();
    let hostile = || vec![gateway(1, u64::MAX / 10, [u64::MAX; 3]), gateway(1, 0, [9, 3, 1])];
    sampler.at(0, hostile());
    let sample = sampler.at(0, hostile());
    assert!(sample.deliveries.is_some_and(f64::is_finite));
}
