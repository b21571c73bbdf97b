//! A scrape of a process' listener for operators.

use std::collections::BTreeMap;

use campanile_harness::{Process, eventually, exchange};

/// What a process has shown.
pub struct Scrape {
    /// The type of each metric, by the name that it has in `docs/metrics.md`.
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Scrape {
    /// Reads Prometheus' text format.
    pub fn read(text: &str) -> Self {
        let mut types = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a name and a type");
            let is_bare = kind == "counter" && !name.ends_with("_total");
            let name = if is_bare { format!("{name}_total") } else { name.to_owned() };
            assert!(types.insert(name, kind.to_owned()).is_none(), "twice: {line}");
        }
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self { types, samples: lines.map(sample).collect() }
    }

    /// The number of a gateway with these labels.
    pub fn of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_meant = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|of| of == value)
            };
            sample.name.strip_prefix("campanile_gateway_") == Some(name)
                && sample.labels.len() == labels.len()
                && labels.iter().all(has)
        };
        let found: Vec<_> = self.samples.iter().filter(is_meant).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value
    }

    /// The sum over all labels.
    pub fn sum(&self, name: &str) -> f64 {
        let name = format!("campanile_gateway_{name}");
        let values = self.samples.iter().filter(|sample| sample.name == name);
        values.map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Sample {
    let (head, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = head.split_once('{').unwrap_or((head, "}"));
    let labels = labels.strip_suffix('}').expect("the end of the labels").split(',');
    let labels = labels.filter(|label| !label.is_empty()).map(|label| {
        let (label, value) = label.split_once('=').expect("a label");
        (label.to_owned(), value.trim_matches('"').to_owned())
    });
    let value = value.parse().expect("a number");
    Sample { name: name.to_owned(), labels: labels.collect(), value }
}

/// Scrapes a process that was started with a listener for operators.
pub async fn scrape(process: &Process) -> Scrape {
    let admin = process.address("operators are answered").await;
    let request = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let answer = exchange(admin, request.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    Scrape::read(&answer.body)
}

/// Scrapes until a number of a gateway is exactly this.
pub async fn reaches(process: &Process, name: &str, labels: &[(&str, &str)], value: f64) -> Scrape {
    eventually(&format!("{name} {labels:?} is {value}"), async || {
        let scrape = scrape(process).await;
        let now = scrape.of(name, labels);
        if name.ends_with("_total") {
            assert!(now <= value, "{name} {labels:?} is {now}");
        }
        (now == value).then_some(scrape)
    })
    .await
}
