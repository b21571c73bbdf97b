//! The last line that a process logs before it ends by itself.
//!
//! Log lines wait in a queue for a thread that writes them; a process that calls
//! [`std::process::exit`] leaves behind what still waits. The binary installs how its last line gets
//! out all the same; the crates below it know only this function.

use std::sync::OnceLock;

static SPEAKER: OnceLock<fn(&str)> = OnceLock::new();

/// Sets how [`last_words`] gets a line out: within a short limit, without a panic, from any thread.
/// Only the first call counts.
pub fn set_speaker(speaker: fn(&str)) {
    let _ = SPEAKER.set(speaker);
}

/// Logs why this process ends, right before it does. Waits only as long as the speaker does, which
/// in the binary is less than half a second. Where none is set, the line is logged like any other.
pub fn last_words(line: &str) {
    match SPEAKER.get() {
        Some(speaker) => speaker(line),
        None => tracing::error!("{line}"),
    }
}
