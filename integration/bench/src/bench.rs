//! What all scenarios have in common: the arguments, and how to get what is measured.

use std::time::Duration;

use indicatif::ProgressBar;

use crate::args::BenchArgs;
use crate::crowd::Crowd;
use crate::limits;
use crate::stop::{LeftOut, Stop};
use crate::subject::{Shape, Subject};

/// How long a cluster is left alone before something small is measured.
pub const SETTLE: Duration = Duration::from_millis(500);

/// What all scenarios have in common.
pub struct Bench {
    pub args: BenchArgs,
    pub stop: Stop,
    /// How many connections this process may hold.
    pub room: usize,
    pub runs: usize,
    pub bar: ProgressBar,
}

/// Measures ours and what it is compared with. Which of them is first changes from run to run, because
/// the second one finds a machine that is warmer, or busier.
///
/// # Errors
/// The first error of the two.
pub fn in_turn<T, U>(
    run: usize,
    ours: impl FnOnce() -> anyhow::Result<T>,
    limit: impl FnOnce() -> anyhow::Result<U>,
) -> anyhow::Result<(T, U)> {
    if run.is_multiple_of(2) {
        let ours = ours()?;
        Ok((ours, limit()?))
    } else {
        let limit = limit()?;
        Ok((ours()?, limit))
    }
}

impl Bench {
    /// What is measured: the server that the command line names, or a new cluster of this shape.
    pub fn ours(&self, shape: &Shape) -> anyhow::Result<Subject> {
        match Subject::running(&self.args, shape.speech)? {
            Some(running) => Ok(running),
            None => Subject::cluster(shape),
        }
    }

    /// A new cluster of this shape.
    ///
    /// # Errors
    /// [`LeftOut`] if the command line names a server.
    pub fn own(&self, shape: &Shape) -> anyhow::Result<Subject> {
        if self.args.publisher.is_some() || self.args.url.is_some() {
            return Err(LeftOut("it is measured with a cluster of its own only").into());
        }
        Subject::cluster(shape)
    }

    pub fn crowd(&self) -> anyhow::Result<Crowd> {
        Crowd::new(self.stop.clone(), self.room)
    }

    /// # Errors
    /// If this process may not hold this many connections.
    pub fn check_room(&self, connections: usize) -> anyhow::Result<()> {
        limits::check(connections, self.room)
    }

    /// The number of connections that the command line asks for, or the default of a full or a quick
    /// benchmark.
    pub fn size(&self, full: usize, quick: usize) -> usize {
        self.args.connections.unwrap_or(if self.args.quick { quick } else { full })
    }

    /// `wanted` connections, or fewer if the command line asks for fewer.
    pub fn at_most(&self, wanted: usize) -> usize {
        self.args.connections.map_or(wanted, |most| most.min(wanted))
    }

    /// Shows what is being measured.
    pub fn step(&self, run: usize, what: &str) {
        self.bar.set_message(format!("run {} of {}: {what}", run + 1, self.runs));
        self.bar.set_position(0);
        self.bar.set_length(1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn the_order_changes_from_run_to_run() {
        let order = RefCell::new(String::new());
        let note = |what: char| {
            order.borrow_mut().push(what);
            Ok(what)
        };
        for run in 0..3 {
            let found = in_turn(run, || note('o'), || note('l'));
            assert_eq!(found.expect("nothing fails"), ('o', 'l'));
        }
        assert_eq!(*order.borrow(), "ollool");
    }
}
