//! Directories that were restored from a copy, or renamed.

use std::process::Command;

use super::super::directory::Directory;
use super::*;

/// Opens a directory as a broker does. A new epoch is `random`.
fn open_here(dir: &Path, durability: Durability, random: u64) -> (Segments, Log) {
    let (segments, found) =
        Segments::open_in(dir, durability, BOOT, Directory::identity, || random).unwrap();
    (segments, Log::of(found))
}

/// Like [`open_here`], and begins the epoch that has to begin.
fn renew_here(dir: &Path, durability: Durability, random: u64) -> Segments {
    let (mut segments, log) = open_here(dir, durability, random);
    let Renewal { epoch, first } = log.renewal.unwrap();
    assert_eq!((epoch, first, log.blocks.len()), (random, 5, 3));
    segments.begin_epoch(epoch, first, &state(first)).unwrap();
    segments
}

fn with_three_blocks(dir: &Path, durability: Durability) -> Segments {
    let (mut segments, _) = open_here(dir, durability, EPOCH);
    append(&mut segments, 1..=3);
    segments
}

fn end(segments: Segments, clean: bool) {
    if clean { segments.close().unwrap() } else { drop(segments) }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_copy_begins_a_new_epoch_and_the_original_does_not() {
    for durability in MODES {
        for clean in [true, false] {
            let dir = temp();
            let (original, backup) = (dir.path().join("original"), dir.path().join("backup"));
            end(with_three_blocks(&original, durability), clean);
            copy(&original, &backup);
            let mut segments = renew_here(&backup, durability, NEW_EPOCH);
            // From now on it is a directory with a log of its own.
            append(&mut segments, 5..=5);
            segments.close().unwrap();
            let (_, log) = open_here(&backup, durability, 99);
            assert_eq!((log.epoch, log.renewal, log.blocks), (NEW_EPOCH, None, vec![5]));
            // A log in memory is lost with its process, copied or not.
            if clean || durability != Durability::Memory {
                let (_, log) = open_here(&original, durability, 99);
                assert_eq!((log.epoch, log.renewal, log.blocks), (EPOCH, None, vec![1, 2, 3]));
            }
        }
    }
}

#[test]
fn a_copy_is_another_log_than_its_original() {
    let dir = temp();
    let (original, backup) = (dir.path().join("original"), dir.path().join("backup"));
    let segments = with_three_blocks(&original, Durability::Disk);
    let id = segments.log_id();
    segments.close().unwrap();
    let shown = |dir: &Path| fs::read_to_string(dir.join("log-id")).unwrap();
    assert_eq!(shown(&original), format!("{id:016x}\n"));
    copy(&original, &backup);
    // A start that does not get as far as the new epoch leaves a copy as it is.
    assert_ne!(open_here(&backup, Durability::Disk, NEW_EPOCH).0.log_id(), id);
    let mut segments = renew_here(&backup, Durability::Disk, NEW_EPOCH);
    let other = segments.log_id();
    assert_ne!(other, id);
    assert_eq!(shown(&backup), format!("{other:016x}\n"));
    // Another epoch is not another log.
    segments.begin_epoch(99, 9, &state(9)).unwrap();
    drop(segments);
    assert_eq!(open_here(&backup, Durability::Disk, 99).0.log_id(), other);
    let renamed = dir.path().join("renamed");
    fs::rename(&original, &renamed).unwrap();
    assert_eq!(open_here(&renamed, Durability::Disk, 99).0.log_id(), id);
}

#[test]
fn a_copy_that_replaces_the_original_begins_a_new_epoch() {
    for put_back_by_copy in [true, false] {
        let dir = temp();
        let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
        with_three_blocks(&data, Durability::Disk).close().unwrap();
        copy(&data, &backup);
        let (mut segments, _) = open_here(&data, Durability::Disk, 99);
        append(&mut segments, 4..=9);
        segments.close().unwrap();
        fs::remove_dir_all(&data).unwrap();
        if put_back_by_copy {
            copy(&backup, &data)
        } else {
            fs::rename(&backup, &data).unwrap()
        }
        renew_here(&data, Durability::Disk, NEW_EPOCH);
    }
}

#[test]
fn a_renamed_directory_keeps_its_epoch() {
    for clean in [true, false] {
        let dir = temp();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        end(with_three_blocks(&before, Durability::Disk), clean);
        fs::rename(&before, &after).unwrap();
        let (_, log) = open_here(&after, Durability::Disk, NEW_EPOCH);
        assert_eq!((log.epoch, log.renewal, log.blocks.len()), (EPOCH, None, 3), "{clean}");
    }
}
