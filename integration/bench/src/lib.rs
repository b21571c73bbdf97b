//! `campanile bench`: how fast and how small a cluster is, measured from outside, beside the least
//! that any server has to do on the same machine in the same run.
//!
//! It knows of a cluster what its users know: the binary it runs in, its flags, and its protocols.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool of the command line")]

mod args;
mod run;

mod scenarios;

mod bench;
mod plot;
mod report;

mod bare;
mod process;
mod subject;

mod attack;
mod callers;
mod crowd;
mod poll;
mod push;
mod tls;
mod wire;

mod disk;
mod limits;
mod stop;
mod usage;

pub use args::BenchArgs;
pub use bare::{PartArgs, run_part};
pub use run::run;
pub use stop::Stop;
