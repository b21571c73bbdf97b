//! A small file system that a test can fill.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;
use tempfile::TempDir;

/// A file system in memory that only processes started by its [`program`](Self::program) see. It ends
/// when it is dropped.
pub struct SmallDisk {
    directory: TempDir,
    /// Holds the namespace in which it is mounted.
    holder: Child,
}

impl SmallDisk {
    /// A file system of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().to_str().expect("UTF-8");
        // A namespace of users makes everybody root in it.
        let flags = if geteuid().is_root() { "-m" } else { "-rm" };
        let script = "mount -t tmpfs -o size=$1 campanile \"$2\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args([flags, "sh", "-c", script, "sh", &bytes.to_string(), path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is installed (Debian: util-linux)");
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line);
        assert!(said.is_ok() && line == "mounted\n", "no file system could be mounted");
        Self { directory, holder }
    }

    /// The program that starts a process which sees the file system.
    pub fn program(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        let user: &[&str] =
            if geteuid().is_root() { &[] } else { &["-U", "--preserve-credentials"] };
        let words = [&["nsenter", "-t", &holder, "-m"], user].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// The path of the file system, for processes that see it.
    pub fn path(&self) -> &str {
        self.directory.path().to_str().expect("UTF-8")
    }

    /// Fills it up to the last byte.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        let mut chunk = &[0; 64 << 10][..];
        while !chunk.is_empty() {
            if filler.write_all(chunk).is_err() {
                chunk = &chunk[..chunk.len() / 2];
            }
        }
    }

    /// Fills it up to this many free bytes.
    pub fn fill_but(&self, free_bytes: u64) {
        let disk = rustix::fs::statvfs(self.seen_from_outside("")).expect("it is mounted");
        let bytes = (disk.f_bavail * disk.f_frsize).saturating_sub(free_bytes);
        let content = vec![0; usize::try_from(bytes).expect("it is small")];
        fs::write(self.filler(), content).expect("there is room");
    }

    /// Removes what filled it.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// The content of a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.seen_from_outside(name)).expect("a file")
    }

    /// The file that fills it.
    fn filler(&self) -> PathBuf {
        self.seen_from_outside("filler")
    }

    fn seen_from_outside(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path().trim_start_matches('/')).join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
