//! Something that is wrong in a settings file.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use campanile_edge::KEY_PREFIX;

/// How many characters of a sentence are shown.
const MAX_CHARS: usize = 1_000;

/// One line that names the file, the line in it, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    file: PathBuf,
    line: Option<usize>,
    sentence: String,
}

impl SettingsError {
    /// An error in a line, which is counted from 1; `None` if it is about the whole file. An empty path
    /// means no file.
    pub fn new(file: &Path, line: Option<usize>, sentence: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, sentence: sentence.into() }
    }

    /// The line, counted from 1.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl std::error::Error for SettingsError {}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}:", self.file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        // What a file holds may be anything, and an error is one line.
        let sentence = without_keys(&self.sentence);
        let mut shown = sentence.chars().map(|c| if c.is_control() { ' ' } else { c });
        f.write_str(&shown.by_ref().take(MAX_CHARS).collect::<String>())?;
        if shown.next().is_some() { f.write_str("..") } else { Ok(()) }
    }
}

/// Returns a sentence without what may be an API key that somebody put into the wrong place.
pub fn without_keys(sentence: &str) -> Cow<'_, str> {
    let mut parts = sentence.split(KEY_PREFIX);
    let mut shown = Cow::Borrowed(parts.next().unwrap_or_default());
    for part in parts {
        let is_of_the_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let rest = part.trim_start_matches(is_of_the_key);
        shown.to_mut().extend([KEY_PREFIX, "..", rest]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_api_key_is_not_shown() {
        for (sentence, shown) in [
            ("no key in it", "no key in it"),
            ("\"cpk_s3-cr_et\": wrong", "\"cpk_..\": wrong"),
            ("cpk_", "cpk_.."),
            ("acpk_cpk_b cpk_c.", "acpk_..cpk_.. cpk_..."),
        ] {
            assert_eq!(SettingsError::new(Path::new(""), None, sentence).to_string(), shown);
        }
    }
}
