//! `[tokens]`: which tokens of clients are accepted.

use serde::Deserialize;

/// The documented example.
pub const EXAMPLE: &str = "";

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {}
