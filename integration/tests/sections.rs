//! What is wrong in the lists and sections of a settings file, by what `campanile config --check` says.

#[path = "settings/file.rs"]
mod file;

use campanile_harness::{command, output_of};
use tempfile::NamedTempFile;

use file::{file, path};

/// The lines about a file that is wrong.
fn refused(file: &NamedTempFile) -> Vec<String> {
    let output = output_of(&mut command(&["config", "--check", path(file)]));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn an_error_in_a_section_shows_no_value() {
    for text in [
        "[[keys]]\nname = \"a\"\nscopes = \"cpk_SECRET\"\n",
        "[[keys]]\nname = \"a\"\nscopes = []\nburst = \"cpk_SECRET, expected u32 \\\"\"\n",
        "keys = \"cpk_SECRET\"\n",
        "[tokens]\nkeys = [\"cpk_SECRET\"]\n",
        "[tokens]\nissuer = [\"cpk_SECRET\"]\n",
    ] {
        let file = file(text);
        let line = refused(&file).concat();
        assert!(!line.contains("cpk_"), "{line}");
        assert!(line.contains("invalid type: ") && line.contains(", expected "), "{line}");
    }
}

#[test]
fn what_is_found_after_the_file_was_read_has_its_line_too() {
    let hash = "0".repeat(64);
    let key = format!("[[keys]]\nname = \"a\"\nscopes = [\"read\"]\nsha256 = \"{hash}\"\n");
    let (short, no_pem) = (file("hunter2\n"), file("no PEM, hunter2\n"));
    let (short, no_pem) = (path(&short), path(&no_pem));
    for (text, line, key, parts) in [
        (
            "[tokens]\njwks_file = \"/none\"\n".to_owned(),
            2,
            "tokens.jwks_file",
            ["\"/none\"", "accepted is a file"],
        ),
        (
            format!("[tokens]\njwks_file = {short:?}\n"),
            2,
            "tokens.jwks_file",
            [short, "not a set of keys"],
        ),
        (
            "[tokens]\n\nleeway = \"soon\"\n".to_owned(),
            3,
            "tokens.leeway",
            ["\"soon\"", "accepted is a duration"],
        ),
        (
            "[tokens]\njwks_url = \"http://u:hunter2@h/\"\n".to_owned(),
            2,
            "tokens.jwks_url",
            ["a password", "accepted is https"],
        ),
        (
            "[tokens.deny]\nsub = [\n\"a\",\n\"\"]\n".to_owned(),
            4,
            "tokens.deny.sub[1]",
            ["\"\"", "accepted is a name"],
        ),
        (
            format!("[[tokens.keys]]\nkid = \"a\"\nsecret_file = {short:?}\n"),
            3,
            "tokens.keys[0].secret_file",
            [short, "at least 32"],
        ),
        (
            format!("[[tokens.keys]]\npublic_key_file = {no_pem:?}\n"),
            2,
            "tokens.keys[0].public_key_file",
            [no_pem, "must be one public key"],
        ),
        (
            "[[tokens.keys]]\nkid = \"\"\n".to_owned(),
            2,
            "tokens.keys[0].kid",
            ["\"\"", "accepted is a name"],
        ),
        (
            "[[tokens.keys]]\n\nalgorithm = \"none\"\n".to_owned(),
            3,
            "tokens.keys[0].algorithm",
            ["\"none\"", "accepted are HS256"],
        ),
        (
            "\n[[tokens.keys]]\nkid = \"a\"\n".to_owned(),
            2,
            "tokens.keys[0]",
            ["secret_file", "public_key_file"],
        ),
        (
            "[[tokens.keys]]\nsecret_file = \"/etc/none\"\n".to_owned(),
            2,
            "tokens.keys[0].secret_file",
            ["\"/etc/none\"", "accepted is a file"],
        ),
        (
            "[guests]\ngroups = [\"a\",\n\"a*b\"]\n".to_owned(),
            3,
            "guests.groups[1]",
            ["\"a*b\"", "a pattern"],
        ),
        (format!("{key}{key}"), 8, "keys[1].sha256", ["\"a\"", "one key has one entry"]),
        (
            key.replace(&hash, "cpk_hunter2"),
            4,
            "keys[0].sha256",
            ["11 bytes", "64 hexadecimal digits"],
        ),
        (
            key.replace("\"read\"", "\"read\",\n\"cpk_hunter2\""),
            4,
            "keys[0].scopes[1]",
            ["\"cpk_..\"", "a scope is everyone"],
        ),
        (
            key.replace(&format!("sha256 = \"{hash}\""), "secret_file = \"/etc/none\""),
            4,
            "keys[0].secret_file",
            ["\"/etc/none\"", "accepted is a file"],
        ),
        (
            "[[tls.certificates]]\ncert = \"/none\"\nkey = \"/k\"\n".to_owned(),
            2,
            "tls.certificates[0].cert",
            ["\"/none\"", "accepted is a PEM file"],
        ),
        (
            format!("[[tls.certificates]]\ncert = {no_pem:?}\nkey = {no_pem:?}\n"),
            2,
            "tls.certificates[0].cert",
            [no_pem, "accepted is PEM"],
        ),
    ] {
        let settings = file(&text);
        let said = refused(&settings);
        let start = format!("{}:{line}: {key}: ", path(&settings));
        assert_eq!(said.len(), 1, "{text}: {said:#?}");
        assert!(said[0].contains(&start), "{text}: {said:?}");
        assert!(parts.iter().all(|part| said[0].contains(part)), "{text}: {said:?}");
        assert!(!said[0].contains("hunter2"), "{said:?}");
    }
}

#[test]
fn a_key_in_the_place_of_a_file_is_not_shown() {
    for key in ["cpk_only-for-this-test", "only-for-this-test", "/only-for-this-test"] {
        let args = ["gateway", "--listen=127.0.0.1:0", "--token-keys", key];
        let said = String::from_utf8(output_of(&mut command(&args)).stderr).expect("UTF-8");
        let hidden = "--token-keys (not shown, because it may be the secret itself): ";
        assert!(said.contains(hidden) && !said.contains("only-for-this"), "{said}");
    }
}
