//! The flags of a process, which belong to none of its services: they have the same name everywhere.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, value_parser};

use crate::logging::LogFormat;

/// The ids of these flags.
#[cfg(test)]
pub const IDS: [&str; 2] = ["config", "log-format"];

/// These flags.
pub fn flags() -> [Arg; 2] {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("CAMPANILE_CONFIG")
        .value_parser(value_parser!(PathBuf))
        .help(
            "Settings file (TOML) with any of these flags and more; flags and variables win \
             [default: none]",
        );
    let log_format = Arg::new("log-format")
        .long("log-format")
        .value_name("FORMAT")
        .env("CAMPANILE_LOG_FORMAT")
        .value_parser(value_parser!(LogFormat))
        .hide_possible_values(true)
        .help(
            "What lines of the log are: text, json (an object per line), or auto, which is text on a \
             terminal and json otherwise [default: auto]",
        );
    [config, log_format]
}

/// The settings file of the command that is run, if it can have one.
pub fn config(matches: &ArgMatches) -> Option<PathBuf> {
    value(matches, "config")
}

/// The format of the log, if it was given to the command that is run.
pub fn log_format(matches: &ArgMatches) -> Option<LogFormat> {
    value(matches, "log-format")
}

fn value<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
    let (_, own) = matches.subcommand()?;
    // Tools do not have these flags.
    own.try_get_one(id).ok().flatten().cloned()
}
