use super::*;

const A: InstanceId = InstanceId(1);

fn sequence(block: u64) -> u64 {
    super::super::block::sequence(block, 1)
}

#[test]
fn a_settled_number_makes_room() {
    let mut numbers = Numbers::default();
    for number in 1..=MAX_UNANSWERED as u64 {
        assert!(numbers.room_for(A));
        numbers.accept(A, number, sequence(number), 0);
    }
    assert!(!numbers.room_for(A) && numbers.room_for(InstanceId(2)));
    numbers.settle(A, 2, 1 << 17, 0);
    assert!(numbers.room_for(A));
    assert_eq!(numbers.look_up(A, 1, 0), KnownNumber::Settled);
    assert_eq!(numbers.look_up(A, 2, 0), KnownNumber::Accepted(sequence(2)));
}

#[test]
fn everyone_has_a_share_of_a_full_table() {
    let mut numbers = Numbers::default();
    for publisher in 0..MAX_NUMBERS / MAX_UNANSWERED {
        for number in 1..=MAX_UNANSWERED as u64 {
            numbers.accept(InstanceId(publisher as u64), number, sequence(number), 0);
        }
    }
    let late = InstanceId(99);
    for number in 1..=SHARE as u64 {
        assert!(numbers.room_for(late));
        numbers.accept(late, number, sequence(number), 0);
    }
    assert!(!numbers.room_for(late));
}

#[test]
fn unknown_publishers_are_refused_when_there_are_too_many() {
    let mut numbers = Numbers::default();
    for publisher in 0..MAX_PUBLISHERS as u64 {
        assert!(numbers.room_for(InstanceId(publisher)));
        numbers.settle(InstanceId(publisher), 1, 1, 0);
    }
    assert!(!numbers.room_for(InstanceId(1 << 20)) && numbers.room_for(InstanceId(0)));
}

#[test]
fn old_publishers_and_numbers_are_forgotten_in_turns() {
    let mut numbers = Numbers::default();
    let publishers = 3 * MAX_SWEPT - 1;
    for publisher in 0..publishers as u64 {
        numbers.accept(InstanceId(publisher), 1, sequence(1), 0);
    }
    numbers.settle(A, 1, 2, 1_000);
    numbers.pass(REMEMBERED_MILLIS - 1);
    numbers.pass(REMEMBERED_MILLIS - 1);
    numbers.pass(REMEMBERED_MILLIS - 1);
    assert_eq!(numbers.by_publisher.len(), publishers);
    for left in [publishers - MAX_SWEPT, publishers - 2 * MAX_SWEPT, 0] {
        numbers.pass(REMEMBERED_MILLIS + SWEEP_MILLIS);
        assert_eq!((numbers.accepted, numbers.by_publisher.len()), (left, left));
    }
    assert!(numbers.is_empty() && numbers.by_publisher.is_empty());
}

#[test]
fn a_lower_mark_of_a_later_block_counts_for_who_saw_the_higher_one() {
    let mut numbers = Numbers::default();
    numbers.settle(A, 20, 1, 0);
    numbers.settle(A, 10, 2, 0);
    assert_eq!([0, 1, 2].map(|block| numbers.settled_below(A, end_of(block))), [20, 10, 0]);
    numbers.settle(A, 5, 3, LOWER_MARK_MILLIS);
    assert_eq!([0, 1, 2].map(|block| numbers.settled_below(A, end_of(block))), [20, 5, 5]);
    numbers.settle(A, 30, 4, LOWER_MARK_MILLIS);
    assert_eq!(numbers.by_publisher[&A].marks.len(), 1);
}

#[test]
fn numbers_may_come_in_any_order() {
    let mut numbers = Numbers::default();
    for (block, number) in [(1, 5), (2, 3), (3, 9), (4, 3)] {
        numbers.accept(A, number, sequence(block), 0);
    }
    let known = |number| numbers.look_up(A, number, end_of(1));
    assert_eq!([3, 5, 7].map(known)[0], KnownNumber::Accepted(sequence(4)));
    assert_eq!([5, 7].map(known), [KnownNumber::New; 2]);
    numbers.settle(A, 6, 5, 0);
    assert_eq!(numbers.accepted, 1);
}
