//! Names of settings: environment variables that are empty, and the names that the broker's settings
//! had when it was called `channel`.

use std::ffi::{OsStr, OsString};

/// Reads an environment variable.
pub type Environment<'a> = &'a dyn Fn(&OsStr) -> Option<OsString>;

/// The variables that have an older name, and that name. A setting that is new has none.
const OLD_VARIABLES: [(&str, &str); 12] = [
    ("CAMPANILE_BROKER_LISTEN", "CAMPANILE_CHANNEL_LISTEN"),
    ("CAMPANILE_BROKER_DATA_DIR", "CAMPANILE_CHANNEL_DATA_DIR"),
    ("CAMPANILE_BROKER_DURABILITY", "CAMPANILE_CHANNEL_DURABILITY"),
    ("CAMPANILE_BROKER_LINK_QUEUE", "CAMPANILE_CHANNEL_LINK_QUEUE"),
    ("CAMPANILE_BROKER_LOG_SIZE", "CAMPANILE_CHANNEL_LOG_SIZE"),
    ("CAMPANILE_BROKER_LOG_AGE", "CAMPANILE_CHANNEL_LOG_AGE"),
    ("CAMPANILE_BROKER_RETURN_LIMIT", "CAMPANILE_CHANNEL_RETURN_LIMIT"),
    ("CAMPANILE_BROKER_MAX_IDS", "CAMPANILE_CHANNEL_MAX_IDS"),
    ("CAMPANILE_BROKER_MAX_LINKS", "CAMPANILE_CHANNEL_MAX_LINKS"),
    ("CAMPANILE_BROKER_SHUTDOWN_LIMIT", "CAMPANILE_CHANNEL_SHUTDOWN_LIMIT"),
    ("CAMPANILE_GATEWAY_BROKER", "CAMPANILE_GATEWAY_CHANNEL"),
    ("CAMPANILE_PUBLISHER_BROKER", "CAMPANILE_PUBLISHER_CHANNEL"),
];

/// The flags of `up` that have an older name, and that name.
const OLD_FLAGS: [(&str, &str); 8] = [
    ("broker-listen", "channel-listen"),
    ("broker-link-queue", "channel-link-queue"),
    ("broker-log-size", "channel-log-size"),
    ("broker-log-age", "channel-log-age"),
    ("broker-return-limit", "channel-return-limit"),
    ("broker-max-ids", "channel-max-ids"),
    ("broker-max-links", "channel-max-links"),
    ("broker-shutdown-limit", "channel-shutdown-limit"),
];

/// The older names.
pub fn old_variables() -> [&'static str; 12] {
    OLD_VARIABLES.map(|(_, old)| old)
}

fn old_variable(name: &OsStr) -> Option<&'static str> {
    OLD_VARIABLES.iter().find(|(new, _)| name == *new).map(|(_, old)| *old)
}

/// The older name of a flag of `up`, if it has one.
pub fn old_flag(flag: &str) -> Option<&'static str> {
    OLD_FLAGS.iter().find(|(new, _)| flag == *new).map(|(_, old)| *old)
}

/// Makes each flag read the variable that is set: the one of its name, or else the one of its older
/// name. An empty variable counts as unset.
pub fn with_variables(command: clap::Command, environment: Environment<'_>) -> clap::Command {
    command
        .mut_args(|arg| {
            let Some(name) = arg.get_env().map(OsStr::to_owned) else { return arg };
            let old = old_variable(&name).filter(|old| value(old.as_ref(), environment).is_some());
            match (value(&name, environment), old) {
                (Some(_), _) => arg,
                (None, Some(old)) => arg.env(old),
                // Its help names the variable, unless that is set to nothing.
                (None, None) if environment(&name).is_none() => arg,
                (None, None) => arg.env(None::<&str>),
            }
        })
        .mut_subcommands(|command| with_variables(command, environment))
}

/// The error if a variable that this command reads and the one with its older name have different
/// values.
pub fn different_variables(
    command: &clap::Command,
    environment: Environment<'_>,
) -> Option<String> {
    command.get_arguments().find_map(|arg| {
        let name = arg.get_env()?;
        let old = old_variable(name)?;
        let value_of_new = value(name, environment)?;
        let value_of_old = value(old.as_ref(), environment)?;
        (value_of_new != value_of_old).then(|| {
            format!(
                "{}={} and {old}={} are two names of one setting with different values; accepted is \
                 one of them, or both with the same value",
                name.display(),
                value_of_new.display(),
                value_of_old.display()
            )
        })
    })
}

/// The error if a flag is given by its name and by its older name.
pub fn both_flags(args: &[OsString]) -> Option<String> {
    let names = || {
        let args = args.iter().filter_map(|arg| arg.to_str());
        args.filter_map(|arg| arg.strip_prefix("--")?.split('=').next())
    };
    names().find_map(|old| {
        let rest = old.strip_prefix("channel").filter(|r| r.is_empty() || r.starts_with('-'))?;
        let new = format!("broker{rest}");
        let both = names().any(|name| name == new);
        both.then(|| format!("--{new} and --{old} are two names of one flag; give one of them"))
    })
}

/// The value of a variable that is set and not empty.
pub fn value(name: &OsStr, environment: Environment<'_>) -> Option<OsString> {
    environment(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_found_by_both_of_its_names() {
        let both = |args: &[&str]| {
            both_flags(&args.iter().map(OsString::from).collect::<Vec<_>>()).unwrap_or_default()
        };
        let said = both(&["gateway", "--broker=a:1", "--channel", "b:2"]);
        assert!(said.contains("--broker and --channel "), "{said}");
        let said = both(&["up", "--channel-listen=a:1", "--broker-listen", "a:1"]);
        assert!(said.contains("--broker-listen and --channel-listen "), "{said}");
        assert_eq!(both(&["up", "--channel-listen=a:1", "--broker-log-age=1m"]), "");
        assert_eq!(both(&["gateway", "--channels=a:1", "--brokers=a:1"]), "");
        assert_eq!(both(&["gateway", "--broker=a:1", "--broker=b:2"]), "");
    }
}
