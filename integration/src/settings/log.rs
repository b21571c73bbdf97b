//! `[log]`: what is logged.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// What an operator wants to see. That leaves out peers that send something else than HTTP, whose lines
/// could fill a disk.
const DEFAULT: &str = "info,actix_server=warn,actix_http=off";

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// A level, or `TARGET=LEVEL,..`. `CAMPANILE_LOG` wins.
    pub level: Option<String>,
}

impl Section {
    /// What to log; `variable` is the value of `CAMPANILE_LOG`.
    ///
    /// # Errors
    /// A sentence that names what was set, and what is accepted.
    pub fn filter(&self, variable: Option<&str>) -> Result<EnvFilter, String> {
        let variable = variable.filter(|value| !value.is_empty());
        let (set, filter) = match (variable, &self.level) {
            (Some(filter), _) => (format!("CAMPANILE_LOG={filter}"), filter),
            (None, Some(filter)) => (format!("[log] level = {filter:?}"), &**filter),
            (None, None) => (String::new(), DEFAULT),
        };
        EnvFilter::builder().parse(filter).map_err(|error| {
            format!("{set}: accepted is a level such as info or debug, or TARGET=LEVEL,..: {error}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_file() {
        let section = Section { level: Some("debug".to_owned()) };
        let level = |variable| section.filter(variable).expect("valid").to_string();
        assert_eq!(level(Some("warn")), "warn");
        assert_eq!(level(Some("")), "debug");
        assert_eq!(level(None), "debug");
        assert!(Section::default().filter(None).expect("valid").to_string().contains("info"));
    }

    #[test]
    fn a_wrong_level_is_named_with_what_is_accepted() {
        let section = Section { level: Some("!!bad==".to_owned()) };
        let error = section.filter(None).expect_err("wrong");
        assert!(error.contains("[log] level = \"!!bad==\": accepted is a level"), "{error}");
    }
}
