//! The documentation names tests, and each of them exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The names of the functions in all Rust files below a folder.
fn functions_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            functions_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            names.extend(functions.map(str::to_owned));
        }
    }
}

/// The attack and the tests of each row of the tables of attacks.
fn rows(text: &str) -> Vec<(&str, Vec<&str>)> {
    let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---"));
    let rows = rows.filter_map(|row| {
        let mut cells = row.trim_matches('|').rsplitn(3, '|');
        let (tests, _outcome, attack) = (cells.next()?, cells.next()?, cells.next()?);
        (attack.trim() != "attack").then(|| {
            let tests = tests.split('`').skip(1).step_by(2).collect();
            (attack.trim(), tests)
        })
    });
    rows.collect()
}

/// What must have a row, by words in its first cell.
const ATTACKS: &[&str] = &[
    "no token",
    "has expired",
    "not valid yet",
    "`alg: none`",
    "HS256 with the RSA public key",
    "unknown `kid`",
    "wrong `aud` or `iss`",
    "a foreign group by URL, by message, with `since`",
    "a group that a renewed token does not allow",
    "another user's events: by their position",
    "cookie of somebody",
    "cookie without an origin",
    "DNS rebinding",
    "<img",
    "a key without the scope",
    "without it or with another one",
    "is replayed",
    "sent back to the side",
    "TLS 1.1 or older",
    "garbage, records",
    "slow-loris",
    "half-open handshakes",
    "connections from one address",
    "expire in the same second",
    "heads, strange paths",
    "a million garbage frames",
];

#[test]
fn every_attack_has_a_row() {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("the attack table");
    let rows = rows(&text);
    for attack in ATTACKS {
        assert!(rows.iter().any(|(cell, _)| cell.contains(attack)), "no row for: {attack}");
    }
}

#[test]
fn every_row_of_the_attack_table_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("the attack table");
    let rows = rows(&text);
    assert!(rows.len() > 40, "{} rows are too few", rows.len());
    let mut known = BTreeSet::new();
    functions_below(root(), &mut known);
    for (attack, tests) in rows {
        assert!(!tests.is_empty(), "no test shows: {attack}");
        for test in tests {
            assert!(known.contains(test), "there is no test {test} for: {attack}");
        }
    }
}
