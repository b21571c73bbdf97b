//! Two brokers write one log and read it at their own pace. What each has staged is a list, for a naive model.

mod broker;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::broker::ledger::numbers;
use broker::Broker;

/// How many ids the brokers take.
const MAX_IDS: usize = 12;

/// How long a number is remembered that nobody settles.
const REMEMBERED: Duration = Duration::from_millis(numbers::REMEMBERED_MILLIS);

/// What may happen; `at` is the broker.
#[derive(Debug, Clone)]
enum Step {
    Take {
        at: usize,
        publisher: u64,
        number: Number,
        id: Option<u8>,
        content: u8,
    },
    Settle {
        at: usize,
        publisher: u64,
        unanswered: Number,
    },
    Workers {
        at: usize,
    },
    Form {
        at: usize,
    },
    Beat {
        at: usize,
    },
    /// The block in flight is stored in the log this many times.
    Append {
        at: usize,
        copies: usize,
    },
    /// The broker applies this many blocks of the log.
    Apply {
        at: usize,
        blocks: usize,
    },
    Pass {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..2usize;
    let content = prop_oneof![20 => 0..2u8, 1 => Just(2)];
    let take = (at(), 1..4u64, 1..25u64, prop::option::of(0..9u8), content);
    let take = take.prop_map(|(at, publisher, number, id, content)| Step::Take {
        at,
        publisher,
        number,
        id,
        content,
    });
    let settle = (at(), 1..4u64, 1..12u64).prop_map(|(at, publisher, unanswered)| Step::Settle {
        at,
        publisher,
        unanswered,
    });
    let copies = prop_oneof![9 => Just(1usize), 1 => Just(2)];
    let millis = prop_oneof![6 => 0..9_000u64, 1 => 50_000..160_000u64];
    prop_oneof![
        40 => take,
        2 => settle,
        1 => at().prop_map(|at| Step::Workers { at }),
        8 => at().prop_map(|at| Step::Form { at }),
        1 => at().prop_map(|at| Step::Beat { at }),
        8 => (at(), copies).prop_map(|(at, copies)| Step::Append { at, copies }),
        8 => (at(), 1..4usize).prop_map(|(at, blocks)| Step::Apply { at, blocks }),
        4 => millis.prop_map(|millis| Step::Pass { millis }),
    ]
}

/// Two of them fit into a block.
static LARGE: [u8; MAX_BLOCK_BYTES * 2 / 5] = [0; MAX_BLOCK_BYTES * 2 / 5];

fn content(kind: u8) -> Content {
    match kind {
        0 => "hi".into(),
        1 => "ho".into(),
        _ => Content::Binary(Bytes::from_static(&LARGE)),
    }
}

struct Cluster {
    brokers: [Broker; 2],
    /// The blocks, and when they came into the log.
    log: Vec<(Block, Duration)>,
    now: Duration,
}

impl Cluster {
    fn new() -> Self {
        let brokers = [InstanceId(100), InstanceId(101)].map(Broker::new);
        Self { brokers, log: Vec::new(), now: AT }
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Take { at, publisher, number, id, content: kind } => {
                let publisher = InstanceId(publisher);
                // The digest of a large content takes long without optimisation.
                let kind = if id.is_some() { kind.min(1) } else { kind };
                let publish = match id {
                    None => publish(publisher, number),
                    Some(id) => keyed(publisher, number, &format!("id-{id}")),
                };
                let publish = Publish { content: content(kind), ..publish };
                self.brokers[at].take(publish, kind, now);
            }
            Step::Settle { at, publisher, unanswered } => {
                let Broker { proposals, ledger, .. } = &mut self.brokers[at];
                proposals.settle(InstanceId(publisher), unanswered, ledger);
            }
            Step::Workers { at } => {
                let below = self.log.len() as u64 * 10;
                self.brokers[at].proposals.reserve_workers(below);
            }
            Step::Form { at } => self.brokers[at].form(now),
            Step::Beat { at } => self.brokers[at].beat(now),
            Step::Append { at, copies } => {
                if let Some(block) = self.brokers[at].block.take() {
                    self.log.extend(std::iter::repeat_n((block, now), copies));
                }
            }
            Step::Apply { at, blocks } => {
                for _ in 0..blocks {
                    self.apply(at);
                }
            }
            Step::Pass { millis } => self.now += Duration::from_millis(millis),
        }
        self.brokers.iter().for_each(Broker::check);
    }

    /// Applies the next block at a broker. Returns whether there was one.
    fn apply(&mut self, at: usize) -> bool {
        let broker = &mut self.brokers[at];
        let next = self.log.get(broker.applied);
        next.inspect(|(block, came)| broker.land((*block).clone(), *came)).is_some()
    }

    /// Lets everything that is staged come to its end.
    fn finish(&mut self) {
        let mut turns = 0;
        while !self.brokers.iter().all(|broker| broker.proposals.is_idle()) {
            turns += 1;
            assert!(turns < 200, "it does not come to an end");
            for at in 0..2 {
                self.step(Step::Form { at });
                self.step(Step::Append { at, copies: 1 });
            }
            for at in 0..2 {
                self.step(Step::Apply { at, blocks: self.log.len() });
            }
        }
        for broker in &self.brokers {
            assert!(broker.open.is_empty(), "{} pushes are lost", broker.open.len());
            assert_eq!(broker.proposals.staged_bytes(), 0);
        }
    }

    /// Every number was accepted once, as long as it is remembered.
    fn check_log(&self) {
        let mut ledger = Ledger::new(7, 0);
        let mut accepted = BTreeMap::new();
        for (number, (block, came)) in (1..).zip(&self.log) {
            for decided in ledger.apply(number, *came, 0, block.clone()).decided {
                if let Decided::Accepted { push, .. } = decided {
                    let numbered = (push.publisher, push.number);
                    let before = accepted.insert(numbered, *came);
                    let is_forgotten = before.is_none_or(|before| *came - before >= REMEMBERED);
                    assert!(is_forgotten, "{numbered:?} was accepted twice");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_staged_is_lost_doubled_or_reordered(
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut cluster = Cluster::new();
        steps.into_iter().for_each(|step| cluster.step(step));
        cluster.finish();
        cluster.check_log();
    }
}
