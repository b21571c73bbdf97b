use campanile_messages::IdempotencyKey;

use super::*;

const D: Digest = [1; 16];

fn key(name: u64) -> RepeatKey {
    IdempotencyKey::new(name.to_string()).unwrap().into()
}

#[test]
fn keys_are_forgotten_in_turns() {
    let mut ids = Ids::default();
    let keys = 3 * MAX_FORGOTTEN as u64;
    for number in 1..=keys {
        ids.accept(key(number), D, number, 0);
    }
    ids.pass(KEPT_MILLIS - 1, 0);
    assert_eq!((ids.answering(), ids.places()), (IdCount::default(), 0..keys));
    ids.pass(KEPT_MILLIS, 0);
    assert_eq!(ids.places().start, MAX_FORGOTTEN as u64);
    // A block that brings much makes room for it.
    ids.pass(KEPT_MILLIS, 100);
    assert_eq!(ids.places().start, 2 * MAX_FORGOTTEN as u64 + 200);
    ids.pass(KEPT_MILLIS, 0);
    assert!(ids.is_empty() && ids.latest.is_empty());
    assert!(ids.latest.capacity() < 2_000, "{}", ids.latest.capacity());
}

#[test]
fn a_key_that_was_accepted_again_outlives_the_first_time() {
    let mut ids = Ids::default();
    ids.accept(key(1), D, 1, 0);
    ids.accept(key(1), [2; 16], 2, ANSWERED_MILLIS);
    assert_eq!(ids.place(1).map(|known| known.before), Some(0), "the same hash");
    ids.pass(KEPT_MILLIS, 0);
    assert_eq!(ids.look_up(&key(1), D, 0), KnownKey::Taken);
    assert_eq!(ids.look_up(&key(1), [2; 16], 0), KnownKey::Accepted(2));
    assert_eq!(ids.look_up(&key(1), D, 2), KnownKey::New);
    assert_eq!((ids.key_of(1), ids.key_of(2)), (None, Some(&key(1))));
    ids.pass(ANSWERED_MILLIS + KEPT_MILLIS, 0);
    assert_eq!(ids.look_up(&key(1), [2; 16], 0), KnownKey::New);
}

#[test]
fn keys_with_the_same_hash_are_told_apart() {
    let mut ids = Ids::default();
    ids.accept(key(1), D, 1, 0);
    ids.accept(key(2), D, 2, 1);
    // As if they had the same one, whichever is looked up.
    let hash = |ids: &Ids, name| ids.hashes.hash_one(key(name));
    let (first, second) = (hash(&ids, 1), hash(&ids, 2));
    ids.latest.insert(first, 1);
    ids.accepted[1].before = 0;
    assert_eq!(ids.look_up(&key(1), D, 0), KnownKey::Accepted(1));
    assert_eq!(ids.look_up(&key(2), D, 0), KnownKey::Accepted(2));
    ids.latest.insert(hash(&ids, 3), 1);
    assert_eq!(ids.look_up(&key(3), D, 0), KnownKey::New);
    ids.pass(KEPT_MILLIS, 0);
    assert_eq!(ids.look_up(&key(1), D, 0), KnownKey::New);
    assert_eq!(ids.latest.get(&second), Some(&1));
}
