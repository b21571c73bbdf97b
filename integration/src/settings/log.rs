//! `[log]`: what is logged, and how.

use clap::ValueEnum as _;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::Places;
use crate::logging::LogFormat;

/// What an operator wants to see. That leaves out peers that do not speak HTTP, about whom lines could fill
/// a disk.
const DEFAULT: &str = "info,actix_server=warn,actix_http=off";

/// The documented example.
pub const EXAMPLE: &str = "\
# What is logged: error, warn, info, debug or trace, or TARGET=LEVEL,..; CAMPANILE_LOG wins [default: info,
# without lines about peers that do not speak HTTP]
#[log]
#level = \"info\"
# What its lines are: text, json, or auto, which is text on a terminal and json otherwise; --log-format and
# CAMPANILE_LOG_FORMAT win
#format = \"auto\"
";

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// A level, or `TARGET=LEVEL,..`. `CAMPANILE_LOG` wins.
    pub level: Option<String>,
    /// `auto`, `text` or `json`. The flag `--log-format` and its variable win.
    pub format: Option<String>,
}

impl Section {
    /// What the lines are.
    ///
    /// # Errors
    /// An error that names what was set, and what is accepted.
    pub fn format(&self, places: &Places) -> Result<LogFormat, String> {
        let Some(format) = &self.format else { return Ok(LogFormat::default()) };
        LogFormat::from_str(format, false).map_err(|_| {
            let sentence = format!("{format:?}: accepted is auto, text or json");
            places.error("log.format", &sentence).to_string()
        })
    }

    /// What to log; `variable` is the value of `CAMPANILE_LOG`.
    ///
    /// # Errors
    /// An error that names what was set, and what is accepted.
    pub fn filter(&self, variable: Option<&str>, places: &Places) -> Result<EnvFilter, String> {
        let accepted = "accepted is a level such as info or debug, or TARGET=LEVEL,..";
        let parse = |filter: &str| EnvFilter::builder().parse(filter);
        match (variable.filter(|value| !value.is_empty()), &self.level) {
            (Some(filter), _) => {
                parse(filter).map_err(|_| format!("CAMPANILE_LOG={filter}: {accepted}"))
            }
            (None, Some(filter)) => parse(filter).map_err(|_| {
                places.error("log.level", &format!("{filter:?}: {accepted}")).to_string()
            }),
            (None, None) => Ok(EnvFilter::new(DEFAULT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_file() {
        let section = Section { level: Some("debug".to_owned()), format: None };
        let places = Places::default();
        let level = |variable| section.filter(variable, &places).expect("valid").to_string();
        assert_eq!(level(Some("warn")), "warn");
        assert_eq!(level(Some("")), "debug");
        assert_eq!(level(None), "debug");
        let default = Section::default().filter(None, &places).expect("valid");
        assert!(default.to_string().contains("info"));
    }

    #[test]
    fn a_wrong_level_is_named_with_what_is_accepted() {
        let section = Section { level: Some("!!bad==".to_owned()), format: None };
        let error = section.filter(None, &Places::default()).expect_err("wrong");
        assert!(error.contains("log.level: \"!!bad==\": accepted is a level"), "{error}");
    }

    #[test]
    fn a_wrong_format_is_named_with_what_is_accepted() {
        let format = |format: &str| {
            let section = Section { level: None, format: Some(format.to_owned()) };
            section.format(&Places::default())
        };
        assert_eq!(format("json"), Ok(LogFormat::Json));
        let error = format("xml").expect_err("wrong");
        assert!(error.contains("log.format: \"xml\": accepted is auto, text or json"), "{error}");
    }
}
