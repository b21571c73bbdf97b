//! One settings file: TOML, whose scalars are the flags and whose lists are read here.
//!
//! **A flag is a key without further work.** `gateway --max-connections`, whose variable is
//! `CAMPANILE_GATEWAY_MAX_CONNECTIONS`, is `[gateway] max_connections`: section and key are read from the
//! name of the variable, and the value is checked by the flag itself. `cli.rs` makes it the flag's default,
//! so that the environment and the command line win.
//!
//! **A section of its own** (lists, or anything that is no flag) is a field of [`Settings`], with a file in
//! `settings/` that holds its serde structs (`#[serde(deny_unknown_fields)]`) and turns them into the types
//! of the crates. To add one: the struct in its file, a field here, and, if a service needs it, a channel in
//! `live.rs`, which says how. A line about a wrong section comes by itself; what serde cannot see is checked
//! where the section is turned into the crates' types, with errors by [`Places::error`]. The documented
//! example of the section is its `EXAMPLE`.

pub mod guests;
pub mod keys;
pub mod log;
pub mod tls;
pub mod tokens;

mod document;
mod error;
mod nearest;
mod places;
mod scalars;

use std::path::Path;

use serde::Deserialize;

pub use error::{SettingsError, without_keys};
pub use nearest::nearest;
pub use places::{Places, Wrong};
pub use scalars::{Flag, Scalar, flags, with_places};

use document::Document;

/// The sections of the file that are no flags.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `[[keys]]`: the API keys of those who push.
    pub keys: Vec<keys::Entry>,
    /// `[tokens]`: which tokens of clients are accepted.
    pub tokens: tokens::Section,
    /// `[guests]`: what clients without a token may do. Without this section they are refused as soon as
    /// there is a token key.
    pub guests: Option<guests::Section>,
    /// `[tls]`: certificates.
    pub tls: tls::Section,
    /// `[log]`.
    pub log: log::Section,
    /// Where all this is in the file, for errors.
    #[serde(skip)]
    pub places: Places,
}

/// How many errors of a file are told at once.
const MAX_ERRORS: usize = 100;

/// The names of the fields of [`Settings`].
const SECTIONS: [&str; 5] = ["keys", "tokens", "guests", "tls", "log"];

/// The documented examples of these sections.
pub const EXAMPLES: [&str; 5] =
    [keys::EXAMPLE, tokens::EXAMPLE, guests::EXAMPLE, tls::EXAMPLE, log::EXAMPLE];

/// What a file says.
#[derive(Debug, Clone, Default)]
pub struct SettingsFile {
    /// The values of flags.
    pub scalars: Vec<Scalar>,
    /// Everything else.
    pub settings: Settings,
}

/// Reads a file. `flags` is the command whose subcommands have the flags.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path, flags: &clap::Command) -> Result<SettingsFile, Vec<SettingsError>> {
    parse(path, &document::read(path).map_err(|error| vec![error])?, flags)
}

/// Reads what a file has; `path` is only for errors.
///
/// # Errors
/// Everything that is wrong with it, but not more than [`MAX_ERRORS`].
pub fn parse(
    path: &Path,
    bytes: &[u8],
    flags: &clap::Command,
) -> Result<SettingsFile, Vec<SettingsError>> {
    let text = document::text(path, bytes).map_err(|error| vec![error])?;
    let document = Document::parse(path, text).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let scalars = scalars::read(&document, flags, &SECTIONS, &mut errors);
    let settings = document.sections(&SECTIONS, &mut errors);
    if errors.is_empty() {
        // Only now are the names of keys known ones, which are short.
        let places = document.places(&SECTIONS);
        return Ok(SettingsFile { scalars, settings: Settings { places, ..settings } });
    }
    errors.truncate(MAX_ERRORS);
    errors.sort_by_key(SettingsError::line);
    Err(errors)
}

#[cfg(test)]
mod tests;
