//! A file system that can be filled up.

use std::process::{Command, Stdio};

use campanile_harness::SmallDisk;

#[test]
fn a_small_disk_is_full_when_it_was_filled_and_only_its_own_see_it() {
    let disk = SmallDisk::new(1 << 20);
    let write = |name: &str| {
        let program = disk.program();
        let script = format!("printf something > {}/{name}", disk.path());
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(["sh", "-c", &script]);
        command.stderr(Stdio::null()).status().expect("it runs").success()
    };
    assert!(write("before"));
    disk.fill();
    assert!(!write("meanwhile"));
    disk.free();
    assert!(write("after"));
    assert_eq!(std::fs::read_dir(disk.path()).expect("a directory").count(), 0);
}
