//! The flags of `campanile key`.

use std::path::PathBuf;

use campanile_edge::rights::Scope;
use clap::{Args, Subcommand};

use crate::settings::keys::check_name;

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print it together with its entry in the settings file
    Make(MakeArgs),
    /// Print the SHA-256 of a key that was made elsewhere, for its entry in the settings file
    Hash(HashArgs),
}

/// What a new key is for.
#[derive(Debug, Args)]
pub struct MakeArgs {
    /// What the log calls the key
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: String,
    /// What the key allows: everyone, group:PATTERN, user:PATTERN, connection, read or manage. A pattern
    /// is a name, or the beginning of names and a *. May be given several times
    #[arg(long, value_name = "SCOPE", required = true)]
    pub scope: Vec<Scope>,
    /// How many pushes it allows in a second [default: --max-pushes-per-second of the publisher]
    #[arg(long, value_name = "N")]
    pub per_second: Option<u32>,
    /// How many pushes it allows at once, after a pause [default: as many as in a second]
    #[arg(long, value_name = "N")]
    pub burst: Option<u32>,
    /// Write the key to this new file instead of printing it
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Which key to hash.
#[derive(Debug, Args)]
pub struct HashArgs {
    /// The file that holds the key
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
}

fn name(text: &str) -> Result<String, String> {
    check_name(text)?;
    Ok(text.to_owned())
}
