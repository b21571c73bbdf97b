//! `[guests]`: what clients without a token may do.

use campanile_edge::rights::{GroupRights, Operations};
use serde::Deserialize;

use super::Wrong;

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
    /// The patterns that cannot be used.
    pub fn rights(&self) -> Result<GroupRights, Vec<Wrong>> {
        let subscribe = Operations { subscribe: true, ..Operations::default() };
        let (mut rights, mut errors) = (Vec::new(), Vec::new());
        for (at, pattern) in self.groups.iter().enumerate() {
            match pattern.parse() {
                Ok(parsed) => rights.push((parsed, subscribe)),
                Err(error) => {
                    errors.push(Wrong::value(&format!("guests.groups[{at}]"), pattern, &error));
                }
            }
        }
        if errors.is_empty() { Ok(GroupRights::new(rights)) } else { Err(errors) }
    }
}
