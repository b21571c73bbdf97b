//! The log: lines on standard error, written by a thread of its own.
//!
//! A line that is logged goes into a bounded queue and never blocks, whatever standard error is: a
//! full disk, a pipe that nobody reads, a stopped terminal. What does not fit, or cannot be written,
//! is dropped; how much that was is logged as soon as a line can be written again.
//!
//! `tracing-appender` does not do this: it counts lines and not bytes, a line that could not be
//! written is not counted, and its guard waits for more than a second at the end.

mod format;
mod queue;
mod sink;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Json, JsonFields};
use tracing_subscriber::fmt::{Formatter, MakeWriter};
use tracing_subscriber::reload::Handle;

pub use format::LogFormat;

use format::Form;
use queue::{Kind, LogQueue};
use sink::Sink;

/// How long the end of the process waits for the lines that were logged before.
const FLUSH_LIMIT: Duration = Duration::from_millis(200);

/// How long the last line waits for a writer that is in its way.
const LAST_LINE_LIMIT: Duration = Duration::from_millis(100);

/// How often to try again to report what was dropped, if nothing else is logged.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// The target of the lines of the access log.
const ACCESS_LOG: &str = "campanile::access";

/// The log of this process, for [`last_words`] from any thread.
static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// The log of this process, which is flushed when this is dropped, for 200 ms at most.
#[derive(Debug)]
pub struct Logging {
    log: Arc<Log>,
    level: Level,
}

impl Logging {
    /// Changes what is logged, while it is.
    pub fn level(&self) -> Level {
        self.level.clone()
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.log.flush(FLUSH_LIMIT);
    }
}

/// Decides what is logged.
#[derive(Debug, Clone)]
pub enum Level {
    Text(Handle<EnvFilter, Formatter<DefaultFields, Format, Lines>>),
    Json(Handle<EnvFilter, Formatter<JsonFields, Format<Json>, Lines>>),
}

impl Level {
    /// Logs what passes this filter from now on.
    pub fn change(&self, filter: EnvFilter) {
        // It fails only if the log is gone.
        let _ = match self {
            Self::Text(handle) => handle.reload(filter),
            Self::Json(handle) => handle.reload(filter),
        };
    }
}

/// Starts the log of this process, to which `tracing` and panics write. To be called once.
///
/// # Errors
/// If no thread can be started.
pub fn start(filter: EnvFilter, format: LogFormat) -> io::Result<Logging> {
    let is_terminal = io::stderr().is_terminal();
    let log = Log::start(stderr()?, format.on(is_terminal))?;
    let _ = LOG.set(log.clone());
    panic::set_hook(Box::new(note_panic));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        // It would be written to standard error directly.
        .log_internal_errors(false)
        .with_writer(Lines(log.clone()));
    let level = match log.form {
        Form::Text => {
            let subscriber = subscriber.with_filter_reloading();
            let level = Level::Text(subscriber.reload_handle());
            subscriber.init();
            level
        }
        Form::Json => {
            let subscriber = subscriber.json().flatten_event(true);
            let subscriber = subscriber.with_current_span(false).with_span_list(false);
            let subscriber = subscriber.with_filter_reloading();
            let level = Level::Json(subscriber.reload_handle());
            subscriber.init();
            level
        }
    };
    Ok(Logging { log, level })
}

/// How many lines of this process' log were dropped.
pub fn dropped_lines() -> u64 {
    LOG.get().map_or(0, |log| log.queue().ever_dropped())
}

/// Logs why this process ends, right before it does: flushes the log for at most 200 ms, then writes
/// the line directly, as far as there is room for it now. From any thread, and without a panic.
pub fn last_words(line: &str) {
    if let Some(log) = LOG.get() {
        log.last_line(log.form.error_line(line).as_bytes());
    }
}

/// As [`last_words`], but as text it has neither time nor level. Before the log is started, it is always
/// text: then the command line or a setting is wrong.
pub fn last_line(line: &str) {
    let text = format!("{}\n", line.trim_end());
    match LOG.get().map(|log| (log, log.form)) {
        Some((log, Form::Text)) => log.last_line(text.as_bytes()),
        Some((log, Form::Json)) => {
            let message = line.strip_prefix("error: ").unwrap_or(line);
            log.last_line(Form::Json.error_line(message).as_bytes());
        }
        None => {
            if let Ok(sink) = stderr() {
                sink.write_now(text.as_bytes(), Instant::now());
            }
        }
    }
}

fn stderr() -> io::Result<Sink> {
    Sink::new(io::stderr().as_fd()).or_else(|_| sink::nowhere())
}

/// Logs a panic. The process may end right after it, so this waits until the line is written, unless
/// the log is stalled already.
fn note_panic(panic: &PanicHookInfo<'_>) {
    let Some(log) = LOG.get() else { return };
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("a value that is not a string");
    let mut line = format!("thread {name:?} panicked at {place}: {message}\n");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        let _ = writeln!(line, "{backtrace}");
    }
    log.push(Kind::Other, log.form.error_line(&line).as_bytes());
    if !log.is_stalled.load(Ordering::Relaxed) {
        log.flush(FLUSH_LIMIT);
    }
}

/// The queue, the thread that empties it, and where that writes to.
#[derive(Debug)]
struct Log {
    queue: Mutex<LogQueue>,
    arrived: Condvar,
    settled: Condvar,
    sink: Sink,
    form: Form,
    /// Whether the thread waits for room in the sink.
    is_stalled: AtomicBool,
}

impl Log {
    fn start(sink: Sink, form: Form) -> io::Result<Arc<Self>> {
        let log = Arc::new(Self {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            settled: Condvar::new(),
            sink,
            form,
            is_stalled: AtomicBool::new(false),
        });
        let writing = log.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_lines())?;
        Ok(log)
    }

    fn queue(&self) -> MutexGuard<'_, LogQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, kind: Kind, line: &[u8]) {
        self.queue().push(kind, line);
        self.arrived.notify_one();
    }

    /// Writes each line as it comes, for as long as the process lives.
    fn write_lines(&self) {
        loop {
            let line = self.next();
            let is_reported = self.report();
            if let Some(line) = line {
                let is_written = is_reported && self.write(&line);
                self.queue().settle(is_written);
                self.settled.notify_all();
            }
        }
    }

    /// The next line. `None` if there is none for a while, and something to report.
    fn next(&self) -> Option<Box<[u8]>> {
        let mut queue = self.queue();
        loop {
            if let Some(line) = queue.pop() {
                return Some(line);
            }
            if queue.dropped() == 0 {
                queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.arrived.wait_timeout(queue, REPORT_AGAIN);
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = again;
            if timeout.timed_out() {
                return queue.pop();
            }
        }
    }

    /// Says how many lines were dropped, if any were. `false` if that cannot be written either.
    fn report(&self) -> bool {
        let dropped = self.queue().dropped();
        if dropped == 0 {
            return true;
        }
        let noun = if dropped == 1 { "log line was" } else { "log lines were" };
        let line = self.form.error_line(&format!("{dropped} {noun} dropped"));
        let is_written = self.write(line.as_bytes());
        if is_written {
            self.queue().reported(dropped);
        }
        is_written
    }

    fn write(&self, line: &[u8]) -> bool {
        let stalled = |stalled| self.is_stalled.store(stalled, Ordering::Relaxed);
        self.sink.write_line(line, stalled).is_ok()
    }

    /// Waits until what was logged before is written or dropped, for `limit` at most.
    fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut queue = self.queue();
        let place = queue.end();
        while !queue.is_settled(place) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.settled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn last_line(&self, line: &[u8]) {
        self.flush(FLUSH_LIMIT);
        self.sink.write_now(line, Instant::now() + LAST_LINE_LIMIT);
    }
}

/// Puts each event of `tracing` into the queue.
#[derive(Debug)]
pub struct Lines(Arc<Log>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(&self.0, Kind::Other)
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> LineWriter<'a> {
        let is_access = of.target() == ACCESS_LOG;
        LineWriter(&self.0, if is_access { Kind::Access } else { Kind::Other })
    }
}

pub struct LineWriter<'a>(&'a Log, Kind);

impl io::Write for LineWriter<'_> {
    /// Takes a whole line, as `tracing` hands over a whole event.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shortened = match self.0.form {
            Form::Text => None,
            Form::Json => format::shortened(line),
        };
        self.0.push(self.1, shortened.as_deref().map_or(line, str::as_bytes));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, PipeReader};

    use super::*;

    fn log() -> (BufReader<PipeReader>, Arc<Log>) {
        let (reader, writer) = io::pipe().unwrap();
        let log = Log::start(Sink::new(writer.as_fd()).unwrap(), Form::Text).unwrap();
        (BufReader::new(reader), log)
    }

    #[test]
    fn a_flush_waits_for_every_line() {
        let (reader, log) = log();
        for number in 0..500 {
            log.push(Kind::Other, format!("line {number}\n").as_bytes());
        }
        log.flush(Duration::from_secs(30));
        log.last_line(b"the last\n");
        let lines: Vec<_> = reader.lines().take(501).map(Result::unwrap).collect();
        assert_eq!(lines[499..], ["line 499", "the last"]);
    }

    #[test]
    fn what_nobody_reads_blocks_nobody_and_is_counted() {
        const LINES: usize = 100_000;
        let (reader, log) = log();
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..LINES {
            log.push(Kind::Other, line.as_bytes());
        }
        let begun = Instant::now();
        log.last_line(b"the last\n");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

        // Somebody reads at last.
        let mut written = 0;
        let mut dropped = 0;
        for line in reader.lines().map(Result::unwrap) {
            // One line that was dropped is reported in the singular.
            match line.split_once(" log line") {
                Some((number, _)) => {
                    dropped += number.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
                }
                None => written += usize::from(line.len() == 99),
            }
            if written + dropped == LINES {
                break;
            }
        }
        assert!(dropped > LINES / 2, "{dropped}");
    }

    #[test]
    fn a_flood_of_the_access_log_drops_no_other_line() {
        let (_reader, log) = log();
        let subscriber = tracing_subscriber::fmt().with_writer(Lines(log.clone())).finish();
        tracing::subscriber::with_default(subscriber, || {
            while !log.is_stalled.load(Ordering::Relaxed) || log.queue().dropped() < 100 {
                tracing::info!(target: "campanile::access", status = 401, "pushed");
            }
            let before = log.queue().end();
            (0..100).for_each(|_| tracing::error!("somebody has to see this"));
            assert_eq!(log.queue().end(), before + 100);
        });
    }

    #[test]
    fn a_reader_that_is_gone_ends_nothing() {
        let (reader, log) = log();
        drop(reader);
        log.push(Kind::Other, b"line\n");
        log.flush(Duration::from_secs(30));
        assert_eq!(log.queue().dropped(), 1);
        log.last_line(b"the last\n");
    }
}
