//! What the system allows this process.

use anyhow::ensure;

use super::report::count;
use crate::files;

/// Whether so many connections can be held at a time.
///
/// # Errors
/// A sentence that says what is the limit, and what to do.
pub fn check(connections: usize) -> anyhow::Result<()> {
    let room = files::room();
    ensure!(
        connections <= room,
        "{} connections are more than the limit of open files allows this process, {}: raise it \
         (ulimit -n, also of the server), or ask for fewer with --connections",
        count(connections),
        count(room)
    );
    Ok(())
}

/// Why a socket cannot be made while this process holds so many.
pub fn explain(connections: usize) -> String {
    format!(
        "cannot open another socket beside {connections}; the limit of open files of this process \
         leaves room for {} (ulimit -n)",
        files::room()
    )
}
