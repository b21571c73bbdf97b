//! Why nothing is run: help, or what is wrong with the command line, the environment or the settings.

use std::process::ExitCode;

use clap::error::{ContextValue, ErrorKind};

use crate::logging::last_line;
use crate::secret_file::{NOT_SHOWN, may_hold_secret};
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

/// What clap has to say about an error, without its usage, and without values that may hold a secret.
pub fn one_line(error: &clap::Error) -> String {
    let values = error.context().flat_map(|(_, value)| match value {
        ContextValue::String(value) => std::slice::from_ref(value),
        ContextValue::Strings(values) => values,
        _ => &[],
    });
    let text = values
        .filter(|value| may_hold_secret(value))
        .fold(error.to_string(), |text, value| text.replace(value, NOT_SHOWN));
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let parts = lines.filter(|line| !line.is_empty() && !line.starts_with("For more"));
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_url_with_a_password_is_not_shown() {
        let url = "https://ops:hunter2@127.0.0.1";
        for args in [
            &["broker", "--otlp", url][..],
            &["push", "--url", url, "hello"],
            &["push", "--url", "127.0.0.1/?key=hunter2://", "hello"],
            &["trace", "--url", url],
            &["top", "--url", url],
            &["top", url],
            &[url],
        ] {
            let args = ["campanile"].iter().chain(args);
            let error = Cli::try_parse_from(args.clone()).expect_err("it is refused");
            let line = one_line(&error);
            assert!(line.contains(NOT_SHOWN) && !line.contains("hunter2"), "{args:?}: {line}");
        }
        let error = Cli::try_parse_from(["campanile", "top", "--url", "ftp://a"]).expect_err("ftp");
        assert!(one_line(&error).contains("invalid value 'ftp://a'"), "{error}");
    }
}
