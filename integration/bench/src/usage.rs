//! The CPU and memory of processes, as the kernel counts them.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The CPU time of all threads of these processes so far, from `/proc/PID/task/TID/schedstat`, which
/// counts nanoseconds.
///
/// # Errors
/// If one of them has ended, or is not on this host.
pub fn cpu(ids: &[u32]) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for id in ids {
        let tasks = format!("/proc/{id}/task");
        for task in fs::read_dir(&tasks).with_context(|| gone(*id))? {
            // A thread may have ended since.
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
            sum += Duration::from_nanos(nanos.unwrap_or(0));
        }
    }
    Ok(sum)
}

/// The resident memory of these processes in bytes (RSS, which counts pages that are shared with others
/// in full), from `/proc/PID/smaps_rollup`, which is exact. What the kernel holds for their sockets is
/// not in it.
///
/// # Errors
/// As [`cpu`].
pub fn resident_bytes(ids: &[u32]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for id in ids {
        let text =
            fs::read_to_string(format!("/proc/{id}/smaps_rollup")).with_context(|| gone(*id))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no Rss")?;
        sum += kib.parse::<u64>()? << 10;
    }
    Ok(sum)
}

fn gone(id: u32) -> String {
    format!("no process {id} on this host, or it is not yours")
}
