//! Blocks applied one by one. `alike` compares ledgers with each other.

mod alike;
mod model;

use campanile_messages::{Audience, IdempotencyKey, UserName};

use super::*;

const P: InstanceId = InstanceId(1);
const Q: InstanceId = InstanceId(2);
const PUBLISHER: InstanceId = InstanceId(9);
const EPOCH: u64 = 7;

fn push(number: Number, id: Option<(&str, u8)>) -> Push {
    let key = |name: &str| IdempotencyKey::new(name.to_owned()).unwrap().into();
    Push {
        publisher: PUBLISHER,
        number,
        id: id.map(|(name, digest)| (key(name), [digest; 16])),
        asks: false,
        audience: Audience::Everyone,
        except: None,
        content: "hi".into(),
        from: None,
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A ledger, and the last number of each producer.
struct Scene {
    ledger: Ledger,
    formed: [u64; 3],
}

impl Scene {
    fn new() -> Self {
        Self { ledger: Ledger::new(EPOCH, 0), formed: [0; 3] }
    }

    /// A block that a producer forms now.
    fn form(&mut self, producer: InstanceId, pushes: Vec<Push>) -> Block {
        let formed = &mut self.formed[producer.0 as usize];
        *formed += 1;
        let entries = pushes.into_iter().map(Entry::Push).collect();
        let (number, seen) = (*formed, self.ledger.seen());
        Block { epoch: EPOCH, producer, number, at: seen.at, seen, settled: vec![], entries }
    }

    fn apply(&mut self, seconds: u64, block: Block) -> Applied {
        let number = self.ledger.seen().block + 1;
        self.ledger.apply(number, at(seconds), 0, block)
    }

    fn beat(&mut self, seconds: u64) {
        let block = self.form(P, vec![]);
        assert_eq!(self.apply(seconds, block).verdict, Verdict::Counts);
    }
}

fn accepted(block: u64, place: u16, push: Push) -> Decided {
    Decided::Accepted { sequence: sequence(block, place), push }
}

#[test]
fn entries_get_the_sequences_of_their_places() {
    let mut scene = Scene::new();
    let pushes = vec![push(1, None), push(2, Some(("a", 1)))];
    let mut block = scene.form(P, pushes.clone());
    block.entries.push(Entry::Workers { below: 8 });
    let applied = scene.apply(0, block);
    assert_eq!((applied.verdict, applied.producer, applied.number), (Verdict::Counts, P, 1));
    let [first, second] = pushes.try_into().unwrap();
    let workers = Decided::Workers { below: 8 };
    assert_eq!(applied.decided, [accepted(1, 1, first), accepted(1, 2, second), workers]);
    assert_eq!((scene.ledger.head(), scene.ledger.next_worker()), (end_of(1), 8));
    let key = scene.ledger.key_of(sequence(1, 2)).map(RepeatKey::as_str);
    assert_eq!((key, scene.ledger.key_of(sequence(1, 1))), (Some("a"), None));
}

#[test]
fn a_block_that_did_not_see_the_first_is_its_repeat() {
    let mut scene = Scene::new();
    let first = scene.form(P, vec![push(1, None), push(2, Some(("a", 1)))]);
    let again =
        vec![push(1, None), push(3, Some(("a", 1))), push(4, Some(("a", 2))), push(5, None)];
    let other = scene.form(Q, again);
    scene.apply(0, first);
    let repeat = |number, place| {
        let first = sequence(1, place);
        Decided::Repeat { publisher: PUBLISHER, number, first }
    };
    let taken = Decided::Taken { publisher: PUBLISHER, number: 4 };
    let expected = [repeat(1, 1), repeat(3, 2), taken, accepted(2, 4, push(5, None))];
    assert_eq!(scene.apply(60, other).decided, expected);
}

#[test]
fn entries_of_one_block_see_each_other() {
    let mut scene = Scene::new();
    let pushes = vec![push(1, Some(("a", 1))), push(2, Some(("a", 1))), push(1, None)];
    let mut block = scene.form(P, pushes);
    // Even if it says that it has seen what is yet to come.
    block.seen.block = u64::MAX;
    let repeat = |number| Decided::Repeat { publisher: PUBLISHER, number, first: sequence(1, 1) };
    assert_eq!(scene.apply(0, block).decided[1..], [repeat(2), repeat(1)]);
}

#[test]
fn what_its_producer_knew_does_not_count_against_a_push() {
    let mut scene = Scene::new();
    let first = scene.form(P, vec![push(1, Some(("a", 1)))]);
    scene.apply(0, first);
    let again = scene.form(Q, vec![push(2, Some(("a", 2)))]);
    assert_eq!(scene.apply(0, again).decided, [accepted(2, 1, push(2, Some(("a", 2))))]);
    let a = RepeatKey::from(IdempotencyKey::new("a").unwrap());
    assert_eq!(scene.ledger.known_id(&a, [2; 16], at(0)), KnownKey::Accepted(sequence(2, 1)));
    assert_eq!(scene.ledger.known_id(&a, [1; 16], at(0)), KnownKey::Taken);
}

#[test]
fn a_settled_number_is_settled_for_all_that_did_not_see_it() {
    let mut scene = Scene::new();
    let late = scene.form(Q, vec![push(4, None), push(5, None)]);
    let mut block = scene.form(P, vec![]);
    block.settled = vec![(PUBLISHER, 5)];
    scene.apply(0, block);
    assert_eq!(scene.ledger.settled_below(PUBLISHER), 5);
    assert_eq!(scene.ledger.known_number(PUBLISHER, 4), KnownNumber::Settled);
    assert_eq!(scene.ledger.known_number(PUBLISHER, 5), KnownNumber::New);
    let settled = Decided::Settled { publisher: PUBLISHER, number: 4 };
    assert_eq!(scene.apply(0, late).decided, [settled, accepted(2, 2, push(5, None))]);
    assert_eq!(scene.ledger.known_number(PUBLISHER, 5), KnownNumber::Accepted(sequence(2, 2)));
}

#[test]
fn nothing_of_another_epoch_or_a_second_copy_counts() {
    let mut scene = Scene::new();
    let block = scene.form(P, vec![push(1, None)]);
    let other = Block { epoch: EPOCH + 1, ..block.clone() };
    assert_eq!(scene.apply(0, other).verdict, Verdict::OtherEpoch);
    assert_eq!(scene.apply(0, block.clone()).verdict, Verdict::Counts);
    let applied = scene.apply(0, block);
    assert_eq!((applied.verdict, applied.decided), (Verdict::SecondCopy, vec![]));
    assert_eq!(scene.ledger.head(), end_of(3));
}

#[test]
fn a_block_is_stale_after_a_minute_if_others_came_between() {
    let mut scene = Scene::new();
    let blocks = [0, 1].map(|number| scene.form(P, vec![push(number, None)]));
    let [in_time, late] = blocks;
    let alone = scene.form(Q, vec![]);
    assert_eq!(scene.apply(1_000, alone).verdict, Verdict::Counts, "nothing came between");
    let mut scene = Scene::new();
    scene.beat(0);
    let [mut in_time, mut late] = [in_time, late];
    for block in [&mut in_time, &mut late] {
        (block.producer, block.seen) = (Q, Seen { block: 1, ..Seen::default() });
    }
    scene.beat(1);
    assert_eq!(scene.apply(60, in_time).verdict, Verdict::Counts);
    let before = Duration::from_millis(60_001);
    let applied = scene.ledger.apply(4, before, 0, late.clone());
    assert_eq!(applied.verdict, Verdict::Stale(late));
    assert_eq!(scene.ledger.known_number(PUBLISHER, 1), KnownNumber::New);
}

#[test]
fn a_block_from_before_the_start_is_too_early_and_moves_it() {
    let mut scene = Scene::new();
    let early = [0, 1].map(|_| scene.form(P, vec![push(1, None)]));
    let [early, earlier] = early;
    scene.ledger = Ledger::new(EPOCH, 4);
    assert_eq!(scene.apply(0, early.clone()).verdict, Verdict::TooEarly(early));
    assert_eq!((scene.ledger.start(), scene.ledger.head()), (5, end_of(5)));
    // It was formed between the old start and the new one.
    let between = Block { seen: Seen { block: 4, ..Seen::default() }, ..earlier };
    assert_eq!(scene.apply(0, between.clone()).verdict, Verdict::TooEarly(between));
    scene.beat(0);
    assert_eq!(scene.ledger.start(), 6);
}

#[test]
fn log_time_never_goes_back() {
    let mut scene = Scene::new();
    scene.beat(10);
    scene.beat(5);
    assert_eq!(scene.ledger.seen(), Seen { block: 2, at: at(10), print: 0 });
}

#[test]
fn a_new_epoch_keeps_the_worker_ids_and_the_time_only() {
    let mut scene = Scene::new();
    let mut block = scene.form(P, vec![push(1, Some(("a", 1)))]);
    block.entries.push(Entry::Workers { below: 8 });
    scene.apply(10, block);
    assert!(scene.ledger.remembers());
    scene.ledger.begin_epoch(EPOCH + 1, 5);
    let ledger = &scene.ledger;
    assert_eq!((ledger.epoch(), ledger.head(), ledger.start()), (EPOCH + 1, end_of(5), 5));
    assert_eq!((ledger.next_worker(), ledger.seen().at, ledger.remembers()), (8, at(10), false));
    assert_eq!(ledger.known_number(PUBLISHER, 1), KnownNumber::New);
    assert_eq!(ledger.answering_ids(), IdCount::default());
    let mut block = scene.form(P, vec![push(1, None)]);
    (block.epoch, block.number) = (EPOCH + 1, 1);
    assert_eq!(scene.apply(10, block).decided, [accepted(6, 1, push(1, None))]);
}

#[test]
fn a_ledger_remembers_until_ids_and_numbers_are_forgotten() {
    let mut scene = Scene::new();
    assert!(!scene.ledger.remembers());
    let user = UserName::new("42").unwrap();
    let key = RepeatKey::new(Some(&user), &IdempotencyKey::new("a").unwrap());
    let of_client = Push { id: Some((key.clone(), [1; 16])), ..push(1, None) };
    let block = scene.form(P, vec![of_client, push(2, Some(("a", 1)))]);
    scene.apply(0, block);
    let known = |scene: &Scene, seconds| scene.ledger.known_id(&key, [1; 16], at(seconds));
    assert_eq!(known(&scene, 149), KnownKey::Accepted(sequence(1, 1)));
    assert_eq!(known(&scene, 150), KnownKey::New);
    assert_eq!(scene.ledger.answering_ids(), IdCount { all: 2, clients: 1 });
    scene.beat(150);
    assert_eq!(scene.ledger.answering_ids(), IdCount::default());
    assert!(scene.ledger.key_of(sequence(1, 1)).is_some());
    scene.beat(210);
    assert!(scene.ledger.key_of(sequence(1, 1)).is_none());
    scene.beat(599);
    assert!(scene.ledger.remembers());
    scene.beat(600);
    assert!(!scene.ledger.remembers());
}
