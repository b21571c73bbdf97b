//! The documented settings file: every key with its default, commented out. Made from the help of the flags
//! and the examples of the sections.

use std::fmt::Write as _;

use clap::Command;

use crate::settings::{self, Flag};

const HEAD: &str = "\
# The settings of Campanile. A line that begins with # and a space explains the key below it; a key behind #
# alone is commented out, and shows its default or, where there is none, an example.
#
# A flag of the command line is the same setting and wins over this file, and so does an environment variable:
# [gateway] max_groups = 100 is `gateway --max-groups 100`, `up --gateway-max-groups 100` and
# CAMPANILE_GATEWAY_MAX_GROUPS=100. One file may have the settings of all services; each reads its own.
# Durations are written \"500ms\", \"10s\" or \"5m\", sizes \"64KiB\" or \"1MiB\". File names are relative to the
# working directory. SIGHUP rereads this file.
";

/// How wide the text may be.
const WIDTH: usize = 110;

/// The file. `flags` is the command whose subcommands have the flags.
pub fn text(flags: &Command) -> String {
    let mut text = HEAD.to_owned();
    let mut section = String::new();
    for flag in settings::flags(flags) {
        if section != flag.section {
            section.clone_from(&flag.section);
            let _ = write!(text, "\n#[{section}]\n");
        }
        explain(&mut text, &flag);
        let _ = writeln!(text, "#{} = {}", flag.key, value(&flag));
    }
    for example in settings::EXAMPLES.into_iter().filter(|example| !example.is_empty()) {
        text.push('\n');
        text.push_str(example);
    }
    text
}

/// The same file with every key.
#[cfg(test)]
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes the help of a flag as comments, with the names of other flags as keys.
fn explain(text: &mut String, flag: &Flag<'_>) {
    let help = flag.arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut line = "#".to_owned();
    for word in help.split_whitespace() {
        let word = match word.split_once("--") {
            Some((before, name)) if name.starts_with(|c: char| c.is_ascii_lowercase()) => {
                format!("{before}{}", name.replace('-', "_"))
            }
            _ => word.to_owned(),
        };
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(&word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// The default of a flag as TOML or, if it has none, an example.
fn value(flag: &Flag<'_>) -> String {
    if flag.is_switch() {
        return "false".to_owned();
    }
    let default = flag.arg.get_default_values().first().and_then(|value| value.to_str());
    match (default, flag.value_name()) {
        (Some(default), "N") => default.to_owned(),
        (Some(default), _) if flag.is_list() => {
            let items: Vec<_> = default.split(',').map(|item| format!("{item:?}")).collect();
            format!("[{}]", items.join(", "))
        }
        (Some(default), _) => format!("{default:?}"),
        (None, name) => {
            let possible = flag.arg.get_possible_values();
            match possible.first() {
                Some(first) => format!("{:?}", first.get_name()),
                None if name == "FILE" => {
                    let file = flag.key.strip_suffix("_file").unwrap_or(&flag.key);
                    let is_pem = ["cert", "key", "ca"].iter().any(|end| file.ends_with(end));
                    format!("\"/etc/campanile/{file}{}\"", if is_pem { ".pem" } else { "" })
                }
                None if name == "HOST:PORT" => format!("{:?}", address_in_help(flag)),
                None if name == "N" => number_in_help(flag).unwrap_or_else(|| "4".to_owned()),
                None => example(name).to_owned(),
            }
        }
    }
}

/// The number after `[default: ` in the help of a flag, where the default is more than that number.
fn number_in_help(flag: &Flag<'_>) -> Option<String> {
    let help = flag.arg.get_help()?.to_string();
    let (_, default) = help.split_once("[default: ")?;
    let number: String = default.chars().take_while(char::is_ascii_digit).collect();
    (!number.is_empty()).then_some(number)
}

/// The address after `[default: ` in the help of a flag, where the default is more than that address.
fn address_in_help(flag: &Flag<'_>) -> String {
    let help = flag.arg.get_help().map(ToString::to_string).unwrap_or_default();
    let default = help.split_once("[default: ").map_or("127.0.0.1:2206", |(_, default)| default);
    default.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect()
}

/// An example by the name of a flag's value. A name that is missing here fails a test below.
fn example(value_name: &str) -> &'static str {
    match value_name {
        "SIZE" => "\"1MiB\"",
        "DURATION" => "\"10s\"",
        "DIR" => "\"/var/lib/campanile\"",
        "FILES" => "[\"/etc/campanile/file\"]",
        "URL" => "\"https://app.example\"",
        "COLLECTOR" => "\"http://127.0.0.1:4318\"",
        "ORIGINS" => "[\"https://app.example\"]",
        "HOSTS" => "[\"app.example\"]",
        "PATHS" => "[\"health\", \"metrics\"]",
        "NAMES" => "[\"utm_source\"]",
        "NAME" => "\"token\"",
        "NETWORKS" => "[\"10.0.0.0/8\"]",
        _ => "\"\"",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::all_flags;

    fn parsed(text: &str) -> settings::SettingsFile {
        settings::parse(Path::new("campanile.toml"), text.as_bytes(), &all_flags()).unwrap_or_else(
            |errors| {
                let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
                panic!(
                    "{}\n(perhaps a new kind of value needs an example in {})",
                    errors.join("\n"),
                    file!()
                )
            },
        )
    }

    #[test]
    fn the_file_as_printed_changes_nothing() {
        let read = parsed(&text(&all_flags()));
        assert_eq!(read.scalars, []);
        let settings = format!(
            "{:?}",
            settings::Settings {
                places: read.settings.places.clone(),
                ..settings::Settings::default()
            }
        );
        assert_eq!(format!("{:?}", read.settings), settings);
    }

    #[test]
    fn every_key_is_there_and_is_accepted_without_its_comment() {
        let text = text(&all_flags());
        let read = parsed(&uncommented(&text));
        let flags = all_flags();
        for flag in settings::flags(&flags) {
            let found = read.scalars.iter().any(|scalar| scalar.id == *flag.arg.get_id());
            assert!(found, "[{}] {}", flag.section, flag.key);
        }
        assert_eq!(read.scalars.len(), settings::flags(&flags).len());
        assert!(read.settings.guests.is_some() && !read.settings.keys.is_empty());
    }

    #[test]
    fn the_printed_defaults_are_those_of_the_flags() {
        let read = parsed(&uncommented(&text(&all_flags())));
        let flags = all_flags();
        for flag in settings::flags(&flags) {
            let Some(default) = flag.arg.get_default_values().first() else { continue };
            let printed = read.scalars.iter().find(|scalar| scalar.id == *flag.arg.get_id());
            assert_eq!(printed.map(|scalar| &*scalar.value), default.to_str(), "{}", flag.key);
        }
    }

    #[test]
    fn the_documented_file_is_the_printed_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/campanile.toml");
        let documented = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            documented == text(&all_flags()),
            "docs/campanile.toml is out of date: cargo run -- config > docs/campanile.toml"
        );
    }
}
