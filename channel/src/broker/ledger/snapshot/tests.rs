use std::time::Duration;

use campanile_messages::{GroupName, IdempotencyKey, UserName};
use xxhash_rust::xxh3::xxh3_64;

use super::super::block::{Block, Entry, Push, Seen, sequence};
use super::super::decisions::{Applied, Decided, Verdict};
use super::super::ids::{IdCount, KnownKey};
use super::super::numbers::KnownNumber;
use super::*;
use crate::broker::repeat_key::RepeatKey;

const PUBLISHER: InstanceId = InstanceId(9);

fn key(name: &str) -> RepeatKey {
    IdempotencyKey::new(name.to_owned()).unwrap().into()
}

fn push(number: u64, key: Option<RepeatKey>) -> Entry {
    Entry::Push(Push {
        publisher: PUBLISHER,
        number,
        id: key.map(|key| (key, [7; 16])),
        asks: false,
        audience: Audience::Everyone,
        except: None,
        content: "hi".into(),
        from: None,
    })
}

fn apply(ledger: &mut Ledger, seen: Seen, settled: u64, entries: Vec<Entry>) -> Applied {
    let number = ledger.seen().block + 1;
    let settled = vec![(PUBLISHER, settled)];
    let (epoch, producer, at) = (3, InstanceId(number), Duration::from_secs(5 * number));
    let block = Block { epoch, producer, number: 1, at, seen, settled, entries };
    ledger.apply(number, at, 0xab, block)
}

/// A ledger that knows something of each kind, and what an audience lost.
fn full() -> (Ledger, Vec<(Audience, u64)>) {
    let mut ledger = Ledger::new(3, 0);
    let user = UserName::new("u").unwrap();
    let of_client = RepeatKey::new(Some(&user), &IdempotencyKey::new("b").unwrap());
    let entries = vec![push(4, Some(key("a"))), push(5, Some(of_client)), push(6, None)];
    let entries = [entries, vec![Entry::Workers { below: 2 }]].concat();
    apply(&mut ledger, Seen::default(), 0, entries);
    let seen = ledger.seen();
    apply(&mut ledger, seen, 5, vec![]);
    let trimmed = vec![
        (Audience::Everyone, 1),
        (Audience::Group(GroupName::new("g").unwrap()), 2),
        (Audience::User(UserName::new("u").unwrap()), 3),
    ];
    (ledger, trimmed)
}

fn pieces(snapshot: &mut Snapshot, ledger: &Ledger, max_entries: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = snapshot.next_piece(ledger, max_entries) {
        bytes.extend(piece);
    }
    assert!(snapshot.is_done());
    bytes
}

fn full_bytes(max_entries: usize) -> Vec<u8> {
    let (mut ledger, trimmed) = full();
    let mut snapshot = Snapshot::begin(&mut ledger, trimmed, 1);
    pieces(&mut snapshot, &ledger, max_entries)
}

#[test]
fn a_snapshot_brings_back_everything() {
    for max_entries in [1, 2, 100] {
        let (ledger, trimmed, floor) = read(&full_bytes(max_entries)).unwrap();
        assert_eq!((trimmed, floor), (full().1, 1));
        assert_eq!((ledger.epoch(), ledger.start(), ledger.next_worker()), (3, 0, 2));
        let seen = Seen { block: 2, at: Duration::from_secs(10), print: 0xab };
        assert_eq!(ledger.seen(), seen);
        assert_eq!(ledger.answering_ids(), IdCount { all: 2, clients: 1 });
        let first = sequence(1, 1);
        assert_eq!(ledger.known_id(&key("a"), [7; 16], seen.at), KnownKey::Accepted(first));
        assert_eq!(ledger.known_id(&key("a"), [8; 16], seen.at), KnownKey::Taken);
        assert_eq!(ledger.known_number(PUBLISHER, 4), KnownNumber::Settled);
        assert_eq!(ledger.known_number(PUBLISHER, 5), KnownNumber::Accepted(sequence(1, 2)));
        assert_eq!(ledger.producers.iter().count(), 2);
    }
}

#[test]
fn the_bytes_of_a_snapshot_do_not_change() {
    let hex: String = full_bytes(100).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN.concat());
}

const GOLDEN: [&str; 9] = [
    "0100000000000000030000000000000002000000000000271000000000000000ab00000000000000",
    "00000000000000000200000000000000010000000000000002010000000200000000000000010000",
    "00000000000100000000000013880000000000000002000000000000000100000000000027100200",
    "00000100000000000000090000000000002710000000010000000000000005000000000000000200",
    "00000000002710030000000300000000000000000001010167000000000000000202017500000000",
    "00000003040000000200016107070707070707070707070707070707000000000001000100000000",
    "00001388000401750162070707070707070707070707070707070000000000010002000000000000",
    "13880500000002000000000000000900000000000000050000000000010002000000000000138800",
    "000000000000090000000000000006000000000001000300000000000013880013ae2bfbe2d05185",
];

#[test]
fn a_snapshot_is_an_error_if_any_bit_is_wrong() {
    let mut bytes = full_bytes(100);
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(read(&bytes).is_ok());
}

#[test]
fn a_snapshot_that_is_cut_or_longer_is_an_error() {
    let mut bytes = full_bytes(100);
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len} bytes");
    }
    bytes.push(0);
    assert_eq!(read(&bytes).err(), Some(SnapshotError::Checksum));
    bytes[0] = 2;
    assert_eq!(read(&bytes).err(), Some(SnapshotError::OtherVersion { found: 2 }));
}

#[test]
fn bytes_with_a_right_checksum_never_panic() {
    let bytes = full_bytes(100);
    let len = bytes.len() - 8;
    let signed = |bytes: &[u8]| [bytes, &xxh3_64(bytes).to_be_bytes()].concat();
    for at in 0..len {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes[..len].to_vec();
            damaged[at] = value;
            // Many of them are valid.
            let _ = read(&signed(&damaged));
        }
        assert!(read(&signed(&bytes[..at])).is_err(), "{at} bytes");
    }
    assert!(matches!(read(&signed(&bytes)), Err(SnapshotError::Invalid(_))));
}

#[test]
fn numbers_that_are_settled_meanwhile_are_in_the_snapshot() {
    let mut ledger = Ledger::new(3, 0);
    let seen = ledger.seen();
    apply(&mut ledger, seen, 0, (1..=9).map(|number| push(number, None)).collect());
    let mut snapshot = Snapshot::begin(&mut ledger, vec![], 0);
    let mut bytes = Vec::new();
    for settled in 1..=9 {
        bytes.extend(snapshot.next_piece(&ledger, 2).unwrap());
        let now = ledger.seen();
        apply(&mut ledger, now, settled, vec![push(20 + settled, None)]);
    }
    assert!(ledger.room_for(PUBLISHER) && !ledger.numbers.held().is_empty());
    bytes.extend(pieces(&mut snapshot, &ledger, 2));
    let (mut restored, ..) = read(&bytes).unwrap();
    // A block that did not see the first comes right behind the snapshot.
    let late = apply(&mut restored, seen, 0, (1..=9).map(|number| push(number, None)).collect());
    let is_repeat = |decided: &Decided| matches!(decided, Decided::Repeat { .. });
    assert!(late.verdict == Verdict::Counts && late.decided.iter().all(is_repeat), "{late:?}");
    assert_eq!(late.decided.len(), 9);
    assert_eq!(restored.known_number(PUBLISHER, 21), KnownNumber::New);
    apply(&mut ledger, seen, 9, vec![]);
    assert!(ledger.numbers.held().is_empty(), "released with the next block");
}

#[test]
fn a_snapshot_that_is_dropped_holds_nothing() {
    let (mut ledger, _) = full();
    let snapshot = Snapshot::begin(&mut ledger, vec![], 0);
    let beat = |ledger: &mut Ledger, seconds| {
        let (number, seen) = (ledger.seen().block + 1, ledger.seen());
        let (at, producer) = (Duration::from_secs(seconds), InstanceId(77));
        let (settled, entries) = (vec![], vec![]);
        ledger.apply(
            number,
            at,
            0,
            Block { epoch: 3, producer, number, at, seen, settled, entries },
        );
    };
    beat(&mut ledger, 1_000);
    assert!(!ledger.ids.is_empty());
    assert_eq!(ledger.answering_ids(), IdCount::default());
    drop(snapshot);
    beat(&mut ledger, 1_001);
    assert!(ledger.ids.is_empty());
}

#[test]
fn a_snapshot_comes_to_nothing_with_a_new_epoch_or_another_one() {
    let (mut ledger, _) = full();
    let mut first = Snapshot::begin(&mut ledger, vec![], 0);
    let mut second = Snapshot::begin(&mut ledger, vec![], 0);
    assert_eq!((first.next_piece(&ledger, 9), first.is_done()), (None, false));
    assert!(second.next_piece(&ledger, 9).is_some());
    ledger.begin_epoch(4, 9);
    assert_eq!((second.next_piece(&ledger, 9), second.is_done()), (None, false));
}
