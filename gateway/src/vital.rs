//! Parts without which a process must not go on.

/// Ends the process when it is dropped by a panic. A long-lived actor holds one: half a gateway
/// would answer, and lose what it answered; a supervisor restarts a whole one.
#[derive(Debug)]
pub struct Vital(pub &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(actor = self.0, "panicked, so this process ends");
            std::process::exit(70);
        }
    }
}
