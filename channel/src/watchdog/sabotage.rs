//! For tests of the watchdog: makes what is watched hang or panic on purpose. Only in builds with the
//! feature `sabotage`; a binary that is released must not have it.
//!
//! The variable [`VARIABLE`] names a file, which the watchdog's thread reads every turn. A line
//! `NAME stop` or `NAME panic` in it is performed by who has that name, at its next beat. Beside it, in
//! a file with `.names` behind its name, stand the names of all who are watched, one a line.

use std::future::pending;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::{env, fs, thread};

use actix::prelude::*;

use super::State;

/// Names the file. The check looks for this word in the binary that is to be released.
const VARIABLE: &str = "CAMPANILE_SABOTAGE";

const NOTHING: u8 = 0;
const STOP: u8 = 1;
const PANIC: u8 = 2;

/// What one that is watched is to do at its next beat.
#[derive(Debug, Default)]
pub struct Wish(AtomicU8);

/// Reads the file, if there is one.
pub fn look(state: &State) {
    let Some(file) = env::var_os(VARIABLE) else {
        return;
    };
    let wishes = fs::read_to_string(&file).unwrap_or_default();
    let wishes: Vec<(&str, u8)> = wishes
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
        if let Some((_, wish)) = wishes.iter().find(|(wished, _)| *wished == name) {
            state.signs[&key].wish.0.store(*wish, Relaxed);
        }
    }
    let (mut part, mut whole) = (file.clone(), file);
    part.push(".part");
    whole.push(".names");
    // Whoever waits for the names says that they do not come.
    let _ = fs::write(&part, names).and_then(|()| fs::rename(&part, &whole));
}

impl Wish {
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

    /// Whether to stop.
    ///
    /// # Panics
    /// If that is what is wished.
    fn is_stop(&self, name: &str) -> bool {
        match self.0.load(Relaxed) {
            NOTHING => false,
            STOP => true,
            _ => panic!("{name} panics on purpose"),
        }
    }
}
