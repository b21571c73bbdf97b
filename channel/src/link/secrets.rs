//! The secrets by which the members of a cluster know each other. Pure.

use campanile_edge::Secret;

/// The shortest secret, in bytes. `openssl rand -hex 32` makes one of 64.
const MIN_SECRET_BYTES: usize = 16;

/// The longest secret, in bytes.
const MAX_SECRET_BYTES: usize = 1_024;

/// The most secrets at a time: one, and while it is replaced, the next one.
const MAX_SECRETS: usize = 2;

/// The largest text that can hold secrets, in bytes: both of them, with some room for spaces.
pub const MAX_SECRETS_BYTES: usize = 4_096;

/// What services prove to each other: at most two secrets, or none where links are open to everybody.
///
/// The broker proves the first one. A proof by either of them is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<Secret>);

/// Why a text has no secrets. None of these shows any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// There are only spaces in it.
    #[error(
        "it has no secret; accepted are 1 or 2 lines of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
    )]
    Empty,
    /// One of them is too short.
    #[error(
        "line {line} has {len_bytes} bytes; accepted is a secret of at least {MIN_SECRET_BYTES} bytes, \
         such as `openssl rand -hex 32` makes"
    )]
    TooShort {
        /// The number of its line, from 1.
        line: usize,
        /// Its length, without spaces at its ends.
        len_bytes: usize,
    },
    /// One of them is too long.
    #[error(
        "line {line} has {len_bytes} bytes; accepted is a secret of at most {MAX_SECRET_BYTES} bytes"
    )]
    TooLong {
        /// The number of its line, from 1.
        line: usize,
        /// Its length, without spaces at its ends.
        len_bytes: usize,
    },
    /// There are too many.
    #[error(
        "it has more than {MAX_SECRETS} secrets; accepted is one, and a second one on a line of its own \
         while they are exchanged"
    )]
    TooMany,
    /// Both are the same.
    #[error("both of its lines are the same secret; accepted are two different ones, or one")]
    Twice,
}

impl Secrets {
    /// Reads one secret per line. Spaces around it and empty lines do not count.
    ///
    /// # Errors
    /// See [`SecretsError`].
    pub fn read(text: &[u8]) -> Result<Self, SecretsError> {
        let mut secrets = Vec::new();
        for (line, secret) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let secret = secret.trim_ascii();
            match secret.len() {
                0 => continue,
                MIN_SECRET_BYTES..=MAX_SECRET_BYTES => {}
                len_bytes if len_bytes < MIN_SECRET_BYTES => {
                    return Err(SecretsError::TooShort { line, len_bytes });
                }
                len_bytes => return Err(SecretsError::TooLong { line, len_bytes }),
            }
            if secrets.len() == MAX_SECRETS {
                return Err(SecretsError::TooMany);
            }
            secrets.push(Secret::new(secret));
        }
        match &secrets[..] {
            [] => Err(SecretsError::Empty),
            [one, other] if one == other => Err(SecretsError::Twice),
            _ => Ok(Self(secrets)),
        }
    }

    /// The one that is proven first; `None` where links are open to everybody.
    pub fn first(&self) -> Option<&Secret> {
        self.0.first()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const OTHER: &str = "fedcba9876543210";

    #[test]
    fn each_line_is_a_secret() {
        let secrets = |text: &str| {
            let secrets = Secrets::read(text.as_bytes())?;
            Ok(secrets.iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(secrets(ONE), Ok(vec![ONE.into()]));
        assert_eq!(secrets(&format!("\n {ONE} \r\n\n")), Ok(vec![ONE.into()]));
        assert_eq!(secrets(&format!("{OTHER}\n{ONE}\n")), Ok(vec![OTHER.into(), ONE.into()]));
        assert_eq!(secrets(&"x".repeat(1_024)), Ok(vec![vec![b'x'; 1_024]]));
        assert_eq!(secrets(" \r\n\n"), Err(SecretsError::Empty));
        let [line, len_bytes] = [2, 15];
        let short = format!("\n{}", &ONE[1..]);
        assert_eq!(secrets(&short), Err(SecretsError::TooShort { line, len_bytes }));
        let [line, len_bytes] = [1, 1_025];
        let long = "x".repeat(len_bytes);
        assert_eq!(secrets(&long), Err(SecretsError::TooLong { line, len_bytes }));
        assert_eq!(secrets(&format!("{ONE}\n{OTHER}\n{ONE}0")), Err(SecretsError::TooMany));
        assert_eq!(secrets(&format!("{ONE}\n{ONE}")), Err(SecretsError::Twice));
    }

    #[test]
    fn an_error_names_what_is_accepted_and_shows_no_secret() {
        let error = Secrets::read(b"too short").unwrap_err().to_string();
        assert!(error.contains("at least 16 bytes") && !error.contains("too short"), "{error}");
        let secrets = Secrets::read(ONE.as_bytes()).unwrap();
        assert!(!format!("{secrets:?}").contains(ONE));
    }
}
