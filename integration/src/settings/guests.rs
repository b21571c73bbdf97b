//! `[guests]`: what clients without a token may do.

use campanile_edge::rights::{GroupRights, Operations};
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
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// The groups that they may listen to, as patterns.
    pub groups: Vec<String>,
}

impl Section {
    /// What guests may do.
    ///
    /// # Errors
    /// A sentence that names the pattern that cannot be used.
    pub fn rights(&self) -> Result<GroupRights, String> {
        let subscribe = Operations { subscribe: true, ..Operations::default() };
        let rights: Result<Vec<_>, String> = self
            .groups
            .iter()
            .map(|pattern| match pattern.parse() {
                Ok(parsed) => Ok((parsed, subscribe)),
                Err(error) => Err(format!("[guests] groups: {pattern:?}: {error}")),
            })
            .collect();
        rights.map(GroupRights::new)
    }
}
