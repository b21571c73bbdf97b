//! A file system that can be filled up without harm.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::geteuid;
use tempfile::TempDir;

/// A file system in memory, which only those see who are started in it. Gone when it is dropped.
pub struct SmallDisk {
    directory: TempDir,
    /// Holds the namespace in which it is mounted.
    holder: Child,
}

impl SmallDisk {
    /// One of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().to_str().expect("UTF-8");
        // Who is not root is it in a namespace of users.
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

    /// The program by which a process is started that sees the file system.
    pub fn program(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        let user: &[&str] =
            if geteuid().is_root() { &[] } else { &["-U", "--preserve-credentials"] };
        let words = [&["nsenter", "-t", &holder, "-m"], user].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// Where those who see the file system find it.
    pub fn path(&self) -> &str {
        self.directory.path().to_str().expect("UTF-8")
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file");
        let mut chunk = &[0; 64 << 10][..];
        while !chunk.is_empty() {
            if filler.write_all(chunk).is_err() {
                chunk = &chunk[..chunk.len() / 2];
            }
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// What is in a file of it.
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
