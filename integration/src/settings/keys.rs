//! `[[keys]]`: the API keys of those who push.

use std::path::PathBuf;

use serde::Deserialize;

/// The documented example.
pub const EXAMPLE: &str = "\
# The API keys of those who push, several at once for rotation. With at least one, every push needs one.
#[[keys]]
#name = \"shop\"
";

/// One key.
#[derive(Debug, Clone, Deserialize)]
#[allow(dead_code, reason = "not hung in yet")]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What the log calls it.
    pub name: String,
    /// Its SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// The file that holds it.
    pub secret_file: Option<PathBuf>,
    /// What it allows.
    #[serde(default)]
    pub scopes: Vec<String>,
}
