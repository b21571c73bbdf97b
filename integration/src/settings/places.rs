//! Where the keys of a file are, for errors that come up after it was read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::SettingsError;

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
