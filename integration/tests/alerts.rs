//! The alerts and the dashboard in `deploy/`: their queries name metrics that exist, and each alert fires
//! on its fault and on nothing else. `promtool` is in Debian's package prometheus.

#[path = "alerts/files.rs"]
mod files;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use campanile_harness::output_of;
use serde_json::json;

use files::{deploy, queries_of_the_dashboard, read};

/// Words of the query language that stand where a metric could.
const WORDS: [&str; 12] = [
    "and",
    "or",
    "unless",
    "by",
    "on",
    "without",
    "ignoring",
    "offset",
    "group_left",
    "group_right",
    "bool",
    "inf",
];

/// Labels that Prometheus itself adds.
const LABELS_OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

/// What docs/metrics.md documents: the names of the series, and those of the labels.
fn documented() -> (BTreeSet<String>, BTreeSet<String>) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let (mut series, mut labels) = (BTreeSet::from(["up".to_owned()]), BTreeSet::new());
    labels.extend(LABELS_OF_PROMETHEUS.map(str::to_owned));
    for row in read(&docs).lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`');
        match cells[2] {
            "histogram" => {
                series.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
            }
            _ => _ = series.insert(name.to_owned()),
        }
        labels.extend(cells[3].split('`').skip(1).step_by(2).map(str::to_owned));
    }
    assert!(series.len() > 50, "the tables are not where they were: {series:?}");
    (series, labels)
}

/// The queries of the alerts, by the name of their alert. A query is one line, or a block after `|`.
fn alerts() -> Vec<(String, String)> {
    let text = read(&deploy("alerts.yml"));
    let alerts = text.split("- alert: ").skip(1).map(|alert| {
        let name = alert.lines().next().expect("a name").to_owned();
        let (_, query) = alert.split_once("expr: ").expect("a query");
        let mut lines = query.lines();
        let first = lines.next().expect("a line");
        // The lines of a block are deeper than the keys of a rule.
        let block = lines.take_while(|line| line.starts_with("          "));
        let query = match first {
            "|" => block.collect::<Vec<_>>().join("\n"),
            query => query.to_owned(),
        };
        (name, query)
    });
    alerts.collect()
}

/// The names in a query that stand for series, and those that stand for labels.
fn names(query: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut series, mut labels) = (Vec::new(), Vec::new());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut rest, mut are_labels, mut previous) = (query, false, "");
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' => rest[1..].find('"').expect("the end of a string") + 2,
            '[' => rest.find(']').expect("the end of a range") + 1,
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        rest = after;
        match c {
            '{' => are_labels = true,
            '(' if ["by", "on", "without", "ignoring"].contains(&previous) => are_labels = true,
            '}' | ')' => are_labels = false,
            c if c.is_ascii_alphabetic() && are_labels => labels.push(word),
            c if c.is_ascii_alphabetic() => {
                let is_function =
                    ["(", " by (", " without ("].iter().any(|next| rest.starts_with(next));
                if !is_function && !WORDS.contains(&word) {
                    series.push(word);
                }
            }
            _ => {}
        }
        if !c.is_whitespace() {
            previous = word;
        }
    }
    (series, labels)
}

#[test]
fn the_names_in_a_query_are_found() {
    let query = "max by (job, le) (rate(a_total{x=\"b\", y=~\"c{\"}[5m])) / on (z) d offset 1d > 14 * 3e2 \
                 or time() - e";
    assert_eq!(names(query), (vec!["a_total", "d", "e"], vec!["job", "le", "x", "y", "z"]));
}

#[test]
fn every_query_names_metrics_and_labels_that_are_documented() {
    let (known, known_labels) = documented();
    let (alerts, queries) = (alerts(), queries_of_the_dashboard("5m"));
    assert!(alerts.len() > 10 && queries.len() > 50, "{} {}", alerts.len(), queries.len());
    for query in alerts.into_iter().map(|(_, query)| query).chain(queries) {
        let (series, labels) = names(&query);
        assert!(!series.is_empty(), "no metric in: {query}");
        for name in series {
            assert!(known.contains(name), "docs/metrics.md has no {name}, which is in: {query}");
        }
        for label in labels {
            assert!(known_labels.contains(label), "no metric has the label {label}: {query}");
        }
    }
}

/// Runs `promtool` in the folder of the alerts.
fn promtool(args: &[&str]) {
    let output = output_of(Command::new("promtool").args(args).current_dir(deploy("")));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
}

#[test]
fn prometheus_understands_every_query() {
    promtool(&["check", "rules", "alerts.yml"]);
    let rules = queries_of_the_dashboard("5m").into_iter().enumerate();
    let rules: Vec<_> = rules
        .map(|(number, expr)| json!({ "record": format!("query_{number}"), "expr": expr }))
        .collect();
    // JSON is YAML.
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&file, rules).expect("it can be written");
    promtool(&["check", "rules", file.path().to_str().expect("UTF-8")]);
}

#[test]
fn each_alert_fires_on_a_recorded_fault_and_not_before_it() {
    promtool(&["test", "rules", "recorded.test.yml"]);
    let recorded = read(&deploy("recorded.test.yml"));
    let (_, faults) = recorded.split_once("\ntests:\n").expect("tests");
    for (alert, _) in alerts() {
        let fires = format!("labels: '{{alertname=\"{alert}\"");
        assert!(faults.contains(&fires), "no fault lets {alert} fire");
    }
    for fault in faults.split("  - name: ").skip(1) {
        let (before, _) = fault.split_once("- eval_time: ").expect("what fires at the end");
        assert!(before.contains("count_over_time"), "it is not quiet before: {fault}");
    }
}

#[test]
fn no_alert_fires_on_a_quiet_cluster() {
    promtool(&["test", "rules", "alerts.test.yml"]);
    let tests = read(&deploy("alerts.test.yml"));
    let (_, quiet) = tests.split_once("- name: a quiet cluster").expect("the quiet cluster");
    let (quiet, _) = quiet.split_once("- name: ").expect("a fault");
    for (alert, query) in alerts() {
        for name in names(&query).0 {
            assert!(
                quiet.contains(&format!("'{name}{{")),
                "the quiet cluster has no {name} of {alert}"
            );
        }
    }
}

#[test]
fn each_alert_says_what_is_wrong_and_what_to_do() {
    let text = read(&deploy("alerts.yml"));
    for alert in text.split("- alert: ").skip(1) {
        for part in ["severity: ", " summary: ", " description: "] {
            assert_eq!(alert.matches(part).count(), 1, "{part}in {alert}");
        }
    }
}
