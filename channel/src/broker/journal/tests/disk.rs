//! A disk that repeats recorded steps, and is interrupted anywhere.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use super::super::files::trace::Op;
use super::*;

/// What of a disk is there after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Only the process has ended: everything.
    OfProcess,
    /// Only what there was an fsync for.
    OfHost,
    /// All names, but only the content that there was an fsync for.
    LosesContent,
    /// All names and lengths, with zeros where something was added without an fsync.
    ZeroesContent,
    /// All content, but only the names that there was an fsync for.
    LosesNames,
    /// All names, and of the content without an fsync only what was written over something.
    LosesAdded,
}

impl Crash {
    pub const OF_HOSTS: [Self; 5] =
        [Self::OfHost, Self::LosesContent, Self::ZeroesContent, Self::LosesNames, Self::LosesAdded];
}

#[derive(Debug, Clone, Default)]
pub struct Disk {
    names: BTreeMap<String, u64>,
    synced_names: BTreeMap<String, u64>,
    files: BTreeMap<u64, Vec<u8>>,
    synced: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    /// A disk with what is in a directory, all of it durable.
    pub fn of(dir: &Path) -> Self {
        let mut disk = Self::default();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let id = entry.metadata().unwrap().ino();
            disk.names.insert(files::name(&entry.path()), id);
            disk.files.insert(id, fs::read(entry.path()).unwrap());
        }
        (disk.synced_names, disk.synced) = (disk.names.clone(), disk.files.clone());
        disk
    }

    pub fn apply(&mut self, op: &Op) {
        match op.clone() {
            Op::Create(name, id) => {
                // Inode numbers are reused, and truncating a file does not change its number.
                if self.names.get(&name) != Some(&id) {
                    self.synced.remove(&id);
                }
                self.names.insert(name, id);
                self.files.insert(id, Vec::new());
            }
            Op::Write { id, at, bytes } => {
                let at = usize::try_from(at).unwrap();
                let file = self.files.get_mut(&id).unwrap();
                file.resize(file.len().max(at + bytes.len()), 0);
                file[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            Op::SetLen(id, len) => {
                self.files.get_mut(&id).unwrap().resize(usize::try_from(len).unwrap(), 0);
            }
            Op::Sync(id) => {
                self.synced.insert(id, self.files[&id].clone());
            }
            Op::Rename(from, to) => {
                let id = self.names.remove(&from).unwrap();
                self.names.insert(to, id);
            }
            Op::Remove(name) => {
                self.names.remove(&name);
            }
            Op::SyncNames => self.synced_names = self.names.clone(),
        }
    }

    /// The disk in each moment of a step, from its beginning to just before its end.
    pub fn during(&self, op: &Op) -> Vec<Self> {
        let Op::Write { id, at, bytes } = op else { return vec![self.clone()] };
        let cut = |len: usize| {
            let mut disk = self.clone();
            disk.apply(&Op::Write { id: *id, at: *at, bytes: bytes[..len].to_vec() });
            disk
        };
        (0..bytes.len()).map(cut).collect()
    }

    /// What is there after a crash.
    pub fn after(&self, crash: Crash) -> Image {
        let names = match crash {
            Crash::OfHost | Crash::LosesNames => &self.synced_names,
            _ => &self.names,
        };
        let content = |id: &u64| {
            let written = self.files[id].clone();
            let synced = self.synced.get(id).cloned().unwrap_or_default();
            match crash {
                Crash::OfProcess | Crash::LosesNames => written,
                Crash::OfHost | Crash::LosesContent => synced,
                Crash::LosesAdded if written.len() == synced.len() => written,
                Crash::LosesAdded => synced,
                Crash::ZeroesContent => {
                    // What is written over keeps its old content; only new bytes can be zeros.
                    let mut content = synced;
                    content.resize(written.len(), 0);
                    content
                }
            }
        };
        Image(names.iter().map(|(name, id)| (name.clone(), content(id))).collect())
    }
}
