//! How blocks are formed, and formed anew.

use super::*;
use crate::broker::ledger::block::{Seen, block_of};

const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

#[test]
fn one_block_is_in_flight() {
    let mut broker = Fixture::new(10);
    assert!(!broker.proposals.wants_block());
    broker.take(publish(A, 1));
    assert!(broker.proposals.wants_block() && !broker.proposals.is_idle());
    let block = broker.block();
    broker.take(publish(A, 2));
    assert!(!broker.proposals.wants_block() && !broker.proposals.is_idle());
    assert_eq!(broker.form(AT), (None, vec![]));
    assert_eq!(broker.proposals.beat(&broker.ledger, AT), None);
    broker.apply(block, AT);
    assert!(broker.proposals.wants_block());
    assert_eq!(numbers(&broker.block()), [2]);
}

#[test]
fn a_block_says_what_was_applied_and_never_goes_back_in_time() {
    let mut broker = Fixture::new(10);
    broker.other_writes(vec![], AT);
    broker.take(publish(A, 1));
    let block = broker.form(AT - MILLI).0.unwrap();
    let seen = Seen { block: 1, at: AT, print: 0 };
    assert_eq!((block.epoch, block.number, block.at, block.seen), (7, 1, AT, seen));
    broker.apply(block, AT);
    let between = AT + MILLI * 3 / 2;
    let block = broker.proposals.beat(&broker.ledger, between).unwrap();
    assert_eq!((block.number, block.at, block.seen.block), (2, AT + MILLI, 2));
}

#[test]
fn many_small_pushes_are_in_several_blocks() {
    let mut broker = Fixture::new(10);
    let most = MAX_ENTRIES as u64;
    for number in 1..=most {
        broker.take(Publish { content: "".into(), ..publish(A, number) });
    }
    let mut formed = Vec::new();
    while broker.proposals.wants_block() {
        let block = broker.block();
        assert!(block.entries.len() <= MAX_ENTRIES && block.len_bytes() <= MAX_BLOCK_BYTES);
        formed.extend(numbers(&block));
        let (applied, here) = broker.apply(block, AT);
        assert_eq!((applied.decided.len(), applied.verdict), (here.len(), Verdict::Counts));
    }
    assert!(formed.into_iter().eq(1..=most));
}

#[test]
fn a_block_is_bounded_in_bytes_unless_it_has_one_entry() {
    let mut broker = Fixture::new(10);
    let half = MAX_BLOCK_BYTES / 2;
    let lens = [10, MAX_BLOCK_BYTES, 10, half, half, MAX_BLOCK_BYTES * 3];
    for (number, len) in (1..).zip(lens) {
        let content = Content::Binary(vec![0; len].into());
        broker.take(Publish { content, ..publish(A, number) });
    }
    let mut formed = Vec::new();
    while broker.proposals.wants_block() {
        let block = broker.block();
        formed.push(numbers(&block));
        assert!(block.entries.len() == 1 || block.encode().len() <= MAX_BLOCK_BYTES);
        broker.apply(block, AT);
    }
    assert_eq!(formed, [vec![1], vec![2], vec![3, 4], vec![5], vec![6]]);
}

#[test]
fn a_stale_block_is_formed_anew_and_late_pushes_are_refused() {
    let mut broker = Fixture::new(10);
    for number in 1..=3 {
        broker.take(keyed(A, number, &format!("{number}")));
    }
    broker.proposals.reserve_workers(9);
    broker.proposals.settle(B, 5, &broker.ledger);
    let block = broker.block();
    let late = AT + MINUTE * 2;
    broker.take_at(publish(A, 4), late);
    broker.proposals.settle(B, 4, &broker.ledger);
    broker.other_writes(vec![], late);
    let (applied, here) = broker.apply(block, late);
    assert!(matches!(applied.verdict, Verdict::Stale(_)) && here.is_empty());
    assert_eq!(broker.take_at(keyed(B, 1, "2"), late), Taken::Staged);
    broker.take_at(publish(A, 5), late);
    let (block, known) = broker.form(late);
    let refusal = Refusal::TooManyUnanswered;
    let refused = |number, here| Known::Refused { publisher: A, number, refusal, here };
    let expected = [
        refused(1, Here::default()),
        refused(2, waiting(&[(B, 1)])),
        refused(3, Here::default()),
        // It came before another broker's block, but not long ago.
    ];
    assert_eq!(known, expected);
    let block = block.unwrap();
    assert_eq!((&block.settled[..], block.number), (&[(B, 5)][..], 2));
    assert_eq!(block.entries[0], Entry::Workers { below: 9 });
    assert_eq!(block.entries.len(), 3);
    let (_, here) = broker.apply(block, late);
    assert_eq!(here, [None, Some(Here::default()), Some(Here::default())]);
    assert!(broker.proposals.is_idle());
    assert_eq!(broker.proposals.staged_bytes(), 0);
}

#[test]
fn the_entries_of_a_block_that_is_too_early_keep_their_order() {
    let mut broker = Fixture::new(10);
    for number in [1, 2] {
        broker.take(keyed(A, number, &format!("{number}")));
    }
    let block = broker.block();
    broker.take(publish(A, 3));
    // The ledger begins behind what the block had seen.
    broker.ledger = Ledger::new(7, 5);
    let (applied, here) = broker.apply(block, MILLI);
    assert!(matches!(applied.verdict, Verdict::TooEarly(_)) && here.is_empty());
    let block = broker.block();
    assert_eq!(numbers(&block), [1, 2, 3]);
    assert_eq!(broker.take(keyed(B, 1, "2")), Taken::Staged);
    let (_, here) = broker.apply(block, AT);
    assert_eq!(here[1], Some(waiting(&[(B, 1)])));
}

#[test]
fn a_second_copy_of_a_block_ends_no_flight() {
    let mut broker = Fixture::new(10);
    broker.take(publish(A, 1));
    let block = broker.block();
    let copy = block.clone();
    broker.apply(block, AT);
    broker.take(publish(A, 2));
    let block = broker.block();
    let (applied, here) = broker.apply(copy, AT);
    assert_eq!((applied.verdict, here), (Verdict::SecondCopy, vec![]));
    assert!(!broker.proposals.is_idle());
    assert_eq!(broker.apply(block, AT).1.len(), 1);
    assert!(broker.proposals.is_idle());
}

#[test]
fn what_another_broker_wrote_is_found_when_a_block_is_formed() {
    let mut broker = Fixture::new(10);
    broker.take(publish(A, 1));
    broker.take(keyed(A, 2, "a"));
    broker.take(keyed(B, 7, "a"));
    broker.take(keyed(A, 3, "b"));
    broker.take(publish(A, 4));
    let other = Publish { content: "ho".into(), ..keyed(B, 2, "b") };
    broker.other_writes(vec![publish(A, 1), keyed(B, 1, "a"), other], AT);
    assert_eq!(block_of(broker.ledger.head()), 1);
    let (block, known) = broker.form(AT);
    let here = Here::default();
    let expected = [
        Known::Repeated { publisher: A, number: 1, first: 0x1_0001, here: here.clone() },
        Known::Repeated { publisher: A, number: 2, first: 0x1_0002, here: waiting(&[(B, 7)]) },
        Known::Refused { publisher: A, number: 3, refusal: Refusal::IdTaken, here },
    ];
    assert_eq!(known, expected);
    assert_eq!(numbers(&block.unwrap()), [4]);
}

#[test]
fn no_block_is_formed_if_everything_is_known() {
    let mut broker = Fixture::new(10);
    broker.take(publish(A, 1));
    broker.other_writes(vec![publish(A, 1)], AT);
    let (block, known) = broker.form(AT);
    assert_eq!((block, known.len()), (None, 1));
    assert!(broker.proposals.is_idle() && !broker.proposals.wants_block());
    assert_eq!(broker.proposals.staged_bytes(), 0);
}

#[test]
fn a_push_is_refused_after_a_minute_only_if_others_have_written() {
    let mut broker = Fixture::new(10);
    broker.take(publish(A, 1));
    let block = broker.block();
    broker.take(publish(A, 2));
    broker.apply(block, AT);
    // Only an own block came since.
    let late = AT + MINUTE + MILLI;
    let (block, known) = broker.form(late);
    assert_eq!((numbers(&block.clone().unwrap()), known), (vec![2], vec![]));
    broker.apply(block.unwrap(), late);
    // A minute is not too long.
    broker.take_at(publish(A, 3), late);
    broker.other_writes(vec![], late);
    let (block, known) = broker.form(late + MINUTE);
    assert_eq!((numbers(&block.clone().unwrap()), known), (vec![3], vec![]));
    broker.apply(block.unwrap(), late + MINUTE);
    broker.take_at(publish(A, 4), late);
    broker.other_writes(vec![], late + MINUTE);
    // No other broker has written since this one came.
    broker.take_at(publish(A, 5), late);
    let (block, known) = broker.form(late + MINUTE + MILLI);
    let (refusal, here) = (Refusal::TooManyUnanswered, Here::default());
    assert_eq!(known, [Known::Refused { publisher: A, number: 4, refusal, here }]);
    assert_eq!(numbers(&block.unwrap()), [5]);
}

#[test]
fn those_who_repeat_a_settled_push_are_refused() {
    let mut broker = Fixture::new(10);
    broker.take(keyed(A, 1, "a"));
    broker.take(keyed(B, 1, "a"));
    let mut other = Proposals::new(InstanceId(300), 10);
    other.settle(A, 2, &broker.ledger);
    let beat = other.beat(&broker.ledger, AT).unwrap();
    broker.apply(beat, AT);
    let refusal = Refusal::TooManyUnanswered;
    let here = waiting(&[(B, 1)]);
    let refused = Known::Refused { publisher: A, number: 1, refusal, here };
    assert_eq!(broker.form(AT), (None, vec![refused]));
    assert_eq!(broker.take(keyed(B, 1, "a")), Taken::Staged);
}

#[test]
fn settled_numbers_go_with_the_next_block_if_they_are_news() {
    let mut broker = Fixture::new(10);
    for unanswered in [0, 5, 3] {
        broker.proposals.settle(A, unanswered, &broker.ledger);
    }
    assert!(!broker.proposals.wants_block() && broker.proposals.is_idle());
    let beat = broker.proposals.beat(&broker.ledger, AT).unwrap();
    assert_eq!((&beat.settled[..], &beat.entries[..]), (&[(A, 5)][..], &[][..]));
    broker.proposals.settle(A, 5, &broker.ledger);
    broker.proposals.settle(B, 2, &broker.ledger);
    assert_eq!(broker.apply(beat, AT).1, []);
    broker.proposals.settle(A, 5, &broker.ledger);
    let beat = broker.proposals.beat(&broker.ledger, AT).unwrap();
    assert_eq!(beat.settled, [(B, 2)]);
}

#[test]
fn news_of_very_many_publishers_go_with_several_blocks() {
    let mut broker = Fixture::new(10);
    for publisher in 0..70_000 {
        broker.proposals.settle(InstanceId(publisher), 5, &broker.ledger);
    }
    let mut settled = Vec::new();
    loop {
        let beat = broker.proposals.beat(&broker.ledger, AT).unwrap();
        if beat.settled.is_empty() {
            break;
        }
        settled.extend(beat.settled.iter().map(|(publisher, _)| publisher.0));
        assert!(beat.len_bytes() <= MAX_BLOCK_BYTES / 3);
        broker.apply(beat, AT);
    }
    // What does not fit is dropped.
    assert!(settled.into_iter().eq(0..1 << 16));
}

#[test]
fn worker_ids_are_the_first_entry_of_the_next_block() {
    let mut broker = Fixture::new(10);
    broker.take(publish(A, 1));
    broker.proposals.reserve_workers(5);
    broker.proposals.reserve_workers(4);
    let (decided, here) = broker.write();
    assert_eq!(decided[0], Decided::Workers { below: 5 });
    assert_eq!(here, [None, Some(Here::default())]);
    assert_eq!(broker.ledger.next_worker(), 5);
    broker.proposals.reserve_workers(6);
    assert!(broker.proposals.wants_block() && !broker.proposals.is_idle());
    assert_eq!(broker.write().1, [None]);
}

#[test]
fn nothing_of_an_old_epoch_is_staged_in_a_new_one() {
    let mut broker = Fixture::new(1);
    broker.other_writes(vec![], AT);
    broker.take(keyed(A, 1, "a"));
    broker.proposals.settle(B, 5, &broker.ledger);
    let old = broker.block();
    broker.take(publish(A, 2));
    broker.proposals.forget();
    broker.ledger.begin_epoch(8, 3);
    assert!(broker.proposals.is_idle());
    assert_eq!(broker.proposals.staged_bytes(), 0);
    assert_eq!(broker.take(keyed(A, 1, "a")), Taken::Staged);
    let block = broker.block();
    assert_eq!((block.epoch, block.number, block.settled.len()), (8, 2, 0));
    assert_eq!(broker.apply(old, AT).0.verdict, Verdict::OtherEpoch);
    assert_eq!(broker.apply(block, AT).1.len(), 1);
}
