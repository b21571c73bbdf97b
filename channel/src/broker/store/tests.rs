//! What survives in data directories on real file systems.

mod copies;
mod corruption;
mod crash;
mod model;
mod space;

use std::fs;
use std::path::{Path, PathBuf};

use std::time::Duration;

use campanile_messages::{
    Address, ConnectionId, Content, GroupName, IdempotencyKey, InstanceId, UserName, WorkerId,
};
use tempfile::TempDir;

use super::*;
use crate::broker::record::Trim;
use crate::broker::repeat_key::RepeatKey;

const BOOT: Option<u128> = Some(1);
/// The identity of every directory in tests that copy one and treat the copy as the original.
const IDENTITY: DirectoryIdentity = DirectoryIdentity { inode: 1, created_nanos: None };
const EPOCH: u64 = 7;
const NEW_EPOCH: u64 = 8;

/// In memory if possible, because these tests open thousands of stores.
fn temp() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn try_open(dir: &Path, durability: Durability) -> Result<(Store, Recovered), StoreError> {
    let mut epochs = EPOCH..;
    Store::open_in(dir, durability, BOOT, |_| Ok(IDENTITY), || epochs.next().unwrap())
}

fn open(dir: &Path, durability: Durability) -> (Store, Recovered) {
    try_open(dir, durability).unwrap()
}

fn group(number: u64) -> Audience {
    Audience::Group(GroupName::new(format!("group {number}")).unwrap())
}

fn key(number: u64) -> RepeatKey {
    IdempotencyKey::new(format!("id {number}")).unwrap().into()
}

fn record(sequence: u64, len: usize) -> Record {
    let content = vec![u8::try_from(sequence % 251).unwrap(); len];
    Record {
        sequence,
        at: Duration::from_millis(1_700_000_000_000 + sequence),
        audience: if sequence.is_multiple_of(3) { Audience::Everyone } else { group(sequence % 5) },
        except: sequence
            .is_multiple_of(4)
            .then_some(Address { worker: WorkerId(sequence), connection: ConnectionId(7) }),
        content: Content::Binary(content.into()),
        from: (sequence % 3 == 1).then(|| UserName::new(sequence.to_string()).unwrap()),
        publisher: InstanceId(sequence % 2),
        number: sequence,
        gateways: 1,
        matched: sequence % 7,
    }
}

fn known(number: u64) -> KnownId {
    KnownId {
        key: key(number),
        digest: [u8::try_from(number % 251).unwrap(); 16],
        at: Duration::from_millis(number),
        sequence: number,
        gateways: 2,
        matched: 3,
    }
}

fn events(sequences: std::ops::RangeInclusive<u64>, len: usize) -> Changes {
    let events = sequences.map(|sequence| record(sequence, len)).collect();
    Changes { events, ..Changes::default() }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // The engine may delete files in the meantime.
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The files of a directory and their contents, without the zeros at the end of journals.
#[derive(Clone)]
struct Image(Vec<(PathBuf, Vec<u8>)>);

impl Image {
    fn of(dir: &Path) -> Self {
        let read = |path: PathBuf| {
            let mut bytes = fs::read(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "jnl") {
                bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1));
            }
            (path.strip_prefix(dir).unwrap().to_owned(), bytes)
        };
        Self(files(dir).into_iter().map(read).collect())
    }

    fn restore(&self) -> TempDir {
        let dir = temp();
        for (path, bytes) in &self.0 {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn file(&mut self, name: &str) -> &mut Vec<u8> {
        let named = |(path, _): &&mut (PathBuf, Vec<u8>)| path.ends_with(name);
        &mut self.0.iter_mut().find(named).unwrap().1
    }
}

#[test]
fn a_new_directory_is_empty_and_has_a_random_epoch() {
    let dir = temp();
    let path = dir.path().join("new");
    let (store, recovered) = open(&path, Durability::Disk);
    let empty = Recovered {
        epoch: EPOCH,
        head: 0,
        next_worker: 0,
        events: vec![],
        ids: vec![],
        trimmed: vec![],
        floor: 0,
        torn_bytes: 0,
    };
    assert_eq!(recovered, empty);
    store.close().unwrap();
    assert_eq!(open(&path, Durability::Disk).1, empty);
}

#[test]
fn everything_is_found_again() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Disk);
    let first = Changes { ids: vec![known(1), known(2)], ..events(1..=5, 100) };
    let trim =
        Trim { below: 3, last: vec![(group(1), 1), (group(2), 2)], evicted: vec![], floor: 0 };
    let second = Changes { forgotten_ids: vec![key(1)], trim: Some(trim), ..events(6..=6, 20_000) };
    store.write(&[first, second]).unwrap();
    let trim = Trim { below: 4, last: vec![], evicted: vec![group(1)], floor: 2 };
    store.write(&[Changes { trim: Some(trim), ..Changes::default() }]).unwrap();
    store.set_next_worker(9).unwrap();
    store.close().unwrap();
    let (_, recovered) = open(dir.path(), Durability::Disk);
    let expected = Recovered {
        epoch: EPOCH,
        head: 6,
        next_worker: 9,
        events: vec![record(4, 100), record(5, 100), record(6, 20_000)],
        ids: vec![known(2)],
        trimmed: vec![(group(2), 2)],
        floor: 2,
        torn_bytes: 0,
    };
    assert_eq!(recovered, expected);
}

#[test]
fn the_largest_content_is_stored() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Disk);
    store.write(&[events(1..=1, 16 << 20)]).unwrap();
    store.close().unwrap();
    assert_eq!(open(dir.path(), Durability::Disk).1.events, [record(1, 16 << 20)]);
}

#[test]
fn a_new_epoch_forgets_only_the_log_and_its_keys() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Disk);
    let trim = Trim { below: 2, last: vec![(group(1), 1)], evicted: vec![], floor: 1 };
    store.write(&[Changes { ids: vec![known(1)], trim: Some(trim), ..events(1..=3, 10) }]).unwrap();
    store.set_next_worker(4).unwrap();
    store.set_epoch(99).unwrap();
    store.write(&[Changes { ids: vec![known(4)], ..events(4..=4, 10) }]).unwrap();
    store.close().unwrap();
    let (_, recovered) = open(dir.path(), Durability::Disk);
    assert_eq!((recovered.epoch, recovered.head, recovered.next_worker), (99, 4, 4));
    assert_eq!(recovered.events, [record(4, 10)]);
    assert_eq!(recovered.ids, [known(4)]);
    assert_eq!((recovered.trimmed, recovered.floor), (vec![], 0));
}

#[test]
fn events_out_of_sequence_are_not_written() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Disk);
    let error = store.write(&[events(2..=2, 1)]).unwrap_err();
    assert!(matches!(error, StoreError::OutOfSequence { expected: 1, found: 2, .. }), "{error}");
    store.write(&[events(1..=1, 1)]).unwrap();
    store.close().unwrap();
    assert_eq!(open(dir.path(), Durability::Disk).1.events, [record(1, 1)]);
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Disk);
    let error = try_open(dir.path(), Durability::Disk).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    store.write(&[events(1..=1, 1)]).unwrap();
    drop(store);
    assert_eq!(open(dir.path(), Durability::Disk).1.events.len(), 1);
}

#[test]
fn an_unfinished_directory_is_made_again() {
    let dir = temp();
    drop(open(dir.path(), Durability::Disk));
    let whole = Image::of(dir.path());
    // The engine was interrupted after its first files.
    let mut half = whole.clone();
    half.0.retain(|(path, _)| {
        path.ends_with("campanile") || path.ends_with("lock") || path.ends_with("0.jnl")
    });
    for (path, _) in &mut half.0 {
        if let Ok(rest) = path.strip_prefix("store") {
            *path = Path::new("store.new").join(rest);
        }
    }
    let half = half.restore();
    assert_eq!(open(half.path(), Durability::Disk).1.head, 0);
    // Only the mark is missing.
    let mut unmarked = whole.clone();
    unmarked.0.retain(|(path, _)| !path.ends_with("mark"));
    let unmarked = unmarked.restore();
    assert_eq!(open(unmarked.path(), Durability::Disk).1.epoch, EPOCH);
    // A directory that was finished once is not made again.
    let mut gone = whole;
    gone.0.retain(|(path, _)| !path.starts_with("store"));
    let gone = gone.restore();
    let error = try_open(gone.path(), Durability::Disk).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

fn start_of(dir: &Path, boot: Option<u128>) -> Duration {
    let store =
        Store::open_in(dir, Durability::Disk, boot, |_| Ok(IDENTITY), || NEW_EPOCH).unwrap().0;
    store.clock().now()
}

/// Both times are rounded to milliseconds.
const ROUNDED: Duration = Duration::from_millis(2);

#[test]
fn the_clock_continues_that_of_the_last_broker() {
    let dir = temp();
    let begun = std::time::Instant::now();
    let mut before = start_of(dir.path(), BOOT);
    assert!(before < Duration::from_secs(1), "a new directory begins at 0");
    for _ in 0..5 {
        let now = start_of(dir.path(), BOOT);
        assert!(now + ROUNDED >= before && now <= begun.elapsed(), "{before:?}, {now:?}");
        before = now;
    }
    // Killed at once after each of several boots of the host.
    for boot in 2..=5 {
        let now = start_of(dir.path(), Some(boot));
        assert!(now + ROUNDED >= before + clock::UNPROVEN, "{before:?}, {now:?}");
        before = now;
    }
    let mut store = open(dir.path(), Durability::Disk).0;
    let noted = store.clock().now();
    store.note_time().unwrap();
    drop(store);
    assert!(start_of(dir.path(), None) >= noted + clock::UNPROVEN - ROUNDED);
}

#[test]
fn what_clients_publish_raises_the_format_before_it_is_stored() {
    let marker = |dir: &TempDir| fs::read_to_string(dir.path().join("campanile")).unwrap();
    let user = UserName::new("42").unwrap();
    let plain = Record { from: None, ..record(1, 10) };
    let of_client = Record { from: Some(user.clone()), ..record(2, 10) };
    let known = |key| KnownId {
        key,
        digest: [9; 16],
        at: Duration::from_millis(5),
        sequence: 1,
        gateways: 0,
        matched: 0,
    };
    let own_key = known(RepeatKey::new(Some(&user), &IdempotencyKey::new("k").unwrap()));
    let with_key =
        |key| Changes { events: vec![plain.clone()], ids: vec![key], ..Changes::default() };
    for of_client in [
        vec![Changes { events: vec![plain.clone(), of_client], ..Changes::default() }],
        vec![with_key(own_key)],
    ] {
        let dir = temp();
        let (mut store, _) = open(dir.path(), Durability::Disk);
        store.write(&[Changes { ids: vec![known(key(1))], ..Changes::default() }]).unwrap();
        assert_eq!(marker(&dir), "campanile data directory, format 1\n");
        store.write(&of_client).unwrap();
        assert_eq!(marker(&dir), "campanile data directory, format 2\n");
        drop(store);
        open(dir.path(), Durability::Disk);
    }
}
