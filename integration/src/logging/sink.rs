//! Standard error, written to without ever waiting for a reader.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// A pipe that is writable takes as much as this without waiting (`PIPE_BUF`).
const PIECE_BYTES: usize = 4_096;

/// How often a writer looks whether another one is done.
const LOOK: Duration = Duration::from_millis(1);

/// Where lines go.
#[derive(Debug)]
pub struct Sink {
    file: OwnedFd,
    how: How,
    /// Whether what was written last is a line without its end. Held while bytes are handed over.
    is_midline: Mutex<bool>,
}

/// How to write without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// The descriptor does not block. It was opened anew: the flag belongs to the open file, which
    /// a process shares with its parent, whose terminal it would change.
    NonBlocking,
    /// Each `send` says that it must not wait.
    Socket,
    /// It is asked first. A regular file always says yes, and waits for its disk.
    Asking,
}

impl Sink {
    /// Writes to where `file` does.
    ///
    /// # Errors
    /// What the system answers.
    pub fn new(file: BorrowedFd<'_>) -> io::Result<Self> {
        let (how, opened) = match FileType::from_raw_mode(fstat(file)?.st_mode) {
            FileType::Socket => (How::Socket, None),
            // A regular file that was opened anew would be written from its beginning.
            FileType::Fifo | FileType::CharacterDevice => match open_anew(file) {
                Ok(opened) => (How::NonBlocking, Some(opened)),
                // It belongs to another user, or a pipe has no reader.
                Err(_) => (How::Asking, None),
            },
            _ => (How::Asking, None),
        };
        let file = opened.map_or_else(|| file.try_clone_to_owned(), Ok)?;
        Ok(Self { file, how, is_midline: Mutex::new(false) })
    }

    /// Writes a line that ends with a line feed, and waits as long as there is no room for it. Calls
    /// `stalled` with whether it waits.
    ///
    /// # Errors
    /// What the system answers; a part of the line may have been written.
    pub fn write_line(&self, line: &[u8], mut stalled: impl FnMut(bool)) -> io::Result<()> {
        let mut written = 0;
        while written < line.len() {
            let offered = self.offer(&mut self.hold(), &line[written..], written == 0);
            match offered {
                Ok(bytes) => {
                    stalled(false);
                    written += bytes;
                }
                Err(Errno::AGAIN) => {
                    stalled(true);
                    self.wait(Duration::from_secs(1));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes as much of a line as there is room for now. Another writer that is stuck, as it may be
    /// on a disk, is waited for until `deadline`; then nothing is written.
    pub fn write_now(&self, line: &[u8], deadline: Instant) {
        let mut is_midline = loop {
            match self.is_midline.try_lock() {
                Ok(held) => break held,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return,
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            }
        };
        let mut written = 0;
        while written < line.len() {
            match self.offer(&mut is_midline, &line[written..], written == 0) {
                Ok(bytes) => written += bytes,
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn hold(&self) -> MutexGuard<'_, bool> {
        self.is_midline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a piece without waiting: how much of `bytes` was taken, at least one.
    fn offer(&self, is_midline: &mut bool, bytes: &[u8], starts: bool) -> Result<usize, Errno> {
        if starts && *is_midline {
            self.write(b"\n")?;
            *is_midline = false;
        }
        let bytes = &bytes[..bytes.len().min(PIECE_BYTES)];
        let written = self.write(bytes)?;
        *is_midline = bytes[written - 1] != b'\n';
        Ok(written)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let written = match self.how {
            How::NonBlocking => rustix::io::write(&self.file, bytes)?,
            How::Socket => {
                rustix::net::send(&self.file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?
            }
            How::Asking if !self.is_writable(Duration::ZERO) => return Err(Errno::AGAIN),
            How::Asking => rustix::io::write(&self.file, bytes)?,
        };
        // Nothing is taken and nothing is wrong: as good as a device that is full.
        if written == 0 { Err(Errno::NOSPC) } else { Ok(written) }
    }

    fn wait(&self, limit: Duration) {
        if !self.is_writable(limit) {
            return;
        }
        // A terminal may say yes and still have no room.
        std::thread::sleep(LOOK);
    }

    /// Whether it takes bytes, or an attempt would tell what is wrong with it.
    fn is_writable(&self, limit: Duration) -> bool {
        let mut files = [PollFd::new(&self.file, PollFlags::OUT)];
        let limit = Timespec::try_from(limit).ok();
        poll(&mut files, limit.as_ref()).is_ok() && !files[0].revents().is_empty()
    }
}

/// The same pipe or device, as a file of its own that does not block.
fn open_anew(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
}

/// The null device: for a process whose standard error is nowhere.
pub fn nowhere() -> io::Result<Sink> {
    Sink::new(File::options().write(true).open("/dev/null")?.as_fd())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    /// Fills a sink up to the last byte.
    fn fill(sink: &Sink) {
        while sink.offer(&mut sink.hold(), &[b'x'; PIECE_BYTES], false).is_ok() {}
        while sink.offer(&mut sink.hold(), b"\n", false).is_ok() {}
    }

    #[test]
    fn a_full_pipe_takes_what_it_can_and_is_not_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = Sink::new(writer.as_fd()).unwrap();
        assert_eq!(sink.how, How::NonBlocking);
        fill(&sink);
        sink.write_now(b"lost\n", soon());
        drop((writer, sink));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.len() >= PIECE_BYTES && !text.contains("lost"));
    }

    #[test]
    fn the_shared_description_keeps_its_flags() {
        let (_reader, writer) = io::pipe().unwrap();
        let _sink = Sink::new(writer.as_fd()).unwrap();
        assert!(!rustix::fs::fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_full_pipe_that_cannot_be_opened_anew_is_not_waited_for() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut sink = Sink::new(writer.as_fd()).unwrap();
        sink.file = writer.into();
        sink.how = How::Asking;
        fill(&sink);
        sink.write_now(b"lost\n", soon());
    }

    #[test]
    fn a_full_socket_is_not_waited_for() {
        let (_reader, writer) = UnixStream::pair().unwrap();
        let sink = Sink::new(writer.as_fd()).unwrap();
        assert_eq!(sink.how, How::Socket);
        fill(&sink);
        sink.write_now(b"lost\n", soon());
    }

    #[test]
    fn a_line_after_a_broken_one_begins_on_its_own() {
        let (mut reader, writer) = io::pipe().unwrap();
        let sink = Sink::new(writer.as_fd()).unwrap();
        sink.offer(&mut sink.hold(), b"broken", true).unwrap();
        sink.write_line(b"whole\n", |_| {}).unwrap();
        sink.write_now(b"last\n", soon());
        drop((writer, sink));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "broken\nwhole\nlast\n");
    }

    #[test]
    fn a_device_without_room_and_a_pipe_without_reader_are_errors() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let sink = Sink::new(full.as_fd()).unwrap();
        let error = sink.write_line(b"line\n", |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let sink = Sink::new(writer.as_fd()).unwrap();
        let error = sink.write_line(b"line\n", |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_writer_that_is_stuck_is_not_waited_for() {
        let sink = nowhere().unwrap();
        let _stuck = sink.hold();
        sink.write_now(b"lost\n", soon());
    }

    #[test]
    fn a_regular_file_is_continued_where_it_is() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"earlier\n").unwrap();
        let sink = Sink::new(file.as_fd()).unwrap();
        sink.write_line(b"later\n", |_| {}).unwrap();
        let mut text = String::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "earlier\nlater\n");
    }
}
