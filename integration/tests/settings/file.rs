//! A settings file of a test.

use std::io::Write as _;

use tempfile::NamedTempFile;

/// A file with this text.
pub fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("it takes the text");
    file
}

/// Its path, for a command line.
pub fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}
