//! A thread that hangs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use campanile_harness::Process;
use tokio::time::sleep;

/// The freezer of control groups, version 1, which can stop a single thread. Only root can use it.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// Stops one of the threads of a process that have actors, for so long.
pub async fn freeze(process: &Process, time: Duration) {
    let threads = fs::read_dir(format!("/proc/{}/task", process.id())).expect("it runs");
    let threads = threads.map(|thread| thread.expect("a thread").path());
    let has_actors = |thread: &std::path::PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("actix-rt"))
    };
    let thread = threads.filter(has_actors).max().expect("a thread with actors");
    let thread = thread.file_name().and_then(|id| id.to_str()).expect("a number");
    let freezer = Path::new(FREEZER);
    let group = freezer.join("campanile-record");
    fs::create_dir_all(&group).expect("root may, where control groups have version 1");
    fs::write(group.join("tasks"), thread).expect("it takes the thread");
    fs::write(group.join("freezer.state"), "FROZEN").expect("it can be frozen");
    sleep(time).await;
    fs::write(group.join("freezer.state"), "THAWED").expect("it can be thawed");
    fs::write(freezer.join("tasks"), thread).expect("it takes the thread back");
    fs::remove_dir(group).expect("it is empty");
}
