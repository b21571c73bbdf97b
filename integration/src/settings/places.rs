//! Where the keys of a file are, for errors that come up after it was read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{MAX_ERRORS, SettingsError};

/// Something that was found to be wrong after the file was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// A key such as `keys[1].scopes`, and a sentence that begins with its value, unless that is a secret.
    Key(String, String),
    /// A sentence that names the flag that it is about.
    Flag(String),
}

impl Wrong {
    /// Something about a key that has this value.
    pub fn value(key: &str, value: &dyn fmt::Debug, sentence: &dyn fmt::Display) -> Self {
        Self::Key(key.to_owned(), format!("{value:?}: {sentence}"))
    }
}

/// The lines of all keys that are no flags.
#[derive(Debug, Clone, Default)]
pub struct Places {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// The places in a file.
    pub fn new(file: &Path, lines: BTreeMap<String, usize>) -> Self {
        Self { file: file.to_owned(), lines }
    }

    /// An error about a key such as `keys[1].secret_file`. If the file does not have that, its line is
    /// the one of what it would be in.
    pub fn error(&self, key: &str, sentence: &str) -> SettingsError {
        let mut place = key;
        let line = loop {
            if let Some(line) = self.lines.get(place) {
                break Some(*line);
            }
            match place.rfind(['.', '[']) {
                Some(end) => place = &place[..end],
                None => break None,
            }
        };
        SettingsError::new(&self.file, line, format!("{key}: {sentence}"))
    }

    /// A line for each, with its place, but not more than a person reads.
    pub fn lines(&self, wrong: Vec<Wrong>) -> Vec<String> {
        let line = |wrong: Wrong| match wrong {
            Wrong::Key(key, sentence) => self.error(&key, &sentence).to_string(),
            Wrong::Flag(sentence) => sentence,
        };
        wrong.into_iter().take(MAX_ERRORS).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_line_of_its_key_or_of_what_it_would_be_in() {
        let lines = [("keys", 3), ("keys[1]", 7), ("keys[1].name", 8)];
        let lines = lines.map(|(key, line)| (key.to_owned(), line));
        let places = Places::new(Path::new("c.toml"), lines.into());
        for (key, line) in [
            ("keys[1].name", Some(8)),
            ("keys[1].sha256", Some(7)),
            ("keys[0].sha256", Some(3)),
            ("tokens.issuer", None),
        ] {
            assert_eq!(places.error(key, "wrong").line(), line, "{key}");
        }
        assert_eq!(
            places.error("keys[1].name", "wrong").to_string(),
            "c.toml:8: keys[1].name: wrong"
        );
        let without_a_file = Places::default().error("log.level", "wrong");
        assert_eq!(without_a_file.to_string(), "log.level: wrong");
    }
}
