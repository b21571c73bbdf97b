//! `[guests]`: what clients without a token may do.

use serde::Deserialize;

/// The documented example.
pub const EXAMPLE: &str = "\
# What clients without a token may do. Without this section they are refused as soon as there is a token key.
#[guests]
# The groups that they may listen to; a * at the end stands for anything.
#groups = [\"public/*\"]
";

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(dead_code, reason = "not hung in yet")]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// The groups that they may listen to, as patterns.
    pub groups: Vec<String>,
}
