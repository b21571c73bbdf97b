//! Processes that are killed, and writes that are interrupted.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "CAMPANILE_STORE_CHILD";

/// Runs a test of this binary in another process.
fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let module = module_path!().split_once("::").unwrap().1;
    command.args(["--exact", "--nocapture", &format!("{module}::{name}")]);
    command
}

fn durability(word: &str) -> Durability {
    [Durability::Disk, Durability::Written, Durability::Memory]
        .into_iter()
        .find(|durability| durability.word() == word)
        .unwrap()
}

/// Not a test of its own: what the killed process does.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (word, dir) = what.split_once(' ').unwrap();
    let (mut store, recovered) = open(Path::new(dir), durability(word));
    for sequence in recovered.head + 1.. {
        store
            .write(&[Changes { ids: vec![known(sequence)], ..events(sequence..=sequence, 300) }])
            .unwrap();
        println!("\nstored {sequence}");
    }
}

/// Lets a process write, kills it, and returns the last sequence that it reported as stored.
fn write_and_kill(dir: &Path, durability: Durability, at_least: u64) -> u64 {
    let mut child = this_test("child_that_writes_until_it_is_killed")
        .env(CHILD, format!("{} {}", durability.word(), dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    let mut seen = 0;
    for line in lines {
        let line = line.unwrap();
        let Some(sequence) = line.strip_prefix("stored ") else { continue };
        last = sequence.parse().unwrap_or(last);
        seen += 1;
        if seen == 1 {
            let error = try_open(dir, durability).err().unwrap();
            assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        }
        if seen == at_least {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

#[test]
fn a_killed_process_loses_nothing_that_was_stored() {
    for durability in [Durability::Disk, Durability::Written] {
        let dir = temp();
        for round in 1..4 {
            let last = write_and_kill(dir.path(), durability, 200);
            let (store, recovered) = open(dir.path(), durability);
            assert_eq!(recovered.epoch, EPOCH);
            assert!(recovered.head >= last, "{} after {last}, round {round}", recovered.head);
            let all: Vec<_> = (1..=recovered.head).map(|sequence| record(sequence, 300)).collect();
            assert_eq!(recovered.events, all);
            assert_eq!(recovered.ids.len() as u64, recovered.head);
            drop(store);
        }
    }
}

#[test]
fn after_a_kill_events_in_memory_cause_a_new_epoch() {
    let dir = temp();
    let last = write_and_kill(dir.path(), Durability::Memory, 200);
    let (_, recovered) = open(dir.path(), Durability::Memory);
    assert!(last > 0);
    assert_eq!((recovered.epoch, recovered.events), (NEW_EPOCH, vec![]));
}

#[test]
fn after_a_reboot_written_events_cause_a_new_epoch() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Written);
    let trim = Trim { below: 2, last: vec![(group(1), 1)], evicted: vec![], floor: 1 };
    store.write(&[Changes { ids: vec![known(1)], trim: Some(trim), ..events(1..=3, 10) }]).unwrap();
    store.set_next_worker(5).unwrap();
    drop(store);
    let mut epochs = EPOCH..;
    let next = || epochs.next().unwrap();
    let (_, recovered) =
        Store::open_in(dir.path(), Durability::Disk, Some(2), |_| Ok(IDENTITY), next).unwrap();
    // If the old epoch is drawn again, it is not used.
    assert_eq!((recovered.epoch, recovered.head, recovered.next_worker), (NEW_EPOCH, 3, 5));
    assert_eq!((recovered.events, recovered.ids), (vec![], vec![]));
    assert_eq!((recovered.trimmed, recovered.floor), (vec![], 0));
}

#[test]
fn worker_ids_are_on_disk_in_every_mode() {
    for durability in [Durability::Disk, Durability::Written, Durability::Memory] {
        let dir = temp();
        let (mut store, _) = open(dir.path(), durability);
        store.set_next_worker(5).unwrap();
        // The files as they are now, before the process could write any more.
        let crashed = Image::of(dir.path()).restore();
        assert_eq!(open(crashed.path(), durability).1.next_worker, 5);
    }
}

/// A store whose last batch was written but not acknowledged, and where that batch begins.
fn unacknowledged() -> (Image, usize) {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Disk);
    store.write(&[events(1..=2, 50)]).unwrap();
    let before = Image::of(dir.path());
    store.write(&[events(3..=4, 50)]).unwrap();
    let mut image = Image::of(dir.path());
    let mut before = before;
    let begin = before.file("0.jnl").len();
    *image.file("mark") = std::mem::take(before.file("mark"));
    (image, begin)
}

#[test]
fn an_unfinished_batch_is_cut_off_at_any_byte() {
    let (image, begin) = unacknowledged();
    let whole = image.clone().file("0.jnl").len();
    let acknowledged = [record(1, 50), record(2, 50)];
    for cut in begin..whole {
        let mut torn = image.clone();
        torn.file("0.jnl").truncate(cut);
        let torn = torn.restore();
        let (store, recovered) = open(torn.path(), Durability::Disk);
        assert_eq!((recovered.epoch, &recovered.events[..]), (EPOCH, &acknowledged[..]));
        assert!(recovered.torn_bytes <= (cut - begin) as u64, "{}", recovered.torn_bytes);
        assert!(recovered.torn_bytes > 0 || cut == begin, "cut at {cut}");
        drop(store);
        assert_eq!(open(torn.path(), Durability::Disk).1.torn_bytes, 0);
    }
    // If the batch is complete, it counts.
    assert_eq!(open(image.restore().path(), Durability::Disk).1.head, 4);
}

#[test]
fn a_last_batch_with_missing_sectors_is_cut_off_too() {
    let (image, begin) = unacknowledged();
    let whole = image.clone().file("0.jnl").len();
    for hole in (begin..whole - 8).step_by(8) {
        let mut torn = image.clone();
        torn.file("0.jnl")[hole..hole + 8].fill(0);
        let same = torn.file("0.jnl") == image.clone().file("0.jnl");
        let torn = torn.restore();
        let (_, recovered) = open(torn.path(), Durability::Disk);
        assert_eq!(recovered.events.len(), if same { 4 } else { 2 }, "hole at {hole}");
    }
}

#[test]
fn an_incomplete_acknowledged_batch_is_an_error() {
    let dir = temp();
    let (mut store, _) = open(dir.path(), Durability::Written);
    store.write(&[events(1..=2, 50)]).unwrap();
    let begin = Image::of(dir.path()).file("0.jnl").len();
    store.write(&[events(3..=4, 50)]).unwrap();
    let mut image = Image::of(dir.path());
    let whole = image.file("0.jnl").len();
    for cut in begin..whole {
        let mut torn = image.clone();
        torn.file("0.jnl").truncate(cut);
        let restored = torn.restore();
        for _ in 0..2 {
            let error = try_open(restored.path(), Durability::Written).err().unwrap();
            assert!(matches!(error, StoreError::Lost { .. }), "{error}");
        }
        assert!(fs::read(restored.path().join("store/0.jnl")).unwrap() == *torn.file("0.jnl"));
    }
    // Without the mark it is not known whether the batch was acknowledged, so that is an error too.
    image.0.retain(|(path, _)| !path.ends_with("mark"));
    image.file("0.jnl").truncate(begin + 1);
    let error = try_open(image.restore().path(), Durability::Written).err().unwrap();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}
