//! Random lives of pushes, beside a model that keeps one list and looks at all of it each time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::courier::Unavailable;
use crate::http::status;

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
    Handed { number: Number, at: u64, said: bool, count_until: u64 },
    Counting { number: Number, to_come: u32, came: u32, away: u32, until: u64 },
    Answered,
}

/// What a caller hears, without the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
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

/// A caller is its place in the list; times are in milliseconds.
#[derive(Debug, Default)]
struct Model {
    records: Vec<Record>,
    linked: bool,
    epoch: Option<u64>,
    now: u64,
    numbers: Number,
}

impl Model {
    /// Moves records on; answers who hears what.
    fn sweep(&mut self, mut judge: impl FnMut(&Record) -> Option<Told>) -> Vec<(usize, Told)> {
        let mut told = Vec::new();
        for (caller, record) in self.records.iter_mut().enumerate() {
            if record.place != Place::Answered
                && let Some(what) = judge(record)
            {
                record.place = Place::Answered;
                told.push((caller, what));
            }
        }
        told
    }

    /// The caller whose push is the next to leave.
    fn next(&self) -> Option<usize> {
        let again = |record: &Record| matches!(record.place, Place::Handed { said: false, .. });
        let new = |record: &Record| record.place == Place::Waiting;
        // Callers come in order and so do numbers.
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
        record.place = Place::Handed { number, at, said: true, count_until };
        Some((number, caller))
    }

    fn perform(&mut self, step: &Step) -> Vec<(usize, Told)> {
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
                            Told::Delivered { written: 0, silent }
                        } else {
                            Told::Accepted
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
                        Some(Told::Delivered { written, silent })
                    }
                    _ => None,
                })
            }
            Step::Refuse(refused) => self.sweep(|record| match record.place {
                Place::Handed { number, .. } if number == refused && !is_for_one(record) => {
                    Some(Told::Refused)
                }
                _ => None,
            }),
            Step::Answer(answered) => self.sweep(|record| match record.place {
                Place::Handed { number, .. } if number == answered && is_for_one(record) => {
                    Some(Told::Written)
                }
                _ => None,
            }),
            Step::Lose => {
                self.linked = false;
                for record in &mut self.records {
                    if let Place::Handed { said, .. } = &mut record.place {
                        *said = false;
                    }
                }
                self.sweep(|record| match record.place {
                    Place::Handed { .. } if is_for_one(record) => Some(Told::Unknown),
                    Place::Counting { .. } => Some(so_far(&record.place)),
                    _ => None,
                })
            }
            Step::Link { epoch } => {
                self.linked = true;
                let other = self.epoch.replace(epoch).is_some_and(|old| old != epoch);
                self.sweep(|record| match record.place {
                    Place::Handed { .. } if other => Some(Told::Unknown),
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
                            Some(Told::NotSent)
                        }
                        Place::Handed { at, .. } if now >= whole.min(at + 3_000) => {
                            Some(Told::Unknown)
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

fn so_far(place: &Place) -> Told {
    let Place::Counting { to_come, came, away, .. } = *place else {
        panic!("{place:?}");
    };
    Told::Delivered { written: came.into(), silent: u64::from(to_come - came) + u64::from(away) }
}

fn heard(answer: Answer<usize>) -> (usize, Told) {
    let told = match answer.result {
        Ok(Receipt::Written) => Told::Written,
        Ok(Receipt::Accepted(Accepted { delivery: None, .. })) => Told::Accepted,
        Ok(Receipt::Accepted(Accepted { delivery: Some(delivery), .. })) => {
            Told::Delivered { written: delivery.written, silent: delivery.silent_gateways }
        }
        Err(ApiError::Unavailable(Unavailable::IdsFull)) => Told::Refused,
        Err(error) if status(&error) == 503 => Told::NotSent,
        Err(error) => {
            assert_eq!(status(&error), 504, "{error}");
            Told::Unknown
        }
    };
    (answer.caller, told)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_push_lives_as_in_the_model(steps in prop::collection::vec(step(), 0..80)) {
        let start = Instant::now();
        let mut model = Model::default();
        let mut pending = Pending::new(LIMITS);
        let mut answers: Vec<(usize, Told)> = Vec::new();
        // Which caller's push left under a number, and to which log.
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
            let told = match step {
                Step::Add { to_one: for_one, wait, timeout_millis } => {
                    let target = if for_one { to_one().target } else { everyone().target };
                    let timeout = timeout_millis.map(Duration::from_millis);
                    let push = Push { wait, timeout, ..Push::new(target, "hi".into()) };
                    pending.add(push.clone(), model.records.len(), now);
                    let added = model.now;
                    model.records.push(Record { push, added, place: Place::Waiting });
                    Vec::new()
                }
                Step::HandOver if model.linked => {
                    let said = pending.next(now, |_| false).map(whole);
                    pending.handed_over(now);
                    let number = said.as_ref().map(|said| match said {
                        ToBroker::Publish { number, .. } | ToBroker::Direct { number, .. } => *number,
                        other => panic!("{other:?}"),
                    });
                    let unanswered = model.unanswered();
                    let moved = model.hand_over();
                    prop_assert_eq!(number, moved.map(|(number, _)| number));
                    if let Some(ToBroker::Publish { unanswered: told, number, .. }) = said {
                        prop_assert_eq!(told, unanswered);
                        prop_assert!(told <= number);
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
                    Vec::from_iter(pending.answered(&accepted_counting(number, counting, away)))
                }
                Step::Count(number) => {
                    let tally = Tally { matched: 1, written: 1, too_slow: 0 };
                    Vec::from_iter(pending.answered(&FromBroker::Counted { number, tally }))
                }
                Step::Refuse(number) => {
                    let refusal = Refusal::IdsFull;
                    Vec::from_iter(pending.answered(&FromBroker::Refused { number, refusal }))
                }
                Step::Answer(number) => {
                    let outcome = Outcome::Written;
                    Vec::from_iter(pending.answered(&FromBroker::Answered { number, outcome }))
                }
                Step::Lose => pending.link_lost(),
                Step::Link { epoch } => {
                    last_on_link = 0;
                    pending.link_up(&welcome(epoch))
                }
                Step::Pass { .. } => pending.expire(now, model.linked),
            };
            let mut told: Vec<_> = told.into_iter().map(heard).collect();
            told.sort_unstable();
            prop_assert_eq!(&told, &expected);
            prop_assert_eq!(pending.unanswered(), model.unanswered());
            answers.extend(told);
        }
        answers.extend(pending.last_call().into_iter().map(heard));
        prop_assert!(pending.is_empty());
        for (caller, told) in &answers {
            let has_left = left.values().any(|(left, _)| left == caller);
            prop_assert_eq!(*told == Told::NotSent, !has_left);
        }
        let mut callers: Vec<usize> = answers.into_iter().map(|(caller, _)| caller).collect();
        callers.sort_unstable();
        prop_assert!(callers.into_iter().eq(0..model.records.len()), "one answer for each");
    }
}
