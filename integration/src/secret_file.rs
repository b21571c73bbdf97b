//! Files that hold one secret.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use campanile_edge::Secret;
use zeroize::Zeroizing;

/// The name of a file that holds a secret, for an error. It is shown if the file is there, or the folder
/// that it should be in: anything else may be the secret itself, given in place of a file.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a Path);

impl Shown<'_> {
    fn is_path(self) -> bool {
        // A secret may begin with a slash, too.
        let mut folders = self.0.parent().into_iter();
        let has_folder = |folder: &Path| folder.parent().is_some() && folder.is_dir();
        self.0 == Path::new("-") || self.0.exists() || folders.any(has_folder)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_path() {
            true => self.0.display().fmt(f),
            false => f.write_str("(not shown, because it may be the secret itself)"),
        }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_path() {
            true => self.0.fmt(f),
            false => fmt::Display::fmt(self, f),
        }
    }
}

/// What an error shows in place of a value that [may hold a secret](may_hold_secret).
pub const NOT_SHOWN: &str = "(not shown, because it may hold a secret)";

/// Whether a wrong value may be a URL with a password or a key in it.
pub fn may_hold_secret(value: &str) -> bool {
    value.contains('@') || value.contains("://") && value.contains(['?', '#'])
}

/// Reads the secret in a file, without the end of its line. `-` is standard input.
///
/// # Errors
/// A sentence, if the file cannot be read, is empty or has more than `max_bytes`. It shows nothing of it.
pub fn read(file: &Path, max_bytes: usize) -> Result<Secret, String> {
    let unreadable = |error: io::Error| {
        format!("it cannot be read: {error}; accepted is a file that this process can read")
    };
    match file.to_str() {
        Some("-") => take(io::stdin().lock(), max_bytes),
        _ => take(File::open(file).map_err(unreadable)?, max_bytes),
    }
    .map_err(unreadable)
    .and_then(|text| {
        let secret = text.strip_suffix(b"\n").unwrap_or(&text);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        match secret.len() {
            0 => Err("it is empty; accepted is a file with one line, the secret".to_owned()),
            len if len > max_bytes => {
                Err(format!("it is too long; accepted are at most {max_bytes} bytes"))
            }
            _ => Ok(Secret::new(secret)),
        }
    })
}

/// Reads `source` up to its end, but little more than `max_bytes` of it: the caller checks the length.
///
/// # Errors
/// The error of `source`.
pub fn take(source: impl io::Read, max_bytes: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // With room for all of it, nothing is left behind in memory by a vector that grows.
    let mut text = Zeroizing::new(Vec::with_capacity(max_bytes + 64));
    source.take(max_bytes as u64 + 3).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read_text(text: &[u8]) -> Result<Secret, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text).expect("it takes the text");
        read(file.path(), 8)
    }

    #[test]
    fn a_secret_is_what_its_line_has() {
        for text in [&b"12345678"[..], b"12345678\n", b"12345678\r\n"] {
            assert_eq!(read_text(text), Ok(Secret::new("12345678")));
        }
        assert_eq!(read_text(b" 1\n2\n\n"), Ok(Secret::new(" 1\n2\n")));
        for text in [&b""[..], b"\n", b"\r\n"] {
            assert!(read_text(text).expect_err("empty").starts_with("it is empty"));
        }
        for text in [&b"123456789"[..], &[b'x'; 1_000]] {
            assert_eq!(read_text(text), Err("it is too long; accepted are at most 8 bytes".into()));
        }
        let error = read(Path::new("/no/key"), 8).expect_err("no file");
        assert!(error.starts_with("it cannot be read: No such file"), "{error}");
    }

    #[test]
    fn a_secret_in_place_of_a_file_is_not_shown() {
        let hidden = "(not shown, because it may be the secret itself)";
        let long = "s".repeat(10_000);
        for secret in ["hunter2", "aGVsbG8/d29ybGQ=", "/aGVsbG8", "/aGVsbG8/d29y", "", &long] {
            let shown = Shown(Path::new(secret));
            assert_eq!((format!("{shown}"), format!("{shown:?}")), (hidden.into(), hidden.into()));
        }
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("not there");
        assert_eq!(format!("{:?}", Shown(&file)), format!("{file:?}"));
        assert_eq!(Shown(Path::new("-")).to_string(), "-");
    }
}
