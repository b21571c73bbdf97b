//! The watchdog of the process.

use std::io;
use std::process::exit;

use campanile_channel::Watchdog;

use crate::logging::last_words;

/// The exit code of a process in which something hung or panicked (`EX_SOFTWARE`).
const INTERNAL: i32 = 70;

/// Starts it. Whatever hangs or panics ends the process, after a last line that names it.
///
/// # Errors
/// What the system answers about a new thread.
pub fn start() -> io::Result<Watchdog> {
    Watchdog::start(|line| {
        last_words(line);
        exit(INTERNAL)
    })
}
