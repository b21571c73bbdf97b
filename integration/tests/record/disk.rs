//! A file system whose writes can be made to hang.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

/// A file system in a file, which only processes started by its [`program`](Self::program) see. It ends
/// when it is dropped. Only root can have one.
pub struct HangingDisk {
    directory: TempDir,
    /// Holds the namespace in which it is mounted.
    holder: Child,
}

impl HangingDisk {
    /// A file system of 128 MiB.
    pub fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let script = "truncate -s 128M disk && mkfs.ext4 -q disk && mkdir data \
                      && mount -o loop disk data && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is installed (Debian: util-linux)");
        let mut line = String::new();
        let said = BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line);
        assert!(said.is_ok() && line == "mounted\n", "no file system could be mounted: be root");
        Self { directory, holder }
    }

    /// The program that starts a process which sees the file system.
    pub fn program(&self) -> Vec<String> {
        ["nsenter", "-t", &self.holder.id().to_string(), "-m"].map(str::to_owned).into()
    }

    /// The path of the file system, for processes that see it.
    pub fn path(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    /// Lets every write hang, or go on.
    pub fn hang(&self, hangs: bool) {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m", "fsfreeze"]);
        command.arg(if hangs { "--freeze" } else { "--unfreeze" }).arg(self.path());
        // Freezing waits for the writes that are under way.
        thread::spawn(move || command.status());
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        let _ = Command::new("nsenter")
            .args(["-t", &self.holder.id().to_string(), "-m", "fsfreeze", "--unfreeze"])
            .arg(self.path())
            .stderr(Stdio::null())
            .status();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
