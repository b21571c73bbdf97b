//! A small file system that a test can fill, or let hang.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::geteuid;
use tempfile::TempDir;

use super::output_of;

/// A file system that only processes started by its [`program`](Self::program) see. It ends when it is
/// dropped.
pub struct SmallDisk {
    directory: TempDir,
    /// Holds the namespace in which it is mounted.
    holder: Child,
    hangs: AtomicBool,
}

impl SmallDisk {
    /// A file system of this many bytes, in memory.
    pub fn new(bytes: usize) -> Self {
        Self::mounted("mount -t tmpfs -o size=$1 campanile \"$2\"", bytes)
    }

    /// A file system of this many bytes, in a file, which can [hang](Self::hang). Only root can have one.
    pub fn that_hangs(bytes: usize) -> Self {
        let make = "truncate -s $1 \"$2/file\" && mkfs.ext4 -q \"$2/file\"";
        Self::mounted(&format!("{make} && mount -o loop \"$2/file\" \"$2\""), bytes)
    }

    /// The file system that a script mounts. It gets the size and the path.
    fn mounted(mount: &str, bytes: usize) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().to_str().expect("UTF-8");
        // A namespace of users makes everybody root in it.
        let flags = if geteuid().is_root() { "-m" } else { "-rm" };
        let script = format!("{mount} && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args([flags, "sh", "-c", &script, "sh", &bytes.to_string(), path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is installed (Debian: util-linux)");
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line);
        assert!(said.is_ok() && line == "mounted\n", "no file system could be mounted");
        Self { directory, holder, hangs: AtomicBool::new(false) }
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

    /// Lets every write hang, or go on.
    pub fn hang(&self, hangs: bool) {
        if self.hangs.swap(hangs, Ordering::Relaxed) != hangs {
            let program = self.program();
            let mut command = Command::new(&program[0]);
            command.args(&program[1..]).arg("fsfreeze");
            command.arg(if hangs { "--freeze" } else { "--unfreeze" }).arg(self.path());
            let output = output_of(&mut command);
            assert!(output.status.success(), "fsfreeze is in Debian's util-linux: {output:?}");
        }
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
        // It cannot be unmounted while it hangs.
        self.hang(false);
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
