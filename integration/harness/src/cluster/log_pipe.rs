//! A pipe as the standard error of a process, read by the test.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::deadline::within;

/// Both ends of the pipe.
pub struct LogPipe {
    reader: BufReader<PipeReader>,
    writer: PipeWriter,
}

impl LogPipe {
    /// A pipe that is empty.
    pub fn new() -> Self {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        Self { reader: BufReader::new(reader.into()), writer: writer.into() }
    }

    /// Where the process writes to.
    pub fn stdio(&self) -> Stdio {
        self.writer.try_clone().expect("a descriptor").into()
    }

    /// Reads up to a line that contains `text`, and returns the line.
    pub async fn read_to(self, text: &'static str) -> (Self, String) {
        let Self { mut reader, writer } = self;
        let reading = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            while !line.contains(text) {
                line.clear();
                let read = reader.read_line(&mut line).expect("lines of UTF-8");
                assert_ne!(read, 0, "the log ended without {text:?}");
            }
            (reader, line)
        });
        let (reader, line) = within(text, reading).await.expect("no panic");
        (Self { reader, writer }, line)
    }

    /// Reads up to a line that contains `text`, and returns the address in it.
    pub async fn address(self, text: &'static str) -> (Self, SocketAddr) {
        let (pipe, line) = self.read_to(text).await;
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        (pipe, address.and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("none in {line:?}")))
    }

    /// Fills the pipe up to the last byte. This does not block, and does not set the flag for that on the
    /// descriptor of the process.
    pub fn fill(&self) {
        let path = format!("/proc/self/fd/{}", self.writer.as_raw_fd());
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let pipe = OpenOptions::new().write(true).custom_flags(nonblocking).open(path);
        let mut pipe = pipe.expect("the pipe has a reader");
        for piece in [&[b'.'; 4_096][..], b"."] {
            while pipe.write(piece).is_ok() {}
        }
        let error = pipe.write(b".").expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    /// Reads until every process has closed its end.
    pub async fn read_to_end(self) -> String {
        let Self { mut reader, writer } = self;
        drop(writer);
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("UTF-8");
            text
        });
        within("the end of the log", reading).await.expect("no panic")
    }
}
