//! The flags of `campanile config`.

use std::path::PathBuf;

use clap::Args;

/// What to do about a settings file.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Check this settings file, the environment and the secrets, without starting anything
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}
