//! Disks that are full or read-only. These tests need a file system of their own, which is mounted in a
//! namespace that ends with the process.

use std::process::Command;

use super::*;

const INSIDE: &str = "CAMPANILE_JOURNAL_DISK";

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
fn a_full_disk_is_an_error_and_loses_nothing() {
    if !inside("a_full_disk_is_an_error_and_loses_nothing") {
        return;
    }
    for (durability, len) in
        [(Durability::Disk, 500), (Durability::Disk, 70_000), (Durability::Written, 5_000)]
    {
        let disk = tempfile::tempdir().unwrap();
        mount(disk.path(), "size=2m");
        let ballast = disk.path().join("ballast");
        fs::write(&ballast, vec![0; 1 << 20]).unwrap();
        let dir = disk.path().join("data");
        let (mut segments, _) = open(&dir, durability);
        let mut stored = 0;
        let error = loop {
            match segments.append(stored + 1, &vec![7; len], false) {
                Ok(()) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, JournalError::Full { .. }), "{error}");
        assert!(stored > 10, "{stored}");
        let again = segments.append(stored + 1, &[7], false).unwrap_err();
        assert!(matches!(again, JournalError::Stopped { .. }), "{again}");
        drop(segments);
        let error = try_open(&dir, durability).err();
        assert!(matches!(error, Some(JournalError::Full { .. }) | None), "{error:?}");
        fs::remove_file(&ballast).unwrap();
        let (mut segments, found) = try_open(&dir, durability).unwrap();
        assert_eq!((found.epoch, found.renewal), (EPOCH, None));
        // As in a crash, the write that failed may be complete on disk.
        let last = found.last;
        assert!(last == stored || last == stored + 1, "{last} of {stored}");
        let whole = found.blocks.map(Result::unwrap).filter(|(_, block)| *block == vec![7; len]);
        assert_eq!(whole.count() as u64, last);
        segments.append(last + 1, &vec![7; len], false).unwrap();
    }
}

#[test]
fn a_read_only_disk_is_an_error() {
    if !inside("a_read_only_disk_is_an_error") {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    mount(disk.path(), "size=2m");
    let (ours, empty) = (disk.path().join("ours"), disk.path().join("empty"));
    open(&ours, Durability::Disk).0.close().unwrap();
    fs::create_dir(&empty).unwrap();
    mount(disk.path(), "remount,ro");
    for dir in [ours, empty] {
        let error = try_open(&dir, Durability::Disk).err().unwrap();
        assert!(matches!(error, JournalError::NotWritable { .. }), "{error}");
    }
    let error = try_open(&disk.path().join("new"), Durability::Disk).err().unwrap();
    assert!(matches!(error, JournalError::CannotCreate { .. }), "{error}");
}
