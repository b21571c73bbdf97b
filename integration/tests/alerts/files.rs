//! The files in `deploy/`, and the queries of the dashboard among them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The path of a file in `deploy/`.
pub fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// The content of a file.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The queries of the dashboard, as Grafana would send them with rates over `interval`.
pub fn queries_of_the_dashboard(interval: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(&deploy("dashboard.json"))).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| {
        let query = target["expr"].as_str().expect("a query");
        query.replace("$__rate_interval", interval).replace("$job", "campanile")
    });
    queries.collect()
}
