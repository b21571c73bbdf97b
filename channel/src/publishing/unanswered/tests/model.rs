//! Random steps, compared with a model that keeps one list and goes through all of it each time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Add { to_one: bool, wait: Wait, timeout_millis: Option<u64> },
    HandOver,
    Accept { number: Number, counting: u32, away: u32 },
    Count(Number),
    Refuse(Number),
    Answer(Number),
    Lose,
    Link { epoch: u64 },
    Pass { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 1u64..10;
    let wait = prop_oneof![Just(Wait::Accepted), Just(Wait::Delivered)];
    let timeout = prop::option::of(1u64..8_000);
    let add = (prop::bool::weighted(0.2), wait, timeout);
    prop_oneof![
        5 => add.prop_map(|(to_one, wait, timeout_millis)| Step::Add { to_one, wait, timeout_millis }),
        6 => Just(Step::HandOver),
        2 => (number(), 0u32..3, 0u32..2)
            .prop_map(|(number, counting, away)| Step::Accept { number, counting, away }),
        2 => number().prop_map(Step::Count),
        1 => number().prop_map(Step::Refuse),
        1 => number().prop_map(Step::Answer),
        2 => Just(Step::Lose),
        3 => prop_oneof![4 => Just(1u64), 1 => Just(2u64)].prop_map(|epoch| Step::Link { epoch }),
        2 => (0u64..3_000).prop_map(|millis| Step::Pass { millis }),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Place {
    Waiting,
    Handed { number: Number, at: u64, sent: bool, count_until: u64 },
    Counting { number: Number, to_come: u32, came: u32, away: u32, until: u64 },
    Answered,
}

/// What a caller gets, without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Got {
    NotSent,
    Unknown,
    Refused,
    Accepted,
    Delivered { written: u64, silent: u64 },
    Written,
}

#[derive(Debug, Clone)]
struct Record {
    push: Push,
    added: u64,
    place: Place,
}

/// A caller is its index in the list; times are in milliseconds.
#[derive(Debug, Default)]
struct Model {
    records: Vec<Record>,
    linked: bool,
    epoch: Option<u64>,
    now: u64,
    numbers: Number,
}

impl Model {
    /// Answers the records that `judge` has an answer for. Returns who gets what.
    fn sweep(&mut self, mut judge: impl FnMut(&Record) -> Option<Got>) -> Vec<(usize, Got)> {
        let mut answered_now = Vec::new();
        for (caller, record) in self.records.iter_mut().enumerate() {
            if record.place != Place::Answered
                && let Some(what) = judge(record)
            {
                record.place = Place::Answered;
                answered_now.push((caller, what));
            }
        }
        answered_now
    }

    /// The caller whose push is the next to leave.
    fn next(&self) -> Option<usize> {
        let again = |record: &Record| matches!(record.place, Place::Handed { sent: false, .. });
        let new = |record: &Record| record.place == Place::Waiting;
        // Callers are in order, and so are numbers.
        self.records.iter().position(again).or_else(|| self.records.iter().position(new))
    }

    fn hand_over(&mut self) -> Option<(Number, usize)> {
        let caller = self.next()?;
        let now = self.now;
        let record = &mut self.records[caller];
        let timeout = record.push.timeout.map(|timeout| timeout.as_millis() as u64);
        let count_until = timeout.map_or(now + 5_000, |timeout| record.added + timeout);
        let (number, at) = match record.place {
            Place::Handed { number, at, .. } => (number, at),
            _ => {
                self.numbers += 1;
                (self.numbers, now)
            }
        };
        record.place = Place::Handed { number, at, sent: true, count_until };
        Some((number, caller))
    }

    fn perform(&mut self, step: &Step) -> Vec<(usize, Got)> {
        let is_for_one = |record: &Record| matches!(record.push.target, Target::Connection(_));
        match *step {
            Step::Add { .. } | Step::HandOver => Vec::new(),
            Step::Accept { number: accepted, counting, away } => {
                let mut started = None;
                for record in &mut self.records {
                    if let Place::Handed { number, count_until: until, .. } = record.place
                        && number == accepted
                        && !is_for_one(record)
                        && record.push.wait == Wait::Delivered
                        && counting > 0
                    {
                        record.place =
                            Place::Counting { number, to_come: counting, came: 0, away, until };
                        started = Some(());
                    }
                }
                if started.is_some() {
                    return Vec::new();
                }
                self.sweep(|record| match record.place {
                    Place::Handed { number, .. } if number == accepted && !is_for_one(record) => {
                        let counted = record.push.wait == Wait::Delivered && away > 0;
                        let silent = u64::from(away);
                        Some(if counted {
                            Got::Delivered { written: 0, silent }
                        } else {
                            Got::Accepted
                        })
                    }
                    _ => None,
                })
            }
            Step::Count(counted) => {
                for record in &mut self.records {
                    if let Place::Counting { number, came, .. } = &mut record.place
                        && *number == counted
                    {
                        *came += 1;
                    }
                }
                self.sweep(|record| match record.place {
                    Place::Counting { to_come, came, away, .. } if to_come == came => {
                        let (written, silent) = (u64::from(came), u64::from(away));
                        Some(Got::Delivered { written, silent })
                    }
                    _ => None,
                })
            }
            Step::Refuse(refused) => self.sweep(|record| match record.place {
                Place::Handed { number, .. } if number == refused && !is_for_one(record) => {
                    Some(Got::Refused)
                }
                _ => None,
            }),
            Step::Answer(answered) => self.sweep(|record| match record.place {
                Place::Handed { number, .. } if number == answered && is_for_one(record) => {
                    Some(Got::Written)
                }
                _ => None,
            }),
            Step::Lose => {
                self.linked = false;
                for record in &mut self.records {
                    if let Place::Handed { sent, .. } = &mut record.place {
                        *sent = false;
                    }
                }
                self.sweep(|record| match record.place {
                    Place::Handed { .. } if is_for_one(record) => Some(Got::Unknown),
                    Place::Counting { .. } => Some(so_far(&record.place)),
                    _ => None,
                })
            }
            Step::Link { epoch } => {
                self.linked = true;
                let other = self.epoch.replace(epoch).is_some_and(|old| old != epoch);
                self.sweep(|record| match record.place {
                    Place::Handed { .. } if other => Some(Got::Unknown),
                    _ => None,
                })
            }
            Step::Pass { millis } => {
                self.now += millis;
                let now = self.now;
                self.sweep(|record| {
                    let timeout = record.push.timeout.map(|timeout| timeout.as_millis() as u64);
                    let whole = timeout.map_or(u64::MAX, |timeout| record.added + timeout);
                    match record.place {
                        Place::Waiting if now >= whole.min(record.added + 5_000) => {
                            Some(Got::NotSent)
                        }
                        Place::Handed { at, .. } if now >= whole.min(at + 3_000) => {
                            Some(Got::Unknown)
                        }
                        Place::Counting { until, .. } if now >= until => {
                            Some(so_far(&record.place))
                        }
                        _ => None,
                    }
                })
            }
        }
    }

    fn unanswered(&self) -> Number {
        let numbers = self.records.iter().filter_map(|record| match record.place {
            Place::Handed { number, .. } if record.push.target.address().is_none() => Some(number),
            _ => None,
        });
        numbers.min().unwrap_or(self.numbers + 1)
    }
}

fn so_far(place: &Place) -> Got {
    let Place::Counting { to_come, came, away, .. } = *place else {
        panic!("{place:?}");
    };
    Got::Delivered { written: came.into(), silent: u64::from(to_come - came) + u64::from(away) }
}

fn summary(answer: Answer<usize>) -> (usize, Got) {
    let got = match answer.result {
        Ok(Receipt::Written) => Got::Written,
        Ok(Receipt::Accepted(Accepted { delivery: None, .. })) => Got::Accepted,
        Ok(Receipt::Accepted(Accepted { delivery: Some(delivery), .. })) => {
            Got::Delivered { written: delivery.written, silent: delivery.silent_gateways }
        }
        Err(Failure::Refused { refusal: Refusal::IdsFull, id: None }) => Got::Refused,
        Err(Failure::NotSent(_)) => Got::NotSent,
        Err(Failure::Unknown(_)) => Got::Unknown,
        Err(failure) => panic!("{failure:?}"),
    };
    (answer.caller, got)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_push_gets_the_answer_of_the_model(steps in prop::collection::vec(step(), 0..80)) {
        let start = Instant::now();
        let mut model = Model::default();
        let mut pushes = Unanswered::new(LIMITS);
        let mut answers: Vec<(usize, Got)> = Vec::new();
        // Which caller's push was handed over under a number, and to which log.
        let mut left: BTreeMap<Number, (usize, u64)> = BTreeMap::new();
        let mut last_on_link = 0;
        for mut step in steps {
            // A link is lost before there is another.
            match step {
                Step::Lose if !model.linked => continue,
                Step::Link { .. } if model.linked => step = Step::Lose,
                _ => {}
            }
            let expected = model.perform(&step);
            let now = start + Duration::from_millis(model.now);
            let answered_now = match step {
                Step::Add { to_one: for_one, wait, timeout_millis } => {
                    let target = if for_one { to_one().target } else { everyone().target };
                    let timeout = timeout_millis.map(Duration::from_millis);
                    let push = Push { wait, timeout, ..Push::new(target, "hi".into()) };
                    pushes.add(push.clone(), model.records.len(), now);
                    let added = model.now;
                    model.records.push(Record { push, added, place: Place::Waiting });
                    Vec::new()
                }
                Step::HandOver if model.linked => {
                    let sent = pushes.next(now, |_| false).map(whole);
                    pushes.handed_over(now);
                    let number = sent.as_ref().map(|sent| match sent {
                        ToBroker::Publish { number, .. } | ToBroker::Direct { number, .. } => *number,
                        other => panic!("{other:?}"),
                    });
                    let unanswered = model.unanswered();
                    let moved = model.hand_over();
                    prop_assert_eq!(number, moved.map(|(number, _)| number));
                    if let Some(ToBroker::Publish { unanswered: lowest, number, .. }) = sent {
                        prop_assert_eq!(lowest, unanswered);
                        prop_assert!(lowest <= number);
                    }
                    if let Some((number, caller)) = moved {
                        let mine = (caller, model.epoch.expect("linked"));
                        prop_assert_eq!(*left.entry(number).or_insert(mine), mine);
                        prop_assert!(number > last_on_link, "out of order");
                        last_on_link = number;
                    }
                    Vec::new()
                }
                Step::HandOver => Vec::new(),
                Step::Accept { number, counting, away } => {
                    Vec::from_iter(pushes.answered(&accepted_counting(number, counting, away)))
                }
                Step::Count(number) => {
                    let tally = Tally { matched: 1, written: 1, too_slow: 0 };
                    Vec::from_iter(pushes.answered(&FromBroker::Counted { number, tally }))
                }
                Step::Refuse(number) => {
                    let refusal = Refusal::IdsFull;
                    Vec::from_iter(pushes.answered(&FromBroker::Refused { number, refusal }))
                }
                Step::Answer(number) => {
                    let outcome = DirectOutcome::Written;
                    Vec::from_iter(pushes.answered(&FromBroker::Answered { number, outcome }))
                }
                Step::Lose => pushes.link_lost(),
                Step::Link { epoch } => {
                    last_on_link = 0;
                    pushes.link_up(&welcome(epoch))
                }
                Step::Pass { .. } => pushes.expire(now, model.linked),
            };
            let mut answered_now: Vec<_> = answered_now.into_iter().map(summary).collect();
            answered_now.sort_unstable();
            prop_assert_eq!(&answered_now, &expected);
            prop_assert_eq!(pushes.lowest(), model.unanswered());
            answers.extend(answered_now);
        }
        answers.extend(pushes.last_call().into_iter().map(summary));
        prop_assert!(pushes.is_empty());
        for (caller, got) in &answers {
            let has_left = left.values().any(|(left, _)| left == caller);
            prop_assert_eq!(*got == Got::NotSent, !has_left);
        }
        let mut callers: Vec<usize> = answers.into_iter().map(|(caller, _)| caller).collect();
        callers.sort_unstable();
        prop_assert!(callers.into_iter().eq(0..model.records.len()), "one answer for each");
    }
}
