//! A directory that is on a disk: what is written to memory would be measured as if it were safe.

use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::fs::statfs;
use tempfile::TempDir;

/// File systems that are in memory, by the numbers that `statfs(2)` has for them.
const IN_MEMORY: [(u32, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

/// An empty directory, which is deleted when it is dropped.
///
/// # Errors
/// As [`check`].
pub fn directory() -> anyhow::Result<TempDir> {
    check()?;
    Ok(TempDir::new()?)
}

/// Whether temporary files are on a disk.
///
/// # Errors
/// A sentence that names the directory and what to do, or what the system answers.
pub fn check() -> anyhow::Result<()> {
    is_on_disk(&std::env::temp_dir())
}

fn is_on_disk(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let kind = statfs(path).with_context(|| format!("the directory {shown}"))?.f_type;
    let found = IN_MEMORY.iter().find(|(number, _)| kind as u32 == *number);
    ensure!(
        found.is_none(),
        "{shown} is in memory ({}), and `publish` and `return` measure with a data directory on a \
         disk: set TMPDIR to a directory on one, or choose other scenarios with --only",
        found.map_or("", |(_, name)| name)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_is_refused_by_its_path() {
        // Linux has one there for shared memory.
        let refused = is_on_disk(Path::new("/dev/shm")).expect_err("in memory").to_string();
        assert!(refused.contains("/dev/shm is in memory (tmpfs)"), "{refused}");
        assert!(refused.contains("TMPDIR"), "{refused}");
        assert!(is_on_disk(Path::new("/no/such/directory")).is_err());
        assert!(is_on_disk(Path::new("/proc")).is_ok(), "another kind");
    }
}
