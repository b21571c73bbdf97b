//! A process that is measured.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

/// How long a part may take to log what it logs at its start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A process that is measured. It ends when this is dropped, and when the benchmark ends.
pub struct Process {
    name: String,
    child: Child,
    said: Vec<String>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a part with these arguments; see [`PartArgs`](crate::PartArgs).
    pub fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let name = arguments.join(" ");
        let mut command = Command::new(std::env::current_exe()?);
        let id = std::process::id().to_string();
        command.args(["bench-part", "--ends-with", &id]).args(arguments);
        // Variables that are set for another cluster on this host are not meant for this one.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("CAMPANILE_") {
                command.env_remove(variable);
            }
        }
        command.env("CAMPANILE_LOG_FORMAT", "text");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let lines = lines(child.stderr.take().expect("piped"));
        Ok(Self { name, child, said: Vec::new(), lines })
    }

    /// The address behind `address=` in the line that contains `text`.
    pub fn address(&mut self, text: &str) -> anyhow::Result<SocketAddr> {
        let line = self.said(text)?;
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        address.and_then(|a| a.parse().ok()).ok_or_else(|| anyhow!("no address in {line:?}"))
    }

    /// Waits for a line that contains `text`.
    pub fn said(&mut self, text: &str) -> anyhow::Result<String> {
        let until = Instant::now() + START_LIMIT;
        loop {
            if let Some(line) = self.said.iter().find(|line| line.contains(text)) {
                return Ok(line.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.said.push(line),
                Err(error) => {
                    let (name, said) = (&self.name, self.said.join("\n"));
                    let what = match error {
                        RecvTimeoutError::Timeout => "does not say",
                        RecvTimeoutError::Disconnected => "ended without saying",
                    };
                    bail!("{name} {what} {text:?}; it said:\n{said}");
                }
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Reading goes on even if nobody listens, because a full pipe would stop the writer.
            let _ = sender.send(line);
        }
    });
    receiver
}
