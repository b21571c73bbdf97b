//! Why nothing is run: help, or what is wrong with the command line, the environment or the settings.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::logging::last_line;
use crate::settings::SettingsError;

/// Why nothing is run.
#[derive(Debug)]
pub enum Refused {
    /// The command line or the environment is wrong, or help was asked for.
    Arguments(Box<clap::Error>),
    /// The settings file is wrong.
    Settings(Vec<SettingsError>),
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(Box::new(error))
    }
}

/// Prints why nothing is run: help and version as they are, each error as one line.
pub fn explain(refused: &Refused) -> ExitCode {
    let error = match refused {
        Refused::Arguments(error) => error,
        Refused::Settings(errors) => {
            errors.iter().for_each(|error| last_line(&format!("error: {error}")));
            return ExitCode::from(2);
        }
    };
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
        _ => {
            last_line(&format!("error: {}", one_line(error)));
            ExitCode::from(2)
        }
    }
}

/// What clap has to say about an error, without its usage.
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let parts = lines.filter(|line| !line.is_empty() && !line.starts_with("For more"));
    parts.collect::<Vec<_>>().join("; ")
}
