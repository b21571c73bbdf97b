//! What somebody writes into the settings file: any bytes end in settings, or in a few short lines that name
//! the file and show no secret.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

/// Looks like no API key, so that nothing but the reader of its setting can keep it out of a line.
const SECRET: &str = "Zq7-hunter2-Zq7";

/// Settings with a secret, in its place or in a wrong one; whatever follows belongs to the same section.
const BEGINNINGS: [&str; 4] = [
    "[[keys]]\nname = 'a'\nscopes = ['read']\nsha256 = 'Zq7-hunter2-Zq7'\n",
    "[tokens]\njwks_url = 'https://u:Zq7-hunter2-Zq7@h/'\n",
    "[tokens]\njwks_url = 'h://h/?Zq7-hunter2-Zq7'\n",
    "[[keys]]\nsecret = 'Zq7-hunter2-Zq7'\n",
];

fuzz_target!(|data: &[u8]| {
    check(data);
    if !data.windows(3).any(|part| part == b"Zq7") {
        for beginning in BEGINNINGS {
            check(&[beginning.as_bytes(), data].concat());
        }
        for section in ["[gateway]\n", "[tokens]\n", "[[tokens.keys]]\n"] {
            check(&[section.as_bytes(), data].concat());
        }
    }
});

fn check(bytes: &[u8]) {
    let wrong = campanile::wrong_settings(Path::new("s.toml"), bytes);
    // A hundred for the file, or for each of its sections and services.
    assert!(wrong.len() <= 500, "{} lines", wrong.len());
    let text = String::from_utf8_lossy(bytes);
    for line in &wrong {
        assert!(line.len() < 8_000 && !line.contains(['\n', '\0']), "{line:?}");
        assert!(!line.contains(SECRET), "{line}");
        let mut keys = line.match_indices("cpk_").map(|(at, prefix)| &line[at + prefix.len()..]);
        assert!(keys.all(|rest| rest.starts_with("..")), "{line}");
        let place = line.strip_prefix("s.toml:").and_then(|rest| rest.split(':').next());
        let number = place.and_then(|number| number.parse::<usize>().ok());
        assert!(number.is_none_or(|n| (1..=1 + text.matches('\n').count()).contains(&n)), "{line}");
        assert!(line.contains("s.toml"), "{line}");
    }
}
