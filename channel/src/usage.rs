//! What this process takes of its machine.

use campanile_messages::inquiry::UsageSummary;
use procfs::process::Process;

/// The CPU time and the memory of this process; `None` if the system does not say. It reads one small file
/// of `/proc`.
pub fn usage() -> Option<UsageSummary> {
    let stat = Process::myself().ok()?.stat().ok()?;
    let ticks = stat.utime + stat.stime;
    Some(UsageSummary {
        cpu_millis: ticks.saturating_mul(1_000) / procfs::ticks_per_second().max(1),
        memory_bytes: stat.rss.saturating_mul(procfs::page_size()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_memory() {
        assert!(usage().expect("there is /proc").memory_bytes > 0);
    }
}
