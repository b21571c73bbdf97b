//! For tests of the watchdog: makes something that is watched hang or panic on purpose. Only in builds
//! with the feature `sabotage`, which a release must not have.
//!
//! The environment variable [`VARIABLE`] names a file, which the watchdog's thread reads every turn. A
//! line `NAME stop` or `NAME panic` in it takes effect at the next beat of what has that name. A second
//! file, whose name has `.names` appended, lists the names of everything that is watched, one per line.

use std::future::pending;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::{env, fs, thread};

use actix::prelude::*;

use super::WatchdogState;

/// Names the file. `check.sh` makes sure that this word is not in the binary that is released.
const VARIABLE: &str = "CAMPANILE_SABOTAGE";

const NOTHING: u8 = 0;
const STOP: u8 = 1;
const PANIC: u8 = 2;

/// What something that is watched has to do at its next beat.
#[derive(Debug, Default)]
pub struct Sabotage(AtomicU8);

/// Reads the file, if there is one, and writes the names.
pub fn look(state: &WatchdogState) {
    let Some(file) = env::var_os(VARIABLE) else {
        return;
    };
    let requests = fs::read_to_string(&file).unwrap_or_default();
    let requests: Vec<(&str, u8)> = requests
        .lines()
        .filter_map(|line| match line.rsplit_once(' ')? {
            (name, "stop") => Some((name, STOP)),
            (name, "panic") => Some((name, PANIC)),
            _ => None,
        })
        .collect();
    let mut names = String::new();
    for (key, name) in state.core.names() {
        names.push_str(name);
        names.push('\n');
        if let Some((_, request)) = requests.iter().find(|(requested, _)| *requested == name) {
            state.signs[&key].sabotage.0.store(*request, Relaxed);
        }
    }
    let (mut part, mut whole) = (file.clone(), file);
    part.push(".part");
    whole.push(".names");
    // A test that waits for the names notices if they do not come.
    let _ = fs::write(&part, names).and_then(|()| fs::rename(&part, &whole));
}

impl Sabotage {
    pub fn perform_in_actor<A: Actor<Context = Context<A>>>(
        &self,
        name: &str,
        ctx: &mut Context<A>,
    ) {
        if self.is_stop(name) {
            ctx.wait(actix::fut::wrap_future(pending::<()>()));
        }
    }

    pub async fn perform_in_task(&self, name: &str) {
        if self.is_stop(name) {
            pending().await
        }
    }

    pub fn perform_in_thread(&self, name: &str) {
        while self.is_stop(name) {
            thread::park();
        }
    }

    /// Whether it has to hang.
    ///
    /// # Panics
    /// If that is what it has to do.
    fn is_stop(&self, name: &str) -> bool {
        match self.0.load(Relaxed) {
            NOTHING => false,
            STOP => true,
            _ => panic!("{name} panics on purpose"),
        }
    }
}
