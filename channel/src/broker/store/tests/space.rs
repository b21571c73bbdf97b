//! The space that is used, and disks that are full or read-only. These tests need a file system of their
//! own, which is mounted in a namespace that ends with the process.

use std::process::Command;

use super::*;

const INSIDE: &str = "CAMPANILE_STORE_DISK";

/// Whether this process may mount. If not, runs the test again in a process that may.
fn inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let module = module_path!().split_once("::").unwrap().1;
    let test = format!("{module}::{name}");
    let may = Command::new("unshare").args(["-rm", "true"]).output();
    if !may.is_ok_and(|may| may.status.success()) {
        eprintln!("{test}: this system does not allow mounts here, so nothing was tested");
        return false;
    }
    let status = Command::new("unshare")
        .arg("-rm")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &test])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

fn mount(dir: &Path, options: &str) {
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(dir)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn trimmed_events_free_their_space() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Written);
    let mut most = 0;
    for sequence in 1_u64..=20_000 {
        let trim = Trim {
            below: sequence.saturating_sub(100),
            last: vec![(group(sequence % 100), sequence)],
            evicted: vec![],
            floor: 0,
        };
        let forgotten_ids = if sequence > 50 { vec![key(sequence - 50)] } else { vec![] };
        let changes = Changes {
            ids: vec![known(sequence)],
            forgotten_ids,
            trim: Some(trim),
            ..events(sequence..=sequence, 500)
        };
        store.write(&[changes]).unwrap();
        if sequence.is_multiple_of(1_000) {
            let tables = files(&dir.path().join("store/keyspaces"));
            // The engine may delete files in the meantime.
            let bytes: u64 = tables
                .iter()
                .filter_map(|path| fs::metadata(path).ok())
                .map(|file| file.len())
                .sum();
            most = most.max(bytes);
        }
    }
    // 100 events take 60 kB. All of them took 12 MB.
    assert!(most < 3 << 20, "{most} bytes");
    drop(store);
    assert_eq!(open(dir.path(), Durability::Written).1.events.len(), 101);
}

#[test]
fn a_full_disk_is_an_error_and_loses_nothing() {
    if !inside("a_full_disk_is_an_error_and_loses_nothing") {
        return;
    }
    for (durability, len) in
        [(Durability::Disk, 500), (Durability::Disk, 70_000), (Durability::Written, 5_000)]
    {
        let disk = tempfile::tempdir().unwrap();
        mount(disk.path(), "size=8m");
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![0; 4 << 20]).unwrap();
        let dir = disk.path().join("data");
        let (mut store, _) = open(&dir, durability);
        let mut stored = 0;
        let error = loop {
            match store.write(&[events(stored + 1..=stored + 1, len)]) {
                Ok(()) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(stored > 10, "{stored}");
        let again = store.write(&[events(stored + 1..=stored + 1, len)]).unwrap_err();
        assert!(matches!(again, StoreError::Stopped { .. }), "{again}");
        drop(store);
        let error = try_open(&dir, durability).err();
        assert!(matches!(error, Some(StoreError::Full { .. }) | None), "{error:?}");
        fs::remove_file(&ballast).unwrap();
        let (_, recovered) = open(&dir, durability);
        // As in a crash, the write that failed may be complete on disk.
        let head = recovered.head;
        assert!(head == stored || head == stored + 1, "{head} of {stored}");
        let all: Vec<_> = (1..=head).map(|sequence| record(sequence, len)).collect();
        assert!(recovered.events == all, "{} of {head}", recovered.events.len());
        assert_eq!(recovered.epoch, EPOCH);
    }
}

#[test]
fn a_read_only_disk_is_an_error() {
    if !inside("a_read_only_disk_is_an_error") {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    mount(disk.path(), "size=8m");
    let (ours, empty) = (disk.path().join("ours"), disk.path().join("empty"));
    open(&ours, Durability::Disk).0.close().unwrap();
    fs::create_dir(&empty).unwrap();
    mount(disk.path(), "remount,ro");
    for dir in [ours, empty] {
        let error = try_open(&dir, Durability::Disk).err().unwrap();
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    }
    let error = try_open(&disk.path().join("new"), Durability::Disk).err().unwrap();
    assert!(matches!(error, StoreError::CannotCreate { .. }), "{error}");
}
