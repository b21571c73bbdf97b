//! Where the secrets are that a flag or a variable names.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use campanile_channel::{MAX_SECRETS_BYTES, Secrets};
use zeroize::Zeroizing;

use crate::secret_file::{self, Shown};

/// Where a service gets the cluster's secret from.
#[derive(Debug, Clone)]
pub struct ClusterSecret {
    /// The file, as `--secret-file` says.
    pub file: Option<PathBuf>,
    /// The variable that can have the secret itself, `CAMPANILE_<SERVICE>_SECRET`.
    pub variable: &'static str,
}

impl ClusterSecret {
    /// Reads it. There are no secrets if neither the file nor the variable is given.
    ///
    /// # Errors
    /// A sentence that names flag and file, or the variable, and nothing of what is in it.
    pub fn read(&self) -> Result<Secrets, String> {
        let variable = self.variable;
        let value = std::env::var_os(variable).filter(|value| !value.is_empty());
        let value = value.map(|value| Zeroizing::new(value.into_encoded_bytes()));
        match (&self.file, value) {
            (None, None) => Ok(Secrets::default()),
            (Some(file), Some(_)) => Err(format!(
                "--secret-file {} and {variable} are both given; accepted is one of them",
                Shown(file)
            )),
            (None, Some(value)) => {
                Secrets::read(&value).map_err(|error| format!("{variable}: {error}"))
            }
            (Some(file), None) => {
                let named = |error: &dyn ToString| {
                    format!("--secret-file {}: {}", Shown(file), error.to_string())
                };
                let text = contents(file).map_err(|error| named(&error))?;
                Secrets::read(&text).map_err(|error| named(&error))
            }
        }
    }
}

fn contents(file: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let text = secret_file::take(File::open(file)?, MAX_SECRETS_BYTES)?;
    match text.len() {
        ..=MAX_SECRETS_BYTES => Ok(text),
        _ => Err(io::Error::other(format!(
            "it has more than {MAX_SECRETS_BYTES} bytes; accepted is a file with one secret, or two"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(text: &[u8]) -> Result<Secrets, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text).expect("it takes the text");
        let file = Some(file.path().to_owned());
        ClusterSecret { file, variable: "CAMPANILE_TEST_SECRET" }.read()
    }

    #[test]
    fn a_file_has_one_secret_or_two() {
        let none = ClusterSecret { file: None, variable: "CAMPANILE_TEST_SECRET" };
        assert!(none.read().expect("nothing is wrong").is_empty());
        let len = |text: &[u8]| read(text).map(|secrets| secrets.iter().count());
        assert_eq!(len(b"a secret of the tests\n"), Ok(1));
        assert_eq!(len(b"a secret of the tests\nand another of them \n"), Ok(2));
        assert!(len(b"").expect_err("empty").contains("it has no secret"));
    }

    #[test]
    fn an_error_names_the_file_and_shows_nothing_of_it() {
        let error = read(b"hunter2").expect_err("too short");
        assert!(error.starts_with("--secret-file /"), "{error}");
        assert!(error.contains("at least 16 bytes") && !error.contains("hunter2"), "{error}");
        let error = read(&[b'x'; MAX_SECRETS_BYTES + 1]).expect_err("too long");
        assert!(error.contains("more than 4096 bytes"), "{error}");
        let file = |name: &str| ClusterSecret {
            file: Some(name.into()),
            variable: "CAMPANILE_TEST_SECRET",
        };
        let error = file("/etc/no-secret").read().expect_err("not there");
        assert!(error.contains("--secret-file /etc/no-secret: No such file"), "{error}");
        let error = file("hunter2hunter2hunter2").read().expect_err("no file");
        assert!(
            error.contains("--secret-file (not shown, ") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
