//! How many connections this process may hold.

use anyhow::ensure;

use crate::report::count;

/// Checks that there is room for this many connections.
///
/// # Errors
/// A sentence that says what the limit is, and what to do about it.
pub fn check(connections: usize, room: usize) -> anyhow::Result<()> {
    ensure!(
        connections <= room,
        "{} connections are more than the limit of open files allows this process, {}: raise it \
         (ulimit -n, also of the server), or ask for fewer with --connections",
        count(connections),
        count(room)
    );
    Ok(())
}

/// Why a socket cannot be opened while this process holds `connections` others.
pub fn explain(connections: usize, room: usize) -> String {
    format!(
        "cannot open another socket beside {connections}; the limit of open files of this process \
         leaves room for {room} (ulimit -n)"
    )
}
