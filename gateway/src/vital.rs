//! Parts without which a process must not go on.

use campanile_channel::last_words::last_words;

/// Ends the process when it is dropped by a panic. A long-lived actor holds one: half a gateway
/// would answer, and lose what it answered; a supervisor restarts a whole one.
#[derive(Debug)]
pub struct Vital(pub &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            last_words(&format!("the {} panicked, so this process ends", self.0));
            std::process::exit(70);
        }
    }
}
