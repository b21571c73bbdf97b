//! Three ledgers that start at random places of one random log, and a model that remembers all of it.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::snapshot::{Snapshot, read};
use super::model::{Logged, Model};
use super::*;

/// A publisher, its number, and the key and digest of a push.
type Pushed = (u64, Number, Option<(usize, u8)>);

const PRODUCERS: usize = 3;
const KEYS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    /// A producer applies what is in the log.
    CatchUp(usize),
    Form {
        producer: usize,
        pushes: Vec<Pushed>,
        settled: Vec<(u64, Number)>,
    },
    /// One of the blocks in flight comes, and perhaps comes again later. `skipped` numbers are left out.
    Land {
        which: usize,
        again: bool,
        skipped: u64,
        other_epoch: bool,
    },
    Pass {
        millis: u64,
    },
    /// A ledger starts with what comes next.
    Start(usize),
    Snapshot(usize),
    Pieces {
        ledger: usize,
        count: usize,
        max_entries: usize,
    },
    /// A ledger starts anew from the last snapshot of one, and applies what came since.
    Restart {
        ledger: usize,
        of: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let id = prop::option::of((0..KEYS.len(), 0u8..2));
    let pushes = prop::collection::vec((0u64..2, 1u64..7, id), 0..4);
    let settled = prop::collection::vec((0u64..2, 1u64..7), 0..2);
    let some = prop::bool::weighted;
    let millis = prop_oneof![
        6 => 0u64..30_000,
        2 => prop_oneof![Just(59_999u64), Just(60_000), Just(60_001)],
        2 => 60_000u64..220_000,
        1 => 220_000u64..4_000_000,
    ];
    prop_oneof![
        4 => (0..PRODUCERS).prop_map(Step::CatchUp),
        8 => (0..PRODUCERS, pushes, settled)
            .prop_map(|(producer, pushes, settled)| Step::Form { producer, pushes, settled }),
        10 => (0usize..8, some(0.2), prop_oneof![5 => Just(0u64), 1 => 1u64..3], some(0.05))
            .prop_map(|(which, again, skipped, other_epoch)| Step::Land { which, again, skipped, other_epoch }),
        3 => millis.prop_map(|millis| Step::Pass { millis }),
        1 => (1usize..3).prop_map(Step::Start),
        2 => (0usize..3).prop_map(Step::Snapshot),
        6 => (0usize..3, 1usize..6, 1usize..4)
            .prop_map(|(ledger, count, max_entries)| Step::Pieces { ledger, count, max_entries }),
        3 => (0usize..3, 0usize..3).prop_map(|(ledger, of)| Step::Restart { ledger, of }),
    ]
}

/// A ledger, the snapshot that is being made of it, and the last one that is complete.
struct Broker {
    ledger: Ledger,
    making: Option<(Snapshot, Vec<u8>)>,
    made: Option<Vec<u8>>,
    /// Whether it began at the beginning, or with a snapshot of one that did.
    knows_all: bool,
}

impl Broker {
    fn new(after: u64) -> Self {
        Self { ledger: Ledger::new(EPOCH, after), making: None, made: None, knows_all: after == 0 }
    }

    /// Applies a block and compares what that came to, if it must know.
    fn apply(&mut self, logged: &Logged, expected: &Applied) {
        let Logged { number, at, block } = logged;
        let start = self.ledger.start();
        let applied = self.ledger.apply(*number, *at, 0, block.clone());
        let never_counts = |verdict: &Verdict| {
            matches!(verdict, Verdict::OtherEpoch | Verdict::Stale(_) | Verdict::SecondCopy)
        };
        if block.seen.block >= start || self.knows_all {
            assert_eq!(&applied, expected, "block {number} at a ledger from {start}");
        } else {
            assert_eq!(applied.decided, []);
            let is_early = matches!(applied.verdict, Verdict::TooEarly(_));
            assert!(is_early && self.ledger.start() == *number || never_counts(&applied.verdict));
        }
        assert_eq!(self.ledger.head(), end_of(*number));
    }
}

#[derive(Default)]
struct World {
    model: Model,
    expected: Vec<Applied>,
    now: Duration,
    formed: [u64; PRODUCERS],
    seen: [Seen; PRODUCERS],
    flying: Vec<Block>,
    /// Producers look up what they have seen.
    honest: bool,
}

impl World {
    fn form(&mut self, producer: usize, pushes: &[Pushed], settled: &[(u64, Number)]) {
        self.formed[producer] += 1;
        let seen = self.seen[producer];
        let push = |&(publisher, number, id): &Pushed| {
            let id = id.map(|(key, digest)| (KEYS[key], digest));
            Push { publisher: InstanceId(publisher), ..super::push(number, id) }
        };
        let is_news = |push: &Push| {
            // The model knows more than this producer, which has not seen it.
            !self.honest
                || self.known_up_to(push.publisher, push.number, seen.block) == KnownNumber::New
        };
        let entries = pushes.iter().map(push).filter(is_news).map(Entry::Push).collect();
        let settled =
            settled.iter().map(|(publisher, unanswered)| (InstanceId(*publisher), *unanswered));
        self.flying.push(Block {
            epoch: EPOCH,
            producer: InstanceId(producer as u64),
            number: self.formed[producer],
            at: self.now,
            seen,
            settled: settled.collect(),
            entries,
        });
    }

    fn known_up_to(&self, publisher: InstanceId, number: Number, block: u64) -> KnownNumber {
        let mut known = Model::default();
        for Logged { number, at, block } in
            self.model.log.iter().filter(|logged| logged.number <= block)
        {
            known.apply(*number, *at, block.clone());
        }
        known.number(publisher, number, 0)
    }

    fn land(
        &mut self,
        which: usize,
        again: bool,
        skipped: u64,
        other_epoch: bool,
        brokers: &mut [Broker],
    ) {
        if self.flying.is_empty() {
            return;
        }
        let which = which % self.flying.len();
        let mut block = match again {
            true => self.flying[which].clone(),
            false => self.flying.remove(which),
        };
        block.epoch += u64::from(other_epoch);
        let number = self.model.head().block + 1 + skipped;
        self.expected.push(self.model.apply(number, self.now, block));
        let (logged, expected) = (self.model.log.last().unwrap(), self.expected.last().unwrap());
        for broker in brokers {
            broker.apply(logged, expected);
            if broker.knows_all {
                self.compare(&broker.ledger);
            }
        }
    }

    /// What a ledger answers, if it knows everything.
    fn compare(&self, ledger: &Ledger) {
        for name in KEYS {
            let key = IdempotencyKey::new(name.to_owned()).unwrap().into();
            let expected = match self.model.id(&key, 0) {
                Some((sequence, digest, at)) if self.now < at + Duration::from_secs(150) => {
                    if digest == [0; 16] {
                        KnownKey::Accepted(sequence)
                    } else {
                        KnownKey::Taken
                    }
                }
                _ => KnownKey::New,
            };
            assert_eq!(ledger.known_id(&key, [0; 16], self.now), expected, "{name}");
        }
    }

    fn restart(&self, bytes: &[u8], knows_all: bool) -> Broker {
        let (ledger, trimmed, floor) = read(bytes).unwrap();
        assert_eq!((trimmed.as_slice(), floor), (&[(Audience::Everyone, 7)][..], 3));
        let mut broker = Broker { ledger, making: None, made: None, knows_all };
        let after = broker.ledger.seen().block;
        for (logged, expected) in self.model.log.iter().zip(&self.expected) {
            if logged.number > after {
                broker.apply(logged, expected);
            }
        }
        broker
    }

    fn step(&mut self, step: Step, brokers: &mut [Broker; 3]) {
        match step {
            Step::CatchUp(producer) => self.seen[producer] = self.model.head(),
            Step::Form { producer, pushes, settled } => self.form(producer, &pushes, &settled),
            Step::Land { which, again, skipped, other_epoch } => {
                self.land(which, again, skipped, other_epoch, brokers);
            }
            Step::Pass { millis } => self.now += Duration::from_millis(millis),
            Step::Start(ledger) => brokers[ledger] = Broker::new(self.model.head().block),
            Step::Snapshot(of) => {
                let trimmed = vec![(Audience::Everyone, 7)];
                let snapshot = Snapshot::begin(&mut brokers[of].ledger, trimmed, 3);
                brokers[of].making = Some((snapshot, Vec::new()));
            }
            Step::Pieces { ledger, count, max_entries } => {
                let broker = &mut brokers[ledger];
                let Some((mut snapshot, mut bytes)) = broker.making.take() else { return };
                for _ in 0..count {
                    bytes.extend(
                        snapshot.next_piece(&broker.ledger, max_entries).unwrap_or_default(),
                    );
                }
                match snapshot.is_done() {
                    true => broker.made = Some(bytes),
                    false => broker.making = Some((snapshot, bytes)),
                }
            }
            Step::Restart { ledger, of } => {
                if let Some(bytes) = &brokers[of].made {
                    let restarted = self.restart(bytes, brokers[of].knows_all);
                    if restarted.knows_all {
                        self.compare(&restarted.ledger);
                    }
                    brokers[ledger] = restarted;
                }
            }
        }
    }
}

fn check(steps: Vec<Step>, honest: bool) {
    let mut world = World { honest, ..World::default() };
    let mut brokers = [0; 3].map(Broker::new);
    for step in steps {
        world.step(step, &mut brokers);
    }
    let mut once = HashSet::new();
    for decided in world.expected.iter().flat_map(|applied| &applied.decided) {
        if let Decided::Accepted { push, .. } = decided {
            assert!(once.insert((push.publisher, push.number)) || !honest, "{push:?} twice");
        }
    }
}

proptest! {
    #[test]
    fn ledgers_decide_alike_wherever_they_start(
        steps in prop::collection::vec(step(), 0..80),
        honest: bool,
    ) {
        check(steps, honest);
    }
}
