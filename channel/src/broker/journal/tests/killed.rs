//! Processes that are killed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "CAMPANILE_JOURNAL_CHILD";

/// Runs a test of this binary in another process.
fn this_test(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let module = module_path!().split_once("::").unwrap().1;
    command.args(["--exact", "--nocapture", &format!("{module}::{name}")]);
    command
}

/// Not a test of its own: what the killed process does.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (word, dir) = what.split_once(' ').unwrap();
    let durability = MODES.into_iter().find(|mode| mode.word() == word).unwrap();
    let (mut segments, log) = open(Path::new(dir), durability);
    for number in log.after + log.blocks.len() as u64 + 1.. {
        append(&mut segments, number..=number);
        println!("\nstored {number}");
        if number.is_multiple_of(50) {
            roll(&mut segments, number + 1);
            segments.trim(number.saturating_sub(300)).unwrap();
        }
    }
}

/// Lets a process append, kills it, and returns the last block that it reported as stored.
fn append_and_kill(dir: &Path, durability: Durability, at_least: u64) -> u64 {
    let mut child = this_test("child_that_appends_until_it_is_killed")
        .env(CHILD, format!("{} {}", durability.word(), dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut last, mut seen) = (0, 0);
    for line in lines {
        let line = line.unwrap();
        let Some(number) = line.strip_prefix("stored ") else { continue };
        last = number.parse().unwrap_or(last);
        seen += 1;
        if seen == 1 {
            let error = try_open(dir, durability).err().unwrap();
            assert!(matches!(error, JournalError::InUse { .. }), "{error}");
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
            let last = append_and_kill(dir.path(), durability, 200);
            let (_, log) = open(dir.path(), durability);
            let end = log.after + log.blocks.len() as u64;
            assert_eq!((log.epoch, log.renewal), (EPOCH, None));
            assert!(end >= last && end >= round * 200, "{end} after {last}, round {round}");
            assert!(log.after <= last.saturating_sub(200), "{} after {last}", log.after);
        }
    }
}

#[test]
fn after_a_kill_blocks_in_memory_cause_a_new_epoch() {
    let dir = temp();
    let last = append_and_kill(dir.path(), Durability::Memory, 200);
    let (_, log) = open(dir.path(), Durability::Memory);
    assert!(last > 0);
    assert!(log.renewal.is_some_and(|renewal| renewal.epoch == NEW_EPOCH && renewal.first > last));
}
