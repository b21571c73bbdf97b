//! Directories that were restored from a copy, or renamed.

use std::process::Command;

use super::*;

const MODES: [Durability; 3] = [Durability::Disk, Durability::Written, Durability::Memory];

/// Opens a directory as a broker does. A new epoch is `random`.
fn open_here(dir: &Path, durability: Durability, random: u64) -> (Store, Recovered) {
    Store::open_in(dir, durability, BOOT, Directory::identity, || random).unwrap()
}

/// A store with events, an id, a trimmed audience and a worker.
fn populated(dir: &Path, durability: Durability) -> Store {
    let (mut store, _) = open_here(dir, durability, EPOCH);
    let trim = Trim { below: 2, last: vec![(group(1), 1)], evicted: vec![], floor: 1 };
    store.write(&[Changes { ids: vec![known(3)], trim: Some(trim), ..events(1..=3, 10) }]).unwrap();
    store.set_next_worker(5).unwrap();
    store
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// What [`populated`] leaves, without what belongs to its epoch.
fn renewed(epoch: u64) -> Recovered {
    Recovered { epoch, head: 3, next_worker: 5, ..Recovered::default() }
}

#[test]
fn a_copy_begins_a_new_epoch_and_the_original_does_not() {
    for durability in MODES {
        for clean in [true, false] {
            let dir = temp();
            let (original, backup) = (dir.path().join("original"), dir.path().join("backup"));
            let store = populated(&original, durability);
            if clean {
                store.close().unwrap()
            } else {
                drop(store)
            }
            copy(&original, &backup);
            let (mut store, recovered) = open_here(&backup, durability, NEW_EPOCH);
            assert_eq!(recovered, renewed(NEW_EPOCH), "{durability:?}, clean: {clean}");
            // From now on it is a directory with a log of its own.
            store.write(&[events(4..=4, 10)]).unwrap();
            store.close().unwrap();
            let (_, recovered) = open_here(&backup, durability, 99);
            assert_eq!((recovered.epoch, recovered.events), (NEW_EPOCH, vec![record(4, 10)]));
            // A log in memory is lost with its process, copied or not.
            if clean || durability != Durability::Memory {
                let (_, recovered) = open_here(&original, durability, 99);
                assert_eq!((recovered.epoch, recovered.events.len()), (EPOCH, 2));
                assert_eq!(recovered.ids, [known(3)]);
            }
        }
    }
}

#[test]
fn a_copy_is_another_log_than_its_original() {
    let dir = temp();
    let (original, backup) = (dir.path().join("original"), dir.path().join("backup"));
    let store = populated(&original, Durability::Disk);
    let id = store.log_id();
    store.close().unwrap();
    copy(&original, &backup);
    let (mut store, _) = open_here(&backup, Durability::Disk, NEW_EPOCH);
    let other = store.log_id();
    assert_ne!(other, id);
    // Another epoch is not another log.
    store.set_epoch(99).unwrap();
    drop(store);
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
        populated(&data, Durability::Disk).close().unwrap();
        copy(&data, &backup);
        let (mut store, _) = open_here(&data, Durability::Disk, 99);
        store.write(&[events(4..=9, 10)]).unwrap();
        store.close().unwrap();
        fs::remove_dir_all(&data).unwrap();
        if put_back_by_copy {
            copy(&backup, &data)
        } else {
            fs::rename(&backup, &data).unwrap()
        }
        let (_, recovered) = open_here(&data, Durability::Disk, NEW_EPOCH);
        assert_eq!(recovered, renewed(NEW_EPOCH), "copied back: {put_back_by_copy}");
    }
}

#[test]
fn a_renamed_directory_keeps_its_epoch() {
    for clean in [true, false] {
        let dir = temp();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        let store = populated(&before, Durability::Disk);
        if clean {
            store.close().unwrap()
        } else {
            drop(store)
        }
        fs::rename(&before, &after).unwrap();
        let (_, recovered) = open_here(&after, Durability::Disk, NEW_EPOCH);
        assert_eq!((recovered.epoch, recovered.events.len()), (EPOCH, 2), "clean: {clean}");
    }
}
