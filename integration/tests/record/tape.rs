//! What the scrapes of one fault have shown, and the test that is made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campanile_harness::Process;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

const RULES: &str = include_str!("../../deploy/alerts.yml");

/// Metrics that are a time of day.
const TIMES: [&str; 2] = ["process_start_time_seconds", "campanile_certificate_expiry_seconds"];

/// One fault.
pub struct Tape {
    name: &'static str,
    notes: Vec<&'static str>,
    every: Duration,
    next: Instant,
    /// What a time of day has less on the tape.
    zero: f64,
    http: reqwest::Client,
    wanted: BTreeSet<&'static str>,
    targets: Vec<(String, SocketAddr)>,
    series: BTreeMap<String, Series>,
    scrapes: usize,
    checks: Vec<Check>,
}

/// The series of one name, with its labels.
#[derive(Default)]
struct Series {
    values: Vec<Option<f64>>,
    /// What the process said last.
    raw: f64,
    /// What was added by repeating the quiet part.
    repeated: f64,
}

/// What fires at one of the scrapes.
struct Check {
    scrape: usize,
    alerts: Vec<String>,
    /// Whether nothing has fired before either.
    is_quiet: bool,
}

impl Tape {
    /// An empty tape.
    pub fn new(name: &'static str, every: Duration) -> Self {
        let words = RULES.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let is_metric =
            |word: &&str| word.starts_with("campanile_") || word.starts_with("process_");
        Self {
            name,
            notes: Vec::new(),
            every,
            next: Instant::now(),
            zero: 0.0,
            // As long as Prometheus waits.
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()
                .expect("a client"),
            wanted: words.filter(is_metric).collect(),
            targets: Vec::new(),
            series: BTreeMap::new(),
            scrapes: 0,
            checks: Vec::new(),
        }
    }

    /// Adds a sentence to the test.
    pub fn note(&mut self, sentence: &'static str) {
        self.notes.push(sentence);
    }

    /// Scrapes this process, in place of another one of the same name.
    pub async fn scrape_from_now(&mut self, instance: &str, process: &Process) {
        let address = process.address("operators are answered").await;
        self.targets.retain(|(other, _)| other != instance);
        self.targets.push((instance.to_owned(), address));
    }

    /// Scrapes all processes so often.
    pub async fn run(&mut self, scrapes: usize) {
        for _ in 0..scrapes {
            self.next = self.next.max(Instant::now());
            sleep_until(self.next).await;
            self.next += self.every;
            self.scrape().await;
        }
    }

    async fn scrape(&mut self) {
        if self.scrapes == 0 {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            self.zero = now.as_secs_f64();
        }
        let answers = self.targets.iter().map(|(instance, address)| {
            let request = self.http.get(format!("http://{address}/metrics"));
            let answer = async { request.send().await?.error_for_status()?.text().await };
            let instance = instance.clone();
            async move { (instance, answer.await.ok()) }
        });
        let answers = join_all(answers).await;
        for (instance, answer) in answers {
            let up = f64::from(u8::from(answer.is_some()));
            self.keep(format!("up{{job=\"campanile\", instance=\"{instance}\"}}"), up);
            for line in answer.iter().flat_map(|text| text.lines()) {
                let (head, value) = line.rsplit_once(' ').unwrap_or((line, ""));
                let (name, labels) = head.split_once('{').unwrap_or((head, "}"));
                if self.wanted.contains(name) {
                    let labels = labels.trim_end_matches('}').replace(',', ", ");
                    let comma = if labels.is_empty() { "" } else { ", " };
                    self.keep(
                        format!(
                            "{name}{{job=\"campanile\", instance=\"{instance}\"{comma}{labels}}}"
                        ),
                        value.parse().expect("a number"),
                    );
                }
            }
        }
        self.scrapes += 1;
        for series in self.series.values_mut() {
            series.values.resize(self.scrapes, None);
        }
    }

    fn keep(&mut self, name: String, raw: f64) {
        let is_time = TIMES.iter().any(|time| name.starts_with(time));
        let series = self.series.entry(name).or_default();
        let last = series.values.iter().rev().find_map(|value| *value);
        let value = match last {
            // It is not moved by what was repeated since.
            Some(last) if is_time && raw == series.raw => last,
            _ if is_time => ((raw - self.zero) * 1e3).round() / 1e3,
            _ => {
                if raw < series.raw {
                    series.repeated = 0.0;
                }
                raw + series.repeated
            }
        };
        series.raw = raw;
        series.values.resize(self.scrapes, None);
        series.values.push(Some(value));
    }

    /// Repeats what the last half of the tape shows, as an average, for so many scrapes.
    pub fn repeat(&mut self, scrapes: usize) {
        let passed = u32::try_from(scrapes).expect("fewer than 2^32");
        self.zero -= (self.every * passed).as_secs_f64();
        for (name, series) in &mut self.series {
            let half = &series.values[series.values.len() / 2..];
            let known: Vec<f64> = half.iter().flatten().copied().collect();
            let (Some(first), Some(last)) = (known.first(), known.last()) else { continue };
            let metric = name.split('{').next().unwrap_or_default();
            let counts = ["_total", "_bucket", "_count", "_sum"];
            let is_counter = counts.iter().any(|end| metric.ends_with(end))
                && !TIMES.contains(&metric)
                && known.len() > 1;
            let each = match is_counter {
                true => ((last - first) / (known.len() - 1) as f64).round(),
                false => 0.0,
            };
            let more = (1..=scrapes).map(|number| Some(last + each * number as f64));
            series.repeated += each * scrapes as f64;
            series.values.extend(more);
        }
        self.scrapes += scrapes;
    }

    /// Scrapes all processes for two minutes, in which nothing fires.
    pub async fn quiet_minutes(&mut self) {
        self.run(8).await;
        self.is_quiet();
    }

    /// Nothing fires now, or has fired yet.
    pub fn is_quiet(&mut self) {
        self.checks.push(Check { scrape: self.scrapes - 1, alerts: Vec::new(), is_quiet: true });
    }

    /// These alerts fire now, for that instance where one is named (`alert instance`), and no other.
    pub fn fires(&mut self, alerts: &[&str]) {
        let mut alerts: Vec<String> = alerts.iter().map(|name| (*name).to_owned()).collect();
        alerts.sort();
        self.checks.push(Check { scrape: self.scrapes - 1, alerts, is_quiet: false });
    }

    /// Whether this is part of a histogram in which nothing was ever counted.
    fn is_empty(&self, name: &str) -> bool {
        let Some((histogram, _)) = name.split_once(", le=") else { return false };
        let all = self.series.get(&format!("{histogram}, le=\"+Inf\"}}"));
        all.is_some_and(|all| all.values.iter().flatten().all(|count| *count == 0.0))
    }

    /// The test, in YAML.
    pub fn into_test(self) -> String {
        let seconds = self.every.as_secs();
        let mut test = format!("  - name: {}\n", self.name);
        for note in &self.notes {
            writeln!(test, "    # {note}").expect("memory");
        }
        writeln!(test, "    interval: {seconds}s\n    input_series:").expect("memory");
        for (name, series) in self.series.iter().filter(|(name, _)| !self.is_empty(name)) {
            let values = encode(&series.values);
            writeln!(test, "      - {{ series: '{name}', values: \"{values}\" }}").expect("memory");
        }
        test.push_str("    promql_expr_test:\n");
        for check in &self.checks {
            let at = check.scrape as u64 * seconds;
            let firing = "ALERTS{alertstate=\"firing\"}";
            if check.is_quiet {
                let query = format!("count_over_time({firing}[{}s])", at + 1);
                writeln!(test, "      - {{ eval_time: {at}s, expr: '{query}', exp_samples: [] }}")
                    .expect("memory");
                continue;
            }
            writeln!(
                test,
                "      - eval_time: {at}s\n        expr: 'group by (alertname, instance) ({firing})'\n        \
                 exp_samples:"
            )
            .expect("memory");
            for alert in &check.alerts {
                let (name, instance) = alert.split_once(' ').unwrap_or((alert, ""));
                let instance = match instance {
                    "" => String::new(),
                    instance => format!(", instance=\"{instance}\""),
                };
                writeln!(
                    test,
                    "          - {{ labels: '{{alertname=\"{name}\"{instance}}}', value: 1 }}"
                )
                .expect("memory");
            }
        }
        test
    }
}

/// Values as promtool reads them: `1x3` is a value and three more, `1+2x3` a value and three more that
/// grow by 2, `_x3` are three that are missing.
fn encode(values: &[Option<f64>]) -> String {
    let mut words = Vec::new();
    let mut rest = values;
    while let Some(first) = rest.first() {
        let length = match first {
            None => rest.iter().take_while(|value| value.is_none()).count(),
            Some(_) => steady(rest),
        };
        match first {
            None if rest.len() < values.len() => {
                words.push("stale".to_owned());
                if length > 1 {
                    words.push(format!("_x{}", length - 1));
                }
            }
            None => words.push(format!("_x{length}")),
            Some(first) => {
                let more = length - 1;
                let step = rest.get(1).copied().flatten().map_or(0.0, |second| second - first);
                words.push(match step {
                    _ if more == 0 => first.to_string(),
                    0.0 => format!("{first}x{more}"),
                    step => format!("{first}{step:+}x{more}"),
                });
            }
        }
        rest = &rest[length..];
    }
    words.join(" ")
}

/// How many values from here on are whole numbers with the same step, if that is worth saying; else 1.
fn steady(values: &[Option<f64>]) -> usize {
    let known: Vec<f64> = values.iter().map_while(|value| *value).collect();
    let [first, second, ..] = known[..] else { return 1 };
    let step = second - first;
    if step != 0.0 && (first.fract() != 0.0 || step.fract() != 0.0) {
        return 1;
    }
    let length = 1 + known.windows(2).take_while(|pair| pair[1] - pair[0] == step).count();
    if length > 2 || step == 0.0 { length } else { 1 }
}
