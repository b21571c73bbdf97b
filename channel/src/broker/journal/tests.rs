//! What survives in data directories on real file systems.

mod copies;
mod corruption;
mod crash;
mod disk;
mod failures;
mod killed;
mod model;
mod orders;
mod space;

use std::fs;
use std::path::Path;

use campanile_messages::Durability;
use tempfile::TempDir;

use super::directory::DirectoryIdentity;
use super::*;

const BOOT: Option<u128> = Some(1);
/// The identity of every directory in tests that copy one and treat the copy as the original.
const IDENTITY: DirectoryIdentity = DirectoryIdentity { inode: 1, created_nanos: None };
const EPOCH: u64 = 7;
const NEW_EPOCH: u64 = 8;
const MODES: [Durability; 3] = [Durability::Disk, Durability::Written, Durability::Memory];

/// In memory if possible, because these tests open thousands of directories.
fn temp() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn try_open(dir: &Path, durability: Durability) -> Result<(Segments, Found), JournalError> {
    open_in_boot(dir, durability, BOOT)
}

fn open_in_boot(
    dir: &Path,
    durability: Durability,
    boot: Option<u128>,
) -> Result<(Segments, Found), JournalError> {
    let mut epochs = EPOCH..;
    Segments::open_in(dir, durability, boot, |_| Ok(IDENTITY), || epochs.next().unwrap())
}

fn open(dir: &Path, durability: Durability) -> (Segments, Log) {
    let (segments, found) = try_open(dir, durability).unwrap();
    (segments, Log::of(found))
}

/// What was found, with all blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Log {
    epoch: u64,
    renewal: Option<Renewal>,
    state: Option<Vec<u8>>,
    after: u64,
    blocks: Vec<u64>,
    torn_bytes: u64,
}

impl Log {
    /// Reads all blocks, which have to be those of [`block`].
    fn of(found: Found) -> Self {
        let Found { epoch, renewal, state, after, last, blocks, torn_bytes } = found;
        assert_eq!(blocks.left(), last - after);
        let read = |found: Result<(u64, bytes::Bytes), JournalError>| {
            let (number, bytes) = found.unwrap();
            assert!(bytes == block(number), "block {number}");
            number
        };
        let blocks: Vec<_> = blocks.map(read).collect();
        assert_eq!(blocks, (after + 1..=last).collect::<Vec<_>>());
        Self { epoch, renewal, state, after, blocks, torn_bytes }
    }
}

/// The bytes of a block. Their number is small and not always the same.
fn block(number: u64) -> Vec<u8> {
    let len = 10 + usize::try_from(number * 7 % 41).unwrap();
    vec![u8::try_from(number % 251).unwrap(); len]
}

fn append(segments: &mut Segments, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        segments.append(number, &block(number), false).unwrap();
    }
}

/// The snapshot of what follows from all blocks before this one.
fn state(first: u64) -> Vec<u8> {
    format!("what follows from all blocks before {first}").into_bytes()
}

/// Begins a segment, with its snapshot.
fn roll(segments: &mut Segments, first: u64) {
    segments.roll(first).unwrap();
    let state = state(first);
    let (one, other) = state.split_at(state.len() / 2);
    segments.add_state(one, false).unwrap();
    segments.add_state(other, true).unwrap();
}

/// The files of a directory and their contents.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Image(Vec<(String, Vec<u8>)>);

impl Image {
    fn of(dir: &Path) -> Self {
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let path = entry.unwrap().path();
            (files::name(&path), fs::read(path).unwrap())
        };
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(read).collect();
        files.sort();
        Self(files)
    }

    fn restore(&self) -> TempDir {
        let dir = temp();
        for (name, bytes) in &self.0 {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn file(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|(found, _)| found == name).unwrap().1
    }

    fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(found, _)| found != name).cloned().collect())
    }
}

/// The name of the segment that begins with this block.
fn log(first: u64) -> String {
    format!("{first:020}.log")
}

/// The name of the snapshot before this block.
fn snapshot(first: u64) -> String {
    format!("{first:020}.state")
}

/// A directory with two segments that have snapshots, and some blocks in each, that was stopped cleanly.
fn populated() -> (Image, Log) {
    let dir = temp();
    let (mut segments, _) = open(dir.path(), Durability::Disk);
    append(&mut segments, 1..=3);
    roll(&mut segments, 4);
    append(&mut segments, 4..=6);
    segments.trim(4).unwrap();
    roll(&mut segments, 7);
    append(&mut segments, 7..=9);
    segments.close().unwrap();
    let image = Image::of(dir.path());
    let log = open(image.restore().path(), Durability::Disk).1;
    assert_eq!((log.after, log.blocks.len()), (3, 6));
    (image, log)
}

#[test]
fn a_new_directory_is_empty_and_has_a_random_epoch() {
    let dir = temp();
    let path = dir.path().join("new");
    let (segments, log) = open(&path, Durability::Disk);
    let empty =
        Log { epoch: EPOCH, renewal: None, state: None, after: 0, blocks: vec![], torn_bytes: 0 };
    assert_eq!(log, empty);
    assert_eq!(segments.last(), 0);
    segments.close().unwrap();
    assert_eq!(open(&path, Durability::Disk).1, empty);
}

#[test]
fn everything_is_found_again() {
    for durability in MODES {
        let dir = temp();
        let (mut segments, _) = open(dir.path(), durability);
        append(&mut segments, 1..=5);
        roll(&mut segments, 6);
        append(&mut segments, 6..=9);
        roll(&mut segments, 10);
        append(&mut segments, 10..=12);
        segments.trim(9).unwrap();
        segments.close().unwrap();
        let (mut segments, log) = open(dir.path(), durability);
        let expected = Log {
            epoch: EPOCH,
            renewal: None,
            state: Some(state(6)),
            after: 5,
            blocks: (6..=12).collect(),
            torn_bytes: 0,
        };
        assert_eq!(log, expected);
        append(&mut segments, 13..=13);
        segments.close().unwrap();
        assert_eq!(open(dir.path(), durability).1.blocks, (6..=13).collect::<Vec<_>>());
    }
}
