//! The tables of `docs/metrics.md`, and whether a scrape agrees with one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::scrape::Scrape;

/// A row of a table.
#[derive(Debug)]
struct Row {
    kind: String,
    /// The labels, each with its values if they are listed as words.
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// Asserts that every metric whose name begins with `prefix` is in the table of a section with its type and
/// its labels, and that every row of the table is exposed.
pub fn assert_documented(section: &str, prefix: &str, scrape: &Scrape) {
    let rows = rows(section);
    let names = |names: BTreeSet<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    let exposed = scrape.types.keys().filter(|name| name.starts_with(prefix)).collect();
    assert_eq!(names(exposed), names(rows.keys().collect()), "left: exposed, right: documented");
    for (name, Row { kind, labels }) in &rows {
        assert_eq!(&scrape.types[name], kind, "{name}");
        let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}"));
        let is_of = |sample: &str| sample == name || parts.iter().any(|part| part == sample);
        for sample in scrape.samples.iter().filter(|sample| is_of(&sample.name)) {
            let bound = sample.labels.get("le").map(String::as_str);
            assert!(bound.is_none_or(|bound| bound == "+Inf" || bound.len() < 10), "{sample:?}");
            let shown = sample.labels.iter().filter(|(label, _)| *label != "le");
            let shown: BTreeMap<_, _> = shown.collect();
            assert!(shown.keys().copied().eq(labels.keys()), "{sample:?} is not like {labels:?}");
            for (label, value) in shown {
                let is_listed = labels[label].as_ref().is_none_or(|values| values.contains(value));
                assert!(is_listed, "{name}: {label}={value:?} is not one of {:?}", labels[label]);
            }
        }
    }
}

/// The rows of a section by the names of their metrics.
fn rows(section: &str) -> BTreeMap<String, Row> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let text = std::fs::read_to_string(root.join("docs/metrics.md")).expect("the docs");
    let heading = format!("\n## {section}\n");
    let (_, text) = text.split_once(&heading).expect("a section of this name");
    let text = text.split("\n## ").next().expect("its text");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else { panic!("no row: {line}") };
        assert!(!meaning.is_empty(), "{name} has no meaning");
        let labels = labels.split(';').map(str::trim).filter(|label| !label.is_empty());
        let row = Row { kind: kind.to_owned(), labels: labels.map(label).collect() };
        (name.trim_matches('`').to_owned(), row)
    });
    rows.collect()
}

/// The name of a label and its values, if these are listed: "`role`: gateway, publisher".
fn label(text: &str) -> (String, Option<BTreeSet<String>>) {
    let (name, values) = text.split_once(':').unwrap_or((text, ""));
    let is_word = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let values: BTreeSet<_> = values.split(',').map(|value| value.trim().to_owned()).collect();
    let is_list = values.iter().all(|value| !value.is_empty() && is_word(value));
    (name.trim_matches('`').to_owned(), is_list.then_some(values))
}
