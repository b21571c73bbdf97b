//! What the charts show of the last 15 minutes. Pure: the caller passes the time in.
//!
//! The cluster is asked only while somebody looks, so other times have no samples.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use campanile_channel::inquiries::Answered;
use serde::Serialize;

use super::sample::{Sample, Sampler};

/// How much time one kept sample stands for.
const STEP: Duration = Duration::from_secs(5);

/// How many are kept: 15 minutes, and less than 20 KiB.
const MAX_SAMPLES: usize = 180;

/// The samples of the last minutes, the oldest first.
#[derive(Debug, Default)]
pub struct History {
    sampler: Sampler,
    /// Each with when its step began.
    kept: VecDeque<(Instant, Sample)>,
}

/// A sample as pages get it.
#[derive(Debug, PartialEq, Serialize)]
pub struct AgedSample {
    /// How many seconds ago it was. Pages have clocks of their own.
    pub age: f64,
    #[serde(flatten)]
    pub sample: Sample,
}

impl History {
    /// Adds what the cluster has answered, and returns what the charts show of it.
    pub fn add(&mut self, answered: &Answered, now: Instant) -> Sample {
        let sample = self.sampler.sample(answered, now);
        self.keep(sample, now);
        sample
    }

    /// Notes that nobody has answered.
    pub fn missed(&mut self, now: Instant) {
        self.sampler.missed(now);
        self.keep(Sample::default(), now);
    }

    /// What is kept.
    pub fn samples(&self, now: Instant) -> Vec<AgedSample> {
        let aged = self.kept.iter().map(|(begun, sample)| AgedSample {
            age: now.saturating_duration_since(*begun).as_secs_f64(),
            sample: *sample,
        });
        let span = STEP.as_secs_f64() * MAX_SAMPLES as f64;
        aged.filter(|aged| aged.age <= span).collect()
    }

    fn keep(&mut self, sample: Sample, now: Instant) {
        match self.kept.back_mut() {
            Some((begun, last)) if now - *begun < STEP => *last = last.largest(sample),
            _ => self.kept.push_back((now, sample)),
        }
        if self.kept.len() > MAX_SAMPLES {
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use campanile_messages::InstanceId;
    use campanile_messages::inquiry::{Answer, GatewaySummary, Summary};

    use super::*;

    fn answered(connections: u64) -> Answered {
        let gateway = GatewaySummary {
            connections: [("v1".to_owned(), connections)].into(),
            ..GatewaySummary::default()
        };
        let answer = Answer::Summary(Summary::Gateway(Box::new(gateway)));
        let answers = vec![(InstanceId(1), answer)];
        Answered { broker: Answer::Busy, answers, silent: vec![] }
    }

    fn connections(history: &History, now: Instant) -> Vec<(f64, Option<f64>)> {
        let samples = history.samples(now).into_iter();
        samples.map(|aged| (aged.age, aged.sample.connections)).collect()
    }

    #[test]
    fn a_kept_sample_has_the_largest_values_of_its_5_s() {
        let (mut history, start) = (History::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        for (second, number) in [(0, 3), (1, 9), (2, 4), (5, 1), (6, 2)] {
            history.add(&answered(number), at(second));
        }
        history.missed(at(7));
        assert_eq!(connections(&history, at(8)), [(8.0, Some(9.0)), (3.0, Some(2.0))]);
        assert!(history.samples(at(8))[0].sample.deliveries.is_some());
    }

    #[test]
    fn times_without_onlookers_and_without_answers_are_gaps() {
        let (mut history, start) = (History::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        history.add(&answered(1), at(0));
        (100..110).for_each(|second| history.missed(at(second)));
        history.add(&answered(2), at(110));
        let expected = [(110.0, Some(1.0)), (10.0, None), (5.0, None), (0.0, Some(2.0))];
        assert_eq!(connections(&history, at(110)), expected);
        assert_eq!(connections(&history, at(1_000)).len(), 3, "the first is too old");
        assert_eq!(connections(&history, at(9_000)), []);
    }

    #[test]
    fn no_more_than_15_minutes_are_kept() {
        let (mut history, start) = (History::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        (0..2_000).for_each(|second| _ = history.add(&answered(second), at(second)));
        let kept = history.samples(at(2_000));
        assert_eq!((kept.len(), history.kept.len()), (MAX_SAMPLES, MAX_SAMPLES));
        assert_eq!((kept[0].age, kept[0].sample.connections), (900.0, Some(1_104.0)));
        assert!(size_of::<(Instant, Sample)>() * MAX_SAMPLES.next_power_of_two() < 64 << 10);
        let json = serde_json::to_string(&kept).expect("JSON");
        assert!(json.starts_with("[{\"age\":900.0,\"connections\":1104.0,"), "{json}");
        assert!(json.len() < 64 << 10, "{}", json.len());
    }
}
