//! One process, usually of the cluster.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::sync::watch;

use crate::deadline::{DEADLINE, eventually, within};

/// A running program. It is killed when it is dropped, and its log is printed if the test fails.
pub struct Process {
    name: String,
    child: Child,
    /// The lines so far of standard output and standard error.
    lines: watch::Receiver<Vec<String>>,
}

/// The binary `campanile`, which cargo builds beside the tests of its package.
///
/// # Panics
/// If it is not there.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(2).expect("below the folder of the profile");
    let binary = folder.join("campanile");
    assert!(
        binary.is_file(),
        "no {}: cargo builds it for the tests of its package",
        binary.display()
    );
    binary
}

/// A `campanile` that reads nothing from the environment of the tests, logs text, and has no listener for
/// operators unless a flag names one.
pub fn command(args: &[&str]) -> Command {
    command_in(&[], args)
}

/// As [`command`], started by another program, whose arguments are followed by the path of the binary
/// and `args`.
pub fn command_in(program: &[String], args: &[&str]) -> Command {
    let mut words: Vec<_> = program.iter().map(String::as_str).collect();
    let binary = binary();
    words.push(binary.to_str().expect("UTF-8"));
    words.extend(args);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CAMPANILE_") {
            command.env_remove(name);
        }
    }
    // Its log is a pipe, where it would be JSON.
    command.env("CAMPANILE_LOG_FORMAT", "text");
    // Tests run side by side, and the default addresses are the same for all.
    for service in ["BROKER", "GATEWAY", "PUBLISHER"] {
        command.env(format!("CAMPANILE_{service}_ADMIN_LISTEN"), "off");
    }
    command
}

/// Runs a program to its end, and returns what it wrote.
///
/// # Panics
/// If it has not ended within [`DEADLINE`]. It is killed then.
pub fn output_of(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("it starts");
    let id = Pid::from_child(&child);
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(DEADLINE) else {
        // It may have ended right now.
        let _ = kill_process(id, Signal::KILL);
        panic!("not within {DEADLINE:?}: the end of {command:?}");
    };
    output.expect("it can be read")
}

impl Process {
    /// Starts a `campanile` with these arguments.
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(&[], args)
    }

    /// Starts a `campanile` by another program, which becomes it.
    pub fn start_in(program: &[String], args: &[&str]) -> Self {
        Self::run(&args.join(" "), command_in(program, args))
    }

    /// Starts a `campanile` whose standard error goes elsewhere, so that its log is not known here.
    pub fn start_logging_to(args: &[&str], log: impl Into<Stdio>) -> Self {
        let mut command = command(args);
        command.stderr(log);
        Self::run(&args.join(" "), command)
    }

    /// Starts any program. Its output is noted if it is piped.
    pub fn run(name: &str, mut command: Command) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let (sender, lines) = watch::channel(Vec::new());
        if let Some(output) = child.stdout.take() {
            note_lines(output, sender.clone());
        }
        if let Some(log) = child.stderr.take() {
            note_lines(log, sender);
        }
        let name = format!("{name} {}", child.id());
        Self { name, child, lines }
    }

    /// Waits for a line that contains `text`, and returns it.
    pub async fn said(&self, text: &str) -> String {
        let what = format!("{:?} says {text:?}", self.name);
        let mut lines = self.lines.clone();
        let said = within(&what, lines.wait_for(|lines| lines.iter().any(|l| l.contains(text))));
        match said.await {
            Ok(lines) => lines.iter().find(|line| line.contains(text)).expect("found").clone(),
            Err(_) => panic!("{:?} ended without saying {text:?}: {:?}", self.name, self.log()),
        }
    }

    /// How many lines so far contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.lines.borrow().iter().filter(|line| line.contains(text)).count()
    }

    /// The address behind `address=` in the line that contains `text`.
    pub async fn address(&self, text: &str) -> SocketAddr {
        let line = self.said(text).await;
        let address = line.split("address=").nth(1).and_then(|rest| rest.split(' ').next());
        address.and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Its lines so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Writes a line to its standard input, which must be piped.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("not 0"), signal).expect("it is our child");
    }

    /// Lets it read its settings again, and waits until it has accepted them.
    pub async fn reread(&self) {
        const SAID: &str = "the settings were read again";
        let done = self.count(SAID) + 1;
        self.signal(Signal::HUP);
        let what = format!("{:?} reads its settings again", self.name);
        eventually(&what, async || (self.count(SAID) >= done).then_some(())).await;
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("{:?} ends", self.name);
        eventually(&what, async || self.child.try_wait().expect("it is our child")).await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Kills it and waits for its end.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("a size in kB");
        kib.parse::<usize>().expect("a number") << 10
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "who looks at a failed test wants the log")]
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} ---\n{}", self.name, self.log().join("\n"));
        }
    }
}

fn note_lines(output: impl Read + Send + 'static, to: watch::Sender<Vec<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            to.send_modify(|lines| lines.push(line));
        }
    });
}
