//! `[[keys]]`: the API keys of those who push.

use std::path::{Path, PathBuf};

use campanile_edge::rights::{KeyRights, Scope};
use campanile_edge::{ApiKey, KeyHash, Keys, MAX_KEY_BYTES, Rate, Secret};
use serde::Deserialize;

use super::Wrong;
use crate::secret_file::{self, Shown};

/// The documented example.
pub const EXAMPLE: &str = "\
# The API keys of those who push, several at once for rotation. If there is one, every push needs a key.
# `campanile key make` makes a key and its entry.
#[[keys]]
# What the log calls it; two keys may have the same name.
#name = \"shop\"
# The SHA-256 of the key in hexadecimal, or secret_file, a file that holds the key.
#sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"
# What it allows: everyone, group:PATTERN, user:PATTERN, connection, read, manage. A pattern is a name, or
# the beginning of names and a *.
#scopes = [\"everyone\", \"group:chat/*\", \"read\"]
# How many pushes it allows per second; 0 means no limit [default: max_pushes_per_second of the publisher]
#per_second = 100
# How many pushes it allows at once, after a pause [default: per_second]
#burst = 500
";

/// The most characters of a name.
const MAX_NAME_CHARS: usize = 64;

/// One key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What the log calls it.
    pub name: String,
    /// Its SHA-256 in hexadecimal.
    pub sha256: Option<String>,
    /// The file that holds it.
    pub secret_file: Option<PathBuf>,
    /// What it allows.
    pub scopes: Vec<String>,
    /// How many pushes it allows in a second; 0 for any number.
    pub per_second: Option<u32>,
    /// How many pushes it allows at once.
    pub burst: Option<u32>,
}

/// Checks the name of a key.
///
/// # Errors
/// A sentence.
pub fn check_name(name: &str) -> Result<(), String> {
    match name.chars().count() {
        1..=MAX_NAME_CHARS if !name.contains(char::is_control) => Ok(()),
        _ => Err(format!(
            "{name:?}: accepted are 1 to {MAX_NAME_CHARS} characters without control characters"
        )),
    }
}

/// Reads the key in a file.
///
/// # Errors
/// A sentence that shows nothing of it.
pub fn read_file(file: &Path) -> Result<Secret, String> {
    secret_file::read(file, MAX_KEY_BYTES)
}

/// Makes the keys of a publisher, and reads their files. A key without a rate of its own may push
/// `per_second` times a second; 0 for any number.
///
/// # Errors
/// Everything that is wrong.
pub fn keys(entries: &[Entry], per_second: u32) -> Result<Keys, Vec<Wrong>> {
    let mut errors = Vec::new();
    let mut keys = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match entry.key(per_second) {
            Ok(key) => keys.push(key),
            Err((field, sentence)) => {
                errors.push(Wrong::Key(format!("keys[{at}].{field}"), sentence));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Keys::new(keys).map_err(|error| {
        let source = |entry: &Entry| match entry.sha256 {
            Some(_) => "sha256",
            None => "secret_file",
        };
        let field = entries.get(error.index).map_or("sha256", source);
        vec![Wrong::Key(format!("keys[{}].{field}", error.index), error.to_string())]
    })
}

impl Entry {
    /// The key, or the field that is wrong with a sentence.
    fn key(&self, per_second: u32) -> Result<ApiKey, (String, String)> {
        let wrong = |field: &str, sentence: String| (field.to_owned(), sentence);
        check_name(&self.name).map_err(|error| wrong("name", error))?;
        let hash = self.hash().map_err(|(field, sentence)| wrong(field, sentence))?;
        let scopes = self.scopes.iter().enumerate().map(|(at, scope)| {
            let named = |error| (format!("scopes[{at}]"), format!("{error}"));
            scope.parse::<Scope>().map_err(named)
        });
        let scopes: Vec<_> = scopes.collect::<Result<_, _>>()?;
        if scopes.is_empty() {
            let sentence = "[]: a key without a scope allows nothing; accepted is at least one of \
                            everyone, group:PATTERN, user:PATTERN, connection, read, manage";
            return Err(wrong("scopes", sentence.to_owned()));
        }
        let per_second = self.per_second.unwrap_or(per_second);
        let rate = match (per_second, self.burst) {
            (0, None) => None,
            (0, Some(burst)) => {
                let sentence = format!("{burst}: a burst needs a rate, which is per_second");
                return Err(wrong("burst", sentence));
            }
            (_, Some(0)) => {
                return Err(wrong("burst", "0: accepted is a number from 1 on".to_owned()));
            }
            (per_second, burst) => Some(Rate::new(per_second, burst.unwrap_or(per_second))),
        };
        Ok(ApiKey::new(hash, KeyRights { name: self.name.clone(), scopes }, rate))
    }

    fn hash(&self) -> Result<KeyHash, (&'static str, String)> {
        match (&self.sha256, &self.secret_file) {
            (Some(hash), None) => hash.parse().map_err(|error| ("sha256", format!("{error}"))),
            (None, Some(file)) => match read_file(file) {
                Ok(key) => Ok(KeyHash::of(&key)),
                Err(error) => Err(("secret_file", format!("{:?}: {error}", Shown(file)))),
            },
            (Some(_), Some(_)) => {
                Err(("secret_file", "it excludes sha256: give one of them".to_owned()))
            }
            (None, None) => {
                let sentence =
                    "it is missing: give it, or secret_file; campanile key make makes a key";
                Err(("sha256", sentence.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Those in a text, or the place of what is wrong and the sentence about it.
    fn read(toml: &str) -> Result<Keys, Vec<(String, String)>> {
        let table: toml::Table = toml.parse().expect("TOML");
        let entries: Vec<Entry> = table["keys"].clone().try_into().expect("keys");
        keys(&entries, 7).map_err(|wrong| {
            let pair = |wrong| match wrong {
                Wrong::Key(key, sentence) => (key, sentence),
                Wrong::Flag(sentence) => (String::new(), sentence),
            };
            wrong.into_iter().map(pair).collect()
        })
    }

    fn hash(key: &str) -> String {
        KeyHash::of(&Secret::new(key)).to_string()
    }

    #[test]
    fn a_key_comes_by_its_hash_or_from_its_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"cpk_b\n").expect("it takes the text");
        let keys = read(&format!(
            "[[keys]]\nname = 'a'\nsha256 = '{}'\nscopes = ['everyone']\nper_second = 0\n\
             [[keys]]\nname = 'b'\nsecret_file = {:?}\nscopes = ['group:chat/*', 'read']\nburst = 9\n\
             [[keys]]\nname = 'a'\nsha256 = '{}'\nscopes = ['manage']\nper_second = 3\n",
            hash("cpk_a"),
            file.path(),
            hash("cpk_c"),
        ));
        let keys = keys.expect("valid");
        let [a, b, c] = ["cpk_a", "cpk_b", "cpk_c"].map(|key| keys.find(key.as_bytes()));
        let (a, b, c) = (a.expect("known"), b.expect("known"), c.expect("known"));
        assert_eq!(
            b.rights().scopes,
            ["group:chat/*", "read"].map(|s| s.parse().expect("a scope"))
        );
        assert_eq!((&*a.rights().name, &*c.rights().name), ("a", "a"));
        assert!(a.meter().is_none());
        let rates = [b, c].map(|key| key.meter().expect("a rate").rate());
        assert_eq!(rates, [Rate::new(7, 9), Rate::new(3, 3)]);
    }

    #[test]
    fn everything_that_is_wrong_is_named_and_no_secret_is_shown() {
        let good = hash("cpk_a");
        for (fields, place, said) in [
            ("sha256 = 'cpk_a'\nscopes = ['read']", "keys[0].sha256", "64 hexadecimal digits"),
            ("scopes = ['read']", "keys[0].sha256", "it is missing: give it, or secret_file"),
            (
                "sha256 = 'H'\nsecret_file = 'f'\nscopes = ['read']",
                "keys[0].secret_file",
                "excludes",
            ),
            (
                "secret_file = '/etc/no-key'\nscopes = ['read']",
                "keys[0].secret_file",
                "\"/etc/no-key\": it cannot be read",
            ),
            (
                "secret_file = 'cpk_b'\nscopes = ['read']",
                "keys[0].secret_file",
                "(not shown, because it may be the secret itself): it cannot be read",
            ),
            ("sha256 = 'H'\nscopes = []", "keys[0].scopes", "accepted is at least one of everyone"),
            ("sha256 = 'H'\nscopes = ['all']", "keys[0].scopes[0]", "there is no scope \"all\""),
            ("sha256 = 'H'\nscopes = ['group:']", "keys[0].scopes[0]", "a pattern is empty"),
            ("sha256 = 'H'\nscopes = ['read']\nburst = 0", "keys[0].burst", "from 1 on"),
            (
                "sha256 = 'H'\nscopes = ['read']\nper_second = 0\nburst = 5",
                "keys[0].burst",
                "a rate",
            ),
        ] {
            let toml =
                format!("[[keys]]\nname = 'a'\n{}\n", fields.replace("'H'", &format!("'{good}'")));
            let wrong = read(&toml).expect_err(fields);
            assert_eq!((wrong.len(), &*wrong[0].0), (1, place), "{wrong:?}");
            assert!(wrong[0].1.contains(said) && !wrong[0].1.contains("cpk_a"), "{wrong:?}");
        }
        let entry = |name: &str| {
            format!("[[keys]]\nname = {name:?}\nsha256 = '{good}'\nscopes = ['read']\n")
        };
        let twice = read(&(entry("a") + &entry("b"))).expect_err("one key");
        assert_eq!(twice[0].0, "keys[1].sha256");
        assert!(twice[0].1.contains("\"a\" and \"b\" are the same key"), "{twice:?}");
        let unnamed = read(&(entry("") + &entry("b"))).expect_err("no name");
        assert!(unnamed[0].1.contains("1 to 64 characters"), "{unnamed:?}");
    }
}
