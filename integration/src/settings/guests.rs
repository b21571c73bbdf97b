//! `[guests]`: what clients without a token may do.

use serde::Deserialize;

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[allow(dead_code, reason = "not hung in yet")]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// The groups that they may listen to, as patterns.
    pub groups: Vec<String>,
}
