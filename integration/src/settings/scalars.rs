//! The keys that are flags.

use std::error::Error as _;
use std::ops::Range;
use std::path::Path;

use clap::builder::ValueRange;
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::DeValue;

use super::document::Document;
use super::nearest::nearest;
use super::{MAX_ERRORS, SettingsError};
use crate::secret_file::{NOT_SHOWN, may_hold_secret};

/// The sections of flags.
const SERVICES: [&str; 3] = ["broker", "gateway", "publisher"];

/// The value of a flag, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The flag's id, which is its name in `up`.
    pub id: String,
    /// Its key, such as `[gateway] listen`.
    pub key: String,
    /// The value as it would be written on the command line.
    pub value: String,
    /// The line in the file, counted from 1.
    pub line: usize,
}

impl Scalar {
    /// Whether a sentence about settings names the flag, by its name in `up` or the one of its service.
    pub fn is_named_in(&self, sentence: &str) -> bool {
        let own = self.id.split_once('-').filter(|(service, _)| SERVICES.contains(service));
        let names = [Some(&*self.id), own.map(|(_, name)| name)];
        names.into_iter().flatten().any(|name| {
            let flag = format!("--{name}");
            sentence.match_indices(&flag).any(|(at, _)| {
                let next = sentence[at + flag.len()..].chars().next();
                !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '-')
            })
        })
    }
}

/// A sentence about settings, which names flags only, with the lines of the settings file that it is about.
pub fn with_places<'a>(
    sentence: &str,
    scalars: impl IntoIterator<Item = &'a Scalar>,
    file: &Path,
) -> String {
    let named = scalars.into_iter().filter(|scalar| scalar.is_named_in(sentence));
    let places: Vec<_> = named
        .map(|scalar| format!("{} is in {}:{}", scalar.key, file.display(), scalar.line))
        .collect();
    match places.is_empty() {
        true => sentence.to_owned(),
        false => format!("{sentence}; {}", places.join(", ")),
    }
}

/// A flag that is a key: its section, its key in it, and itself.
pub struct Flag<'a> {
    /// The service.
    pub section: String,
    /// The name in the section.
    pub key: String,
    /// The flag.
    pub arg: &'a Arg,
}

impl Flag<'_> {
    /// What its help calls the value; empty if it has none.
    pub fn value_name(&self) -> &str {
        value_name(self.arg)
    }

    /// Whether it has no value.
    pub fn is_switch(&self) -> bool {
        is_switch(self.arg)
    }

    /// Whether it takes a list. Then the name of its value is a plural.
    pub fn is_list(&self) -> bool {
        is_list(self.arg)
    }
}

/// Section and key by the name of a variable: `CAMPANILE_GATEWAY_MAX_GROUPS` is `gateway` and
/// `max_groups`. `None` if it belongs to no service.
pub fn section_and_key(variable: &str) -> Option<(String, String)> {
    let rest = variable.strip_prefix("CAMPANILE_")?.to_ascii_lowercase();
    let (section, key) = rest.split_once('_')?;
    SERVICES.contains(&section).then(|| (section.to_owned(), key.to_owned()))
}

/// The flags of all services, service by service.
pub fn flags(command: &Command) -> Vec<Flag<'_>> {
    let services = SERVICES.iter().filter_map(|name| command.find_subcommand(name));
    let args = services.flat_map(Command::get_arguments);
    args.filter_map(|arg| {
        let (section, key) = section_and_key(arg.get_env()?.to_str()?)?;
        Some(Flag { section, key, arg })
    })
    .collect()
}

/// Reads the values of flags. Names of sections that are neither a service nor in `others` are errors.
pub fn read(
    document: &Document<'_>,
    command: &Command,
    others: &[&str],
    errors: &mut Vec<SettingsError>,
) -> Vec<Scalar> {
    let flags = flags(command);
    let mut scalars = Vec::new();
    for (section, at, value) in document.entries() {
        if others.contains(&section) {
            continue;
        }
        let own: Vec<_> = flags.iter().filter(|flag| flag.section == section).collect();
        if errors.len() >= MAX_ERRORS {
            break;
        }
        if own.is_empty() {
            let sections = flags.iter().map(|flag| &*flag.section).chain(others.iter().copied());
            let hint = hint(nearest(section, sections).map(|name| format!("[{name}]")));
            errors.push(document.error(at, format!("there is no section [{section}]{hint}")));
            continue;
        }
        let DeValue::Table(keys) = value.get_ref() else {
            let sentence = format!("{section}: accepted is a section, [{section}]");
            errors.push(document.error(at, sentence));
            continue;
        };
        for (key, value) in keys {
            if errors.len() >= MAX_ERRORS {
                return scalars;
            }
            match scalar(document, &own, section, (key.get_ref(), key.span()), value) {
                Ok(scalar) => scalars.push(scalar),
                Err(error) => errors.push(error),
            }
        }
    }
    scalars
}

fn scalar(
    document: &Document<'_>,
    flags: &[&Flag<'_>],
    section: &str,
    (key, at): (&str, Range<usize>),
    value: &Spanned<DeValue<'_>>,
) -> Result<Scalar, SettingsError> {
    let Some(flag) = flags.iter().find(|flag| flag.key == key) else {
        let near = nearest(key, flags.iter().map(|flag| &*flag.key)).map(str::to_owned);
        let sentence = format!("there is no key {key} in [{section}]{}", hint(near));
        return Err(document.error(at, sentence));
    };
    let wrong = |why: String| {
        document.error(at.clone(), format!("[{section}] {key} = {}: {why}", shown(value.get_ref())))
    };
    let value = plain(flag.arg, value.get_ref()).map_err(wrong)?;
    check(flag.arg, &value).map_err(wrong)?;
    let id = flag.arg.get_id().to_string();
    let key = format!("[{section}] {key}");
    Ok(Scalar { id, key, value, line: document.line(at.clone()) })
}

fn hint(name: Option<String>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// A value as it would be written on the command line.
fn plain(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    match (is_switch(arg), value) {
        (true, DeValue::Boolean(is_on)) => Ok(is_on.to_string()),
        (true, _) => Err("accepted is true or false".to_owned()),
        (false, DeValue::String(text)) => Ok(text.to_string()),
        (false, DeValue::Integer(number)) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix());
            Ok(decimal.map_or_else(|_| number.to_string(), |number| number.to_string()))
        }
        (false, DeValue::Array(items)) if is_list(arg) => {
            let texts = items.iter().map(|item| item.get_ref().as_str());
            let texts = texts.collect::<Option<Vec<_>>>();
            texts.map(|texts| texts.join(",")).ok_or_else(|| "accepted are strings".to_owned())
        }
        (false, _) if is_list(arg) => {
            Err("accepted is a string, or an array of strings".to_owned())
        }
        (false, _) => Err(format!("accepted is {}", form(arg))),
    }
}

/// How the values of a flag are written in TOML.
fn form(arg: &Arg) -> &'static str {
    match value_name(arg) {
        "N" => "a number",
        "SIZE" => "a string such as \"64KiB\"",
        "DURATION" => "a string such as \"500ms\" or \"10s\"",
        _ => "a string",
    }
}

fn value_name(arg: &Arg) -> &str {
    arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str())
}

/// Whether a flag has no value.
fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse)
        || arg.get_num_args() == Some(ValueRange::EMPTY)
}

/// Whether a flag takes a list with commas. Then the name of its value is a plural.
fn is_list(arg: &Arg) -> bool {
    let name = value_name(arg);
    arg.get_value_delimiter().is_some() || (name.ends_with('S') && !name.ends_with("SS"))
}

/// Lets the flag itself read the value.
fn check(arg: &Arg, value: &str) -> Result<(), String> {
    if is_switch(arg) {
        return Ok(());
    }
    if value.contains('\0') {
        return Err("a zero character is not accepted".to_owned());
    }
    let long = arg.get_long().unwrap_or_default();
    // Alone, so that nothing else can be wrong.
    let alone = arg.clone().env(None::<&str>).default_value(None::<&str>).required(false);
    let command = Command::new("file").no_binary_name(true).arg(alone);
    let Err(error) = command.try_get_matches_from([format!("--{long}={value}")]) else {
        return Ok(());
    };
    match error.source() {
        Some(reason) => Err(reason.to_string()),
        None => {
            let values = arg.get_possible_values();
            let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
            Err(match names.is_empty() {
                true => "accepted is another value".to_owned(),
                false => format!("accepted is {}", names.join(", ")),
            })
        }
    }
}

/// A value for an error: the beginning of a string, the kind of anything larger.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if may_hold_secret(text) => NOT_SHOWN.to_owned(),
        DeValue::String(text) => format!("{:?}", text.chars().take(100).collect::<String>()),
        DeValue::Integer(number) => number.to_string().chars().take(100).collect(),
        DeValue::Float(number) => number.to_string().chars().take(100).collect(),
        DeValue::Boolean(is_on) => is_on.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "[..]".to_owned(),
        DeValue::Table(_) => "{..}".to_owned(),
    }
}
