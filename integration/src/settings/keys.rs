//! `[[keys]]`: the API keys of those who push.

use std::path::PathBuf;

use serde::Deserialize;

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
