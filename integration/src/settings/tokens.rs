//! `[tokens]`: which tokens of clients are accepted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use campanile_edge::tokens::{
    Algorithm, DEFAULT_AUDIENCE, DEFAULT_LEEWAY, Deny, Expected, Key, KeyError, Keys, MAX_KEYS,
    UnknownAlgorithm, Verifier,
};
use campanile_gateway::Access;
use serde::Deserialize;

use super::{Wrong, guests};
use crate::jwks::JwksUrl;
use crate::secret_file::{self, Shown};
use crate::token_keys::TokenSettings;
use crate::units;

/// The largest file of keys.
const MAX_FILE_BYTES: usize = 1 << 20;

/// The documented example.
pub const EXAMPLE: &str = "\
# Which tokens (JWT) of clients are accepted. If there is a key, every client needs a token, except for
# [guests].
#[tokens]
# Who must have made a token (iss) [default: anybody who has a key]
#issuer = \"https://app.example\"
# For whom a token must be (aud)
#audience = \"campanile\"
# How far the clocks of those who make tokens may differ from ours
#leeway = \"30s\"
# Where a set of keys (JWKS) is fetched from, every 10 minutes: https, or an address of this host [default: none]
#jwks_url = \"https://id.example/.well-known/jwks.json\"
# A file with a set of keys (JWKS) [default: none]
#jwks_file = \"/etc/campanile/jwks.json\"
# The keys, several at once for rotation.
#[[tokens.keys]]
# Its name, by which tokens choose it [default: none]
#kid = \"2027\"
# HS256, HS384, HS512, RS256, PS256, ES256, ES384 or EdDSA [default: everything that the key can be for]
#algorithm = \"HS256\"
# The file with a secret or, as public_key_file, with a public key (PEM)
#secret_file = \"/etc/campanile/token-secret\"
# Tokens that are refused although they are valid, by their own names (jti) and by their users (sub).
#[tokens.deny]
#jti = [\"b1946ac9\"]
#sub = [\"42\"]
";

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// Who must have made a token (`iss`); anybody who has a key, if it is not given.
    pub issuer: Option<String>,
    /// For whom a token must be (`aud`).
    pub audience: Option<String>,
    /// How far the clocks of those who make tokens may differ from ours.
    pub leeway: Option<String>,
    /// Where a set of keys is fetched from (JWKS).
    pub jwks_url: Option<String>,
    /// A file with a set of keys (JWKS).
    pub jwks_file: Option<PathBuf>,
    /// Keys.
    pub keys: Vec<Entry>,
    /// Tokens that are refused although they are valid.
    pub deny: DenySection,
}

/// `[[tokens.keys]]`: one key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entry {
    /// Its name, by which tokens choose it.
    pub kid: Option<String>,
    /// What it is for; everything that it can be for, if it is not given.
    pub algorithm: Option<String>,
    /// The file with a secret, for HS256, HS384 and HS512.
    pub secret_file: Option<PathBuf>,
    /// The file with a public key (PEM), for all other algorithms.
    pub public_key_file: Option<PathBuf>,
}

/// `[tokens.deny]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenySection {
    /// Tokens, by their own names.
    pub jti: Vec<String>,
    /// Users.
    pub sub: Vec<String>,
}

impl Section {
    /// Whom a gateway lets in. `token_keys` is the file that the flag names, and `guests` the section with
    /// that name.
    ///
    /// # Errors
    /// Everything that is wrong. No secret is in it.
    pub fn access(
        &self,
        token_keys: Option<&Path>,
        guests: Option<&guests::Section>,
        max_groups: usize,
    ) -> Result<TokenSettings, Vec<Wrong>> {
        let mut errors = Vec::new();
        let mut keys = Vec::new();
        if let Some(file) = token_keys {
            let wrong = |error| Wrong::Flag(format!("--token-keys {}: {error}", Shown(file)));
            keys.push(from_file(file).map_err(wrong));
        }
        if let Some(file) = &self.jwks_file {
            let wrong = |error: String| Wrong::value("tokens.jwks_file", file, &error);
            keys.push(from_jwks_file(file).map_err(wrong));
        }
        let entries = self.keys.iter().take(MAX_KEYS).enumerate();
        keys.extend(entries.map(|(at, entry)| entry.read(&format!("tokens.keys[{at}]"))));
        let mut all = Vec::new();
        for keys in keys {
            match keys {
                Ok(keys) => all.extend(keys.iter().cloned()),
                Err(error) => errors.push(error),
            }
        }
        let count = all.len() + self.keys.len().saturating_sub(MAX_KEYS);
        let all = Keys::new(all).ok().filter(|_| count <= MAX_KEYS).unwrap_or_else(|| {
            errors.push(Wrong::Key("tokens.keys".to_owned(), KeyError::TooMany(count).to_string()));
            Keys::default()
        });
        let url = self.jwks_url.as_deref().map(str::parse::<JwksUrl>).transpose();
        let url = url.unwrap_or_else(|error| {
            errors.push(Wrong::Key("tokens.jwks_url".to_owned(), error));
            None
        });
        let leeway = self.leeway.as_deref().map_or(Ok(DEFAULT_LEEWAY), units::duration);
        let leeway = leeway.unwrap_or_else(|accepted| {
            let set = self.leeway.as_deref().unwrap_or_default();
            errors.push(Wrong::value("tokens.leeway", &set, &accepted));
            DEFAULT_LEEWAY
        });
        for (list, names) in [("jti", &self.deny.jti), ("sub", &self.deny.sub)] {
            let empty = names.iter().enumerate().filter(|(_, name)| name.is_empty());
            errors.extend(empty.map(|(at, name)| {
                let key = format!("tokens.deny.{list}[{at}]");
                Wrong::value(&key, name, &"a name is empty; accepted is a name, or no entry")
            }));
        }
        let guests = guests.map(guests::Section::rights).transpose().unwrap_or_else(|wrong| {
            errors.extend(wrong);
            None
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let audience = self.audience.clone().unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned());
        let issuer = self.issuer.clone();
        let expected = Expected { issuer, audience, leeway, max_join: max_groups };
        let tokens = (!all.is_empty() || url.is_some()).then(|| Verifier::new(all, expected));
        let ids = self.deny.jti.iter().cloned().collect();
        let deny = Deny { ids, users: self.deny.sub.iter().cloned().collect() };
        let (guests, keys_are_fetched) = (guests.map(Arc::new), url.is_some());
        let awaits_keys = keys_are_fetched;
        let access = Access { tokens, awaits_keys, keys_are_fetched, guests, deny };
        Ok(TokenSettings { access, url })
    }
}

impl Entry {
    /// Reads the key, whose place is `place`.
    fn read(&self, place: &str) -> Result<Keys, Wrong> {
        let algorithm = self.algorithm.as_deref().map(str::parse::<Algorithm>).transpose();
        // The sentence has the value.
        let wrong =
            |error: UnknownAlgorithm| Wrong::Key(format!("{place}.algorithm"), error.to_string());
        let algorithm = algorithm.map_err(wrong)?;
        let id = self.kid.clone();
        if id.as_deref() == Some("") {
            let accepted = "it is empty; accepted is a name, or no kid";
            return Err(Wrong::value(&format!("{place}.kid"), &"", &accepted));
        }
        let (name, file) = match (&self.secret_file, &self.public_key_file) {
            (Some(file), None) => ("secret_file", file),
            (None, Some(file)) => ("public_key_file", file),
            _ => {
                let sentence = "accepted is either secret_file or public_key_file";
                return Err(Wrong::Key(place.to_owned(), sentence.to_owned()));
            }
        };
        let key = secret_file::read(file, MAX_FILE_BYTES).and_then(|content| {
            let key = match name {
                "secret_file" => Key::from_secret(id, algorithm, &content),
                _ => Key::from_pem(id, algorithm, content.expose()),
            };
            key.and_then(|key| Keys::new(vec![key])).map_err(|error| error.to_string())
        });
        let place = format!("{place}.{name}");
        key.map_err(|error| match name {
            "secret_file" => Wrong::value(&place, &Shown(file), &error),
            _ => Wrong::value(&place, file, &error),
        })
    }
}

fn from_file(file: &Path) -> Result<Keys, String> {
    let content = secret_file::read(file, MAX_FILE_BYTES)?;
    let (keys, _) = Keys::from_file(&content).map_err(|error| error.to_string())?;
    Ok(keys)
}

fn from_jwks_file(file: &Path) -> Result<Keys, String> {
    let content = secret_file::read(file, MAX_FILE_BYTES)?;
    let document = std::str::from_utf8(content.expose()).map_err(|_| "it is not UTF-8")?;
    let (keys, _) = Keys::from_jwks(document, true).map_err(|error| error.to_string())?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;
    use crate::settings::Places;

    fn section(text: &str) -> Section {
        toml::from_str(text).expect("a section")
    }

    fn file(text: &str) -> (NamedTempFile, String) {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("it takes the text");
        let path = file.path().display().to_string();
        (file, path)
    }

    fn errors(section: &Section) -> String {
        let wrong = section.access(None, None, 100).expect_err("wrong");
        Places::default().lines(wrong).join("\n")
    }

    #[test]
    fn without_a_key_or_guests_a_gateway_is_open() {
        let access = Section::default().access(None, None, 100).expect("nothing is wrong").access;
        assert!(access.is_open());
        let guests = guests::Section { groups: vec!["public/*".to_owned()] };
        let access = Section::default().access(None, Some(&guests), 100).expect("fine").access;
        assert!(!access.is_open() && access.tokens.is_none());
        assert!(access.guests.expect("guests").of("public/a").subscribe);
    }

    #[test]
    fn keys_of_all_places_count_together() {
        let (_one, secret) = file(&"s".repeat(32));
        let (_two, jwks) =
            file(&format!(r#"{{"keys":[{{"kty":"oct","kid":"c","k":"{}"}}]}}"#, "A".repeat(43)));
        let section = section(&format!(
            "issuer = \"https://a\"\njwks_file = {jwks:?}\n[[keys]]\nkid = \"a\"\n\
             algorithm = \"HS256\"\nsecret_file = {secret:?}\n[deny]\njti = [\"x\"]\n"
        ));
        let access = section.access(Some(Path::new(&secret)), None, 100).expect("valid").access;
        let verifier = access.tokens.expect("keys");
        let ids: Vec<_> = verifier.keys().iter().map(Key::id).collect();
        assert_eq!(ids, [None, Some("c"), Some("a")]);
        assert!(access.deny.ids.contains("x") && access.deny.users.is_empty());
    }

    #[test]
    fn everything_that_is_wrong_is_said_and_nothing_secret() {
        let (_file, short) = file("hunter2\n");
        let section = section(&format!(
            "leeway = \"soon\"\njwks_file = {short:?}\n\
             [[keys]]\nsecret_file = {short:?}\n[[keys]]\nalgorithm = \"none\"\n\
             [[keys]]\n[[keys]]\npublic_key_file = {short:?}\n[deny]\nsub = [\"\"]\n"
        ));
        let said = errors(&section);
        for part in [
            "tokens.leeway: \"soon\": accepted is a duration",
            "tokens.jwks_file: ",
            "not a set of keys (JWKS)",
            "tokens.keys[0].secret_file: ",
            "a secret of 7 bytes is too short for HS256",
            "tokens.keys[1].algorithm: \"none\" is not an algorithm: accepted are HS256",
            "tokens.keys[2]: accepted is either secret_file or public_key_file",
            "tokens.keys[3].public_key_file: ",
            "a PEM must be one public key",
            "tokens.deny.sub[0]: \"\": a name is empty",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        let missing = Section { jwks_file: Some("/nonexistent/keys".into()), ..Section::default() };
        assert!(
            errors(&missing).contains("\"/nonexistent/keys\": it cannot be read: No such file")
        );
        let said = errors(&toml::from_str("[[keys]]\nsecret_file = \"hunter2\"\n").expect("TOML"));
        assert!(
            said.contains("keys[0].secret_file: (not shown, ") && !said.contains("hunter2"),
            "{said}"
        );
        let guests = guests::Section { groups: vec!["a*b".to_owned()] };
        let wrong = Section::default().access(None, Some(&guests), 100).expect_err("wrong");
        let said = Places::default().lines(wrong).concat();
        assert!(said.contains("guests.groups[0]: \"a*b\": a pattern has a *"), "{said}");
        assert!(toml::from_str::<Section>("secret = \"x\"").is_err());
    }
}
