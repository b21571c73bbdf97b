//! The text of a settings file, as a tree that knows its lines.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::nearest::nearest;
use super::places::Places;
use super::{Settings, SettingsError};

/// How large a settings file may be. Ten thousand keys fit.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file, but not much more than may be in it.
///
/// # Errors
/// If that is impossible.
pub fn read(path: &Path) -> Result<Vec<u8>, SettingsError> {
    let wrong = |sentence: String| SettingsError::new(path, None, sentence);
    let unreadable = |error| wrong(format!("cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(wrong("this is a directory; accepted is a TOML file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The text that a file with these bytes has.
///
/// # Errors
/// If it is too large or not UTF-8.
pub fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, SettingsError> {
    if bytes.len() as u64 > MAX_BYTES {
        let sentence = "this file is too large; accepted are at most 1MiB";
        return Err(SettingsError::new(path, None, sentence));
    }
    str::from_utf8(bytes).map_err(|error| {
        let valid = &bytes[..error.valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        SettingsError::new(path, Some(line), "this is not UTF-8; accepted is a TOML file")
    })
}

/// A file that is well-formed TOML.
pub struct Document<'a> {
    path: &'a Path,
    line_ends: Vec<usize>,
    root: DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Document<'a> {
    /// Parses the text of a file.
    ///
    /// # Errors
    /// If it is not TOML.
    pub fn parse(path: &'a Path, text: &'a str) -> Result<Self, SettingsError> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_ends: Vec<_> = ends.map(|(at, _)| at).collect();
        let root = DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| line_of(&line_ends, span.start));
            // Only the message: the whole error shows the line, which may hold a secret.
            SettingsError::new(path, line, format!("this is not TOML: {}", error.message()))
        })?;
        let span = root.span();
        Ok(Self { path, line_ends, root: root.into_inner(), span })
    }

    /// The names and values at the top.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Range<usize>, &Spanned<DeValue<'a>>)> {
        self.root.iter().map(|(name, value)| (&**name.get_ref(), name.span(), value))
    }

    /// An error about a place in the text.
    pub fn error(&self, at: Range<usize>, sentence: impl Into<String>) -> SettingsError {
        SettingsError::new(self.path, Some(self.line(at)), sentence)
    }

    /// The line of a place, counted from 1.
    pub fn line(&self, at: Range<usize>) -> usize {
        line_of(&self.line_ends, at.start)
    }

    /// The sections of these names.
    pub fn sections(&self, names: &[&str], errors: &mut Vec<SettingsError>) -> Settings {
        let mut all = DeTable::new();
        for (name, value) in &self.root {
            if !names.contains(&&**name.get_ref()) {
                continue;
            }
            // Each on its own first, so that every section tells its error.
            let mut one = DeTable::new();
            one.insert(name.clone(), value.clone());
            match self.deserialize(one) {
                Ok(_) => drop(all.insert(name.clone(), value.clone())),
                Err(error) => errors.push(error),
            }
        }
        self.deserialize(all).unwrap_or_else(|error| {
            errors.push(error);
            Settings::default()
        })
    }

    /// The lines of all keys in these sections, by names such as `keys[1].scopes`.
    pub fn places(&self, names: &[&str]) -> Places {
        let mut lines = BTreeMap::new();
        for (name, value) in &self.root {
            if names.contains(&&**name.get_ref()) {
                lines.insert(name.get_ref().to_string(), self.line(name.span()));
                self.note(name.get_ref(), value.get_ref(), &mut lines);
            }
        }
        Places::new(self.path, lines)
    }

    fn note(&self, inside: &str, value: &DeValue<'_>, lines: &mut BTreeMap<String, usize>) {
        let mut note = |name: String, at: Range<usize>, value: &DeValue<'_>| {
            self.note(&name, value, lines);
            lines.insert(name, self.line(at));
        };
        match value {
            DeValue::Table(table) => table.iter().for_each(|(key, value)| {
                note(format!("{inside}.{}", key.get_ref()), key.span(), value.get_ref());
            }),
            DeValue::Array(array) => array.iter().enumerate().for_each(|(index, item)| {
                note(format!("{inside}[{index}]"), item.span(), item.get_ref());
            }),
            _ => {}
        }
    }

    fn deserialize(&self, table: DeTable<'a>) -> Result<Settings, SettingsError> {
        let deserializer = Deserializer::from(Spanned::new(self.span.clone(), table));
        Settings::deserialize(deserializer).map_err(|error| {
            let at = error.span().unwrap_or_default();
            let mut name = String::new();
            name_of(&self.root, &at, &mut name);
            let hint = suggestion(error.message());
            self.error(at, format!("{name}: {}{hint}", without_value(error.message())))
        })
    }
}

fn line_of(line_ends: &[usize], at: usize) -> usize {
    1 + line_ends.partition_point(|end| *end < at)
}

/// Writes the name of what is at a place, such as `keys[1].scopes`.
fn name_of(table: &DeTable<'_>, at: &Range<usize>, name: &mut String) {
    let holds = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
    for (key, value) in table {
        let is_key = holds(key.span());
        if is_key || holds(value.span()) || holds_inside(value, at) {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(key.get_ref());
            if !is_key {
                name_inside(value.get_ref(), at, name);
            }
            return;
        }
    }
}

fn name_inside(value: &DeValue<'_>, at: &Range<usize>, name: &mut String) {
    match value {
        DeValue::Table(table) => name_of(table, at, name),
        DeValue::Array(array) => {
            let found = array.iter().enumerate().find(|(_, item)| {
                let span = item.span();
                (span.start <= at.start && at.end <= span.end) || holds_inside(item, at)
            });
            if let Some((index, item)) = found {
                name.push_str(&format!("[{index}]"));
                name_inside(item.get_ref(), at, name);
            }
        }
        _ => {}
    }
}

/// Whether a place is in something that a table or an array holds: the span of `[section]` is that of its
/// header only.
fn holds_inside(value: &Spanned<DeValue<'_>>, at: &Range<usize>) -> bool {
    let holds = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
    match value.get_ref() {
        DeValue::Table(table) => table.iter().any(|(key, value)| {
            holds(key.span()) || holds(value.span()) || holds_inside(value, at)
        }),
        DeValue::Array(array) => {
            array.iter().any(|item| holds(item.span()) || holds_inside(item, at))
        }
        _ => false,
    }
}

/// Serde's "invalid type: string "a", expected u32" without the value, which may be a secret in the wrong
/// place.
fn without_value(message: &str) -> Cow<'_, str> {
    let is_about_a_value =
        ["invalid type: ", "invalid value: "].iter().any(|b| message.starts_with(b));
    match (message.find(['"', '`']), message.rfind(", expected ")) {
        (Some(start), Some(end)) if is_about_a_value && start < end => {
            format!("{}{}", message[..start].trim_end(), &message[end..]).into()
        }
        _ => message.into(),
    }
}

/// What to add to serde's "unknown field `a`, expected one of `b`, `c`".
fn suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next().filter(|_| message.starts_with("unknown field"));
    let meant = wrong.and_then(|wrong| nearest(wrong, quoted));
    meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"))
}
