//! The watchdog of the process.

use std::io;
use std::process::exit;

use campanile_channel::Watchdog;

use crate::logging::last_words;

/// The exit code of a process in which something hung or panicked (`EX_SOFTWARE`).
const INTERNAL: i32 = 70;

/// Starts the watchdog. A part that hangs or panics ends the process, after a last line that names it.
///
/// # Errors
/// If no thread can be started.
pub fn start() -> io::Result<Watchdog> {
    Watchdog::start(|line| {
        last_words(line);
        exit(INTERNAL)
    })
}
