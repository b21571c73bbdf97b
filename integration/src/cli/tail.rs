//! The flags of `campanile tail`.

use std::path::PathBuf;

use clap::{Args, value_parser};

use crate::remote::ServerUrl;

/// What to listen to, and at which gateway.
#[derive(Debug, Args)]
#[command(after_help = "The token comes from --token-file or from the environment variable \
                        CAMPANILE_TOKEN. Exit codes: 0 the reader of the output has gone, 1 refused or \
                        the token has expired, 2 a wrong argument, 130 interrupted.")]
pub struct TailArgs {
    /// A group to listen to, besides what is pushed to everyone. Can be given several times
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Begin after this position; with first, with all events that the log keeps
    #[arg(long, value_name = "POSITION", conflicts_with = "last")]
    pub since: Option<String>,
    /// Begin with the newest N events
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=1_000))]
    pub last: Option<u16>,
    /// The gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4236")]
    pub url: ServerUrl,
    /// File with the token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// File with the authorities (PEM) to trust instead of those of the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub json: bool,
}
