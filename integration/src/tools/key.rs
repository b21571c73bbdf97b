//! `campanile key`: makes API keys, and hashes those that were made elsewhere.

#![expect(clippy::print_stdout, reason = "a tool prints what it was asked for")]

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use campanile_edge::{KeyHash, Secret, new_key};

use crate::cli::{HashArgs, KeyCommand, MakeArgs};
use crate::logging::last_line;
use crate::secret_file::Shown;
use crate::settings::keys::read_file;

/// Makes or hashes a key.
pub fn run(command: &KeyCommand) -> ExitCode {
    let done = match command {
        KeyCommand::Make(args) => make(args),
        KeyCommand::Hash(args) => hash(args),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(sentence) => {
            last_line(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

fn make(args: &MakeArgs) -> Result<String, String> {
    let key = new_key(rand::random());
    let entry = entry(args, KeyHash::of(&key));
    match &args.key_file {
        Some(file) => {
            keep(&key, file).map_err(|error| {
                format!(
                    "--key-file {}: {error}; accepted is a file that does not exist yet",
                    file.display()
                )
            })?;
            Ok(entry)
        }
        None => {
            let shown = str::from_utf8(key.expose()).expect("a key is made of ASCII letters");
            Ok(format!(
                "The key, which is not shown again:\n\n{shown}\n\nIts entry in the settings file of the \
                 publishers:\n\n{entry}"
            ))
        }
    }
}

/// Writes a key into a new file that only its owner may read.
fn keep(key: &Secret, file: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(key.expose())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// The entry of a key in TOML.
fn entry(args: &MakeArgs, hash: KeyHash) -> String {
    let scopes: Vec<_> = args.scope.iter().map(|scope| quoted(&scope.to_string())).collect();
    let mut entry = format!(
        "[[keys]]\nname = {}\nsha256 = \"{hash}\"\nscopes = [{}]\n",
        quoted(&args.name),
        scopes.join(", ")
    );
    for (name, value) in [("per_second", args.per_second), ("burst", args.burst)] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(entry, "{name} = {value}");
        }
    }
    entry
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(char));
            }
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

fn hash(args: &HashArgs) -> Result<String, String> {
    let key =
        read_file(&args.file).map_err(|error| format!("--file {}: {error}", Shown(&args.file)))?;
    Ok(format!("{}\n", KeyHash::of(&key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::keys::Entry;

    #[test]
    fn an_entry_is_read_as_it_was_meant() {
        let args = MakeArgs {
            name: "the \"shop\" \\ at \u{1f514}".to_owned(),
            scope: ["everyone", "group:a\"b/*"].map(|scope| scope.parse().expect("a scope")).into(),
            per_second: Some(10),
            burst: None,
            key_file: None,
        };
        let text = entry(&args, KeyHash::of(&Secret::new("abc")));
        let table: toml::Table = text.parse().expect("TOML");
        let read: Vec<Entry> = table["keys"].clone().try_into().expect("a list of keys");
        assert_eq!((&*read[0].name, read[0].per_second), (&*args.name, Some(10)));
        assert_eq!(read[0].scopes, ["everyone", "group:a\"b/*"]);
        assert!(read[0].sha256.as_deref().expect("a hash").starts_with("ba7816bf"));
    }

    #[test]
    fn a_made_key_belongs_to_the_entry_that_is_printed_with_it() {
        let folder = tempfile::TempDir::new().expect("a directory");
        let file = folder.path().join("key");
        let args = MakeArgs {
            name: "shop".to_owned(),
            scope: vec![],
            per_second: None,
            burst: None,
            key_file: Some(file.clone()),
        };
        let entry = make(&args).expect("made");
        let hashed = hash(&HashArgs { file }).expect("hashed");
        assert!(entry.contains(hashed.trim_end()), "{entry}");
        assert!(!entry.contains("cpk_"), "the key is in its file only: {entry}");
        let again = make(&args).expect_err("the file exists");
        assert!(again.contains("accepted is a file that does not exist yet"), "{again}");
        // As is easily done: the key in place of its file.
        let mistaken = hash(&HashArgs { file: "cpk_fake".into() }).expect_err("no such file");
        assert!(mistaken.contains("--file") && !mistaken.contains("cpk_fake"), "{mistaken}");
        let shown = make(&MakeArgs { key_file: None, ..args }).expect("made");
        let key = shown.lines().find(|line| line.starts_with("cpk_")).expect("a key");
        assert!(shown.contains(&KeyHash::of(&Secret::new(key)).to_string()), "{shown}");
    }
}
