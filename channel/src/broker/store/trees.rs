//! Checks the engine's trees before the engine opens them.
//!
//! The manifest of a tree has a checksum that the engine writes and never reads. A flipped byte in it can
//! hide a table, reserve any amount of memory, or cause a panic. And while the engine opens its trees it
//! holds a lock that its own destructor needs, so that a panic ends the process. So the checksum is
//! compared here, and each tree is opened once on its own.
//!
//! ```text
//! current = number (8 bytes) xxh3 of the manifest (16 bytes) 0        (little-endian)
//! v`number` = the manifest
//! ```

use std::fs;
use std::io;
use std::path::Path;

use lsm_tree::{Config, SequenceNumberCounter};
use xxhash_rust::xxh3::xxh3_128;

use super::StoreError;
use super::panics::contained;

/// The file that names the manifest. A tree without it was never finished, and the engine deletes it.
const CURRENT: &str = "current";

/// Files that always exist. If one is missing, the engine does not say which.
const ALWAYS: [&str; 3] = ["version", "lock", "keyspaces/0/current"];

/// Checks all trees of the engine. `dir` is the data directory, for errors.
///
/// # Errors
/// See [`StoreError`].
pub fn check(dir: &Path, store: &Path) -> Result<(), StoreError> {
    let io = |error| StoreError::io(dir, error);
    for file in ALWAYS.map(|file| store.join(file)) {
        if !file.try_exists().map_err(io)? {
            return Err(missing(dir, &file));
        }
    }
    for tree in fs::read_dir(store.join("keyspaces")).map_err(io)? {
        let tree = tree.map_err(io)?.path();
        if !tree.join(CURRENT).try_exists().map_err(io)? {
            continue;
        }
        if !manifest_is_whole(dir, &tree)? {
            let what = format!("the manifest in {} fails its checksum", tree.display());
            return Err(StoreError::damaged(dir, what));
        }
        let counter = SequenceNumberCounter::default;
        contained(|| Config::new(tree, counter(), counter()).open())
            .map_err(|panic| StoreError::damaged(dir, panic))?
            .map_err(|error| StoreError::opening(dir, error.into()))?;
    }
    Ok(())
}

fn manifest_is_whole(dir: &Path, tree: &Path) -> Result<bool, StoreError> {
    let current = read(dir, &tree.join(CURRENT))?;
    let Some((number, rest)) = current.split_first_chunk() else {
        return Ok(false);
    };
    let Some((checksum, [0])) = rest.split_first_chunk() else {
        return Ok(false);
    };
    let manifest = read(dir, &tree.join(format!("v{}", u64::from_le_bytes(*number))))?;
    Ok(xxh3_128(&manifest) == u128::from_le_bytes(*checksum))
}

fn read(dir: &Path, file: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(dir, file),
        _ => StoreError::opening(dir, error.into()),
    })
}

fn missing(dir: &Path, file: &Path) -> StoreError {
    StoreError::damaged(dir, format!("its file {} is missing", file.display()))
}
