//! What `up` cannot follow: settings that other commands have and it has not. None of them is passed over
//! in silence, because without it the cluster would be more open than somebody meant. Pure.

use std::ffi::OsStr;
use std::path::Path;

use clap::{Arg, ArgMatches};

use super::names::{Environment, value};
use crate::settings::{Scalar, SettingsError};

/// The variable with the secret that `up` takes.
const SECRET: &str = "CAMPANILE_BROKER_SECRET";

/// Refuses what `up` cannot follow, if that is the command; `flags` are the flags of all commands. A secret
/// may be given if it is the same as the one of `up`.
///
/// # Errors
/// All such settings, by their names and without their values.
pub fn check(
    flags: &clap::Command,
    matches: &ArgMatches,
    (file, scalars): (Option<&Path>, &[Scalar]),
    environment: Environment<'_>,
) -> Result<(), Vec<SettingsError>> {
    let Some(("up", up)) = matches.subcommand() else { return Ok(()) };
    let secret_file = up.get_raw("secret-file").and_then(|mut files| files.next());
    let mut errors = Vec::new();
    let args = flags.get_subcommands().flat_map(clap::Command::get_arguments);
    for (arg, why) in args.filter_map(|arg| Some((arg, Why::of(arg)?))) {
        let is_the_same = |value: &OsStr| why == Why::Secret && secret_file == Some(value);
        let scalar = scalars.iter().find(|scalar| scalar.id == arg.get_id().as_str());
        if let Some(scalar) = scalar.filter(|scalar| !is_the_same(scalar.value.as_ref())) {
            let file = file.unwrap_or(Path::new(""));
            errors.push(SettingsError::new(file, Some(scalar.line), why.sentence(&scalar.key)));
        }
        let variable = arg.get_env().and_then(|name| Some((name, value(name, environment)?)));
        if let Some((name, _)) = variable.filter(|(_, value)| !is_the_same(value)) {
            errors.push(why.about(&name.to_string_lossy()));
        }
    }
    let own = value(SECRET.as_ref(), environment);
    for name in ["CAMPANILE_GATEWAY_SECRET", "CAMPANILE_PUBLISHER_SECRET"] {
        if value(name.as_ref(), environment).is_some_and(|secret| own != Some(secret)) {
            errors.push(Why::Secret.about(name));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Why a setting cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is about TLS of links.
    Links,
    /// It is the secret of one service.
    Secret,
}

impl Why {
    /// `None` for what `up` has, or does not need.
    fn of(arg: &Arg) -> Option<Self> {
        let id = arg.get_id().as_str();
        match id.split_once('-')? {
            ("broker", "tls-cert" | "tls-key" | "client-ca")
            | ("gateway" | "publisher", "broker-ca" | "link-cert" | "link-key") => {
                Some(Self::Links)
            }
            ("gateway" | "publisher", "secret-file") => Some(Self::Secret),
            _ => None,
        }
    }

    /// An error about a variable.
    fn about(self, variable: &str) -> SettingsError {
        SettingsError::new(Path::new(""), None, self.sentence(variable))
    }

    fn sentence(self, name: &str) -> String {
        match self {
            Self::Links => format!(
                "{name}: up has no TLS on its links, so that this would do nothing; accepted is broker, \
                 gateway and publisher on their own, or up without it"
            ),
            Self::Secret => format!(
                "{name}: up has one secret for all of its services, so that this would do nothing; accepted is \
                 {SECRET}, --secret-file or [broker] secret_file"
            ),
        }
    }
}
