//! What the charts show of one moment: rates and latencies, from counters that are read about every second.
//! Pure: the caller passes the time in.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use campanile_channel::inquiries::Answered;
use campanile_messages::InstanceId;
use campanile_messages::inquiry::{
    Answer, GatewaySummary, HistogramSummary, PublisherSummary, Summary,
};
use serde::Serialize;

/// Latencies are those of this much time, because one second may have few.
const LATENCY_SPAN: Duration = Duration::from_secs(10);

/// A process that was silent for less than this is not new when it answers again.
const MEMORY: Duration = Duration::from_secs(60);

/// After a longer pause nothing is known of the time in between, and everything begins again.
const PAUSE_LIMIT: Duration = Duration::from_secs(12);

/// Rates are over at least this much time.
const LEAST_SECONDS: f64 = 0.2;

/// One point of each chart. What is not known is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sample {
    /// How many connections there are.
    pub connections: Option<f64>,
    /// Pushes accepted per second.
    pub accepted: Option<f64>,
    /// Deliveries per second.
    pub deliveries: Option<f64>,
    /// Delivered bytes per second.
    pub delivered_bytes: Option<f64>,
    /// Latencies in seconds.
    pub delivery_p50: Option<f64>,
    pub delivery_p99: Option<f64>,
    pub push_p50: Option<f64>,
    pub push_p99: Option<f64>,
}

impl Sample {
    /// The larger value of each of the two, so that a short peak stays visible.
    pub fn largest(self, other: Self) -> Self {
        let largest = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        Self {
            connections: largest(self.connections, other.connections),
            accepted: largest(self.accepted, other.accepted),
            deliveries: largest(self.deliveries, other.deliveries),
            delivered_bytes: largest(self.delivered_bytes, other.delivered_bytes),
            delivery_p50: largest(self.delivery_p50, other.delivery_p50),
            delivery_p99: largest(self.delivery_p99, other.delivery_p99),
            push_p50: largest(self.push_p50, other.push_p50),
            push_p99: largest(self.push_p99, other.push_p99),
        }
    }
}

/// What one process has counted since it started.
#[derive(Debug)]
struct Counters {
    /// Of a gateway deliveries and their bytes, of a publisher accepted pushes.
    numbers: [u64; 2],
    latency: HistogramSummary,
}

impl Counters {
    fn of_gateway(gateway: &GatewaySummary) -> Self {
        let numbers = [gateway.totals.deliveries, gateway.totals.delivered_bytes];
        Self { numbers, latency: gateway.deliveries.clone() }
    }

    fn of_publisher(publisher: &PublisherSummary) -> Self {
        let accepted = publisher.totals.pushes.iter().filter(|push| push.result == "200");
        let accepted = accepted.fold(0, |sum: u64, push| sum.saturating_add(push.count));
        Self { numbers: [accepted, 0], latency: publisher.pushes.clone() }
    }
}

/// The processes of one kind, as they were last seen.
type Seen = HashMap<InstanceId, (Counters, Instant)>;

/// Remembers the counters of the last answers.
#[derive(Debug, Default)]
pub struct Sampler {
    gateways: Seen,
    publishers: Seen,
    /// What the latencies of gateways and publishers have gained lately.
    latencies: VecDeque<(Instant, [HistogramSummary; 2])>,
    asked: Option<Instant>,
}

impl Sampler {
    /// Notes that nobody has answered.
    pub fn missed(&mut self, now: Instant) {
        self.pause(now);
    }

    /// What happened since the last answers.
    pub fn sample(&mut self, answered: &Answered, now: Instant) -> Sample {
        self.pause(now);
        let (mut gateways, mut publishers, mut connections) = (Vec::new(), Vec::new(), 0u64);
        for (instance, answer) in &answered.answers {
            match answer {
                Answer::Summary(Summary::Gateway(gateway)) => {
                    connections = connections.saturating_add(connections_of(gateway));
                    gateways.push((*instance, Counters::of_gateway(gateway)));
                }
                Answer::Summary(Summary::Publisher(publisher)) => {
                    publishers.push((*instance, Counters::of_publisher(publisher)));
                }
                _ => {}
            }
        }
        let is_known = !self.gateways.is_empty() || !self.publishers.is_empty();
        let ([deliveries, delivered_bytes], delivery) = grow(&mut self.gateways, gateways, now);
        let ([accepted, _], push) = grow(&mut self.publishers, publishers, now);
        self.latencies.push_back((now, [delivery, push]));
        while self.latencies.front().is_some_and(|(at, _)| now - *at >= LATENCY_SPAN) {
            self.latencies.pop_front();
        }
        let [delivery, push] = [0, 1].map(|of| {
            let all = self.latencies.iter().map(|(_, gained)| &gained[of]);
            all.fold(HistogramSummary::default(), |sum, more| add(&sum, more))
        });
        Sample {
            connections: Some(connections as f64),
            accepted: is_known.then_some(accepted),
            deliveries: is_known.then_some(deliveries),
            delivered_bytes: is_known.then_some(delivered_bytes),
            delivery_p50: percentile(&delivery, 0.5),
            delivery_p99: percentile(&delivery, 0.99),
            push_p50: percentile(&push, 0.5),
            push_p99: percentile(&push, 0.99),
        }
    }

    /// Forgets everything if nobody has asked for long.
    fn pause(&mut self, now: Instant) {
        if self.asked.is_some_and(|asked| now - asked > PAUSE_LIMIT) {
            *self = Self::default();
        }
        self.asked = Some(now);
    }
}

fn connections_of(gateway: &GatewaySummary) -> u64 {
    let sum = |sum: u64, more| sum.saturating_add(more);
    match gateway.connections.is_empty() {
        true => gateway.workers.iter().map(|worker| worker.connections).fold(0, sum),
        false => gateway.connections.values().copied().fold(0, sum),
    }
}

/// Notes the counters of all processes, and returns by how much they have grown: the numbers per second. A process
/// that is new, or has started again, makes no peak.
fn grow(
    seen: &mut Seen,
    counted: Vec<(InstanceId, Counters)>,
    now: Instant,
) -> ([f64; 2], HistogramSummary) {
    let (mut rates, mut latency) = ([0.0; 2], HistogramSummary::default());
    for (instance, counters) in counted {
        if let Some((before, at)) = seen.get(&instance) {
            let seconds = (now - *at).as_secs_f64().max(LEAST_SECONDS);
            for (rate, (number, before)) in
                rates.iter_mut().zip(counters.numbers.iter().zip(before.numbers))
            {
                *rate += number.saturating_sub(before) as f64 / seconds;
            }
            latency = add(&latency, &gained(&counters.latency, &before.latency));
        }
        seen.insert(instance, (counters, now));
    }
    // A process that is silent for a second is counted over that time when it answers again.
    seen.retain(|_, (_, at)| now - *at < MEMORY);
    (rates, latency)
}

/// What a histogram has gained.
fn gained(now: &HistogramSummary, before: &HistogramSummary) -> HistogramSummary {
    let old: BTreeMap<_, _> = before.buckets.iter().copied().collect();
    let grown = |(bound, count): &(u64, u64)| {
        (*bound, count.saturating_sub(old.get(bound).copied().unwrap_or(0)))
    };
    HistogramSummary {
        buckets: now.buckets.iter().map(grown).collect(),
        count: now.count.saturating_sub(before.count),
        sum_micros: now.sum_micros.saturating_sub(before.sum_micros),
    }
}

/// Two histograms as one.
fn add(one: &HistogramSummary, other: &HistogramSummary) -> HistogramSummary {
    let mut buckets: BTreeMap<u64, u64> = BTreeMap::new();
    for (bound, count) in one.buckets.iter().chain(&other.buckets) {
        let sum = buckets.entry(*bound).or_default();
        *sum = sum.saturating_add(*count);
    }
    HistogramSummary {
        buckets: buckets.into_iter().collect(),
        count: one.count.saturating_add(other.count),
        sum_micros: one.sum_micros.saturating_add(other.sum_micros),
    }
}

/// The value in seconds below which a share of the observations is; `None` without any.
fn percentile(histogram: &HistogramSummary, share: f64) -> Option<f64> {
    let HistogramSummary { buckets, count, .. } = histogram;
    if *count == 0 || buckets.is_empty() {
        return None;
    }
    let rank = share * *count as f64;
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, up_to) in buckets {
        let (upper, up_to) = (*bound as f64 / 1e6, *up_to as f64);
        if up_to >= rank && up_to > below {
            return Some(lower + (upper - lower) * (rank - below) / (up_to - below));
        }
        (lower, below) = (upper, up_to);
    }
    Some(lower)
}

#[cfg(test)]
mod tests;
