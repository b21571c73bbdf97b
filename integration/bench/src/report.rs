//! What was measured: the rows of the table and the curves of the plots.

use std::fmt::Write as _;

use serde::Serialize;

use crate::args::Scenario;

/// The results of one benchmark.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub cores: usize,
    pub kernel: String,
    pub runs: usize,
    pub quick: bool,
    pub rows: Vec<Row>,
    pub curves: Vec<Curve>,
}

/// One line of the table: the median of all runs.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub ours: f64,
    pub limit: Option<f64>,
    /// The median of the ratios of ours to the limit in the same run. It is what the gate applies to, if
    /// there is a limit.
    pub ratio: Option<f64>,
    /// The smallest and the largest value, or ratio, of all runs.
    pub range: (f64, f64),
    pub target: Option<Target>,
}

/// What is demanded of a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Target {
    /// What must hold.
    pub gate: f64,
    /// What we want.
    pub goal: f64,
    pub better: Better,
    /// Whether `--check` looks at it.
    pub checked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Less,
    More,
}

/// One plot.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// The name of its file, without `.svg`.
    pub name: &'static str,
    pub title: &'static str,
    pub x: &'static str,
    pub y: &'static str,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Series {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// The value in the middle, or the mean of the two in the middle; 0 if there are no values.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The smallest value that is not exceeded by this part of the values; 0 if there are none.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (part * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The largest deviation from the first value, as a part of it.
pub fn unevenness(values: &[f64]) -> f64 {
    let first = values.first().copied().unwrap_or(1.0);
    values.iter().map(|value| (value / first - 1.0).abs()).fold(0.0, f64::max)
}

impl Row {
    /// A row without a limit.
    pub fn alone(what: impl Into<String>, unit: &'static str, runs: &[f64]) -> Self {
        let ours = median(runs);
        Self {
            what: what.into(),
            unit,
            ours,
            limit: None,
            ratio: None,
            range: range(runs),
            target: None,
        }
    }

    /// A row beside the limit, whose values are of the same runs.
    pub fn beside(
        what: impl Into<String>,
        unit: &'static str,
        ours: &[f64],
        limit: &[f64],
    ) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(limit).map(|(ours, limit)| ours / limit).collect();
        Self {
            limit: Some(median(limit)),
            ratio: Some(median(&ratios)),
            range: range(&ratios),
            ..Self::alone(what, unit, ours)
        }
    }

    /// Sets gate and goal, where less is better.
    pub fn below(self, gate: f64, goal: f64) -> Self {
        self.judged(Target { gate, goal, better: Better::Less, checked: false })
    }

    /// Sets gate and goal, where more is better.
    pub fn above(self, gate: f64, goal: f64) -> Self {
        self.judged(Target { gate, goal, better: Better::More, checked: false })
    }

    /// Makes `--check` look at it.
    pub fn checked(mut self) -> Self {
        if let Some(target) = &mut self.target {
            target.checked = true;
        }
        self
    }

    fn judged(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// What gate and goal apply to.
    pub fn value(&self) -> f64 {
        self.ratio.unwrap_or(self.ours)
    }

    /// Whether its gate and its goal are met.
    pub fn kept(&self) -> Option<(bool, bool)> {
        let Target { gate, goal, better, .. } = self.target?;
        let keeps = |bound| match better {
            Better::Less => self.value() <= bound,
            Better::More => self.value() >= bound,
        };
        Some((keeps(gate), keeps(goal)))
    }

    /// Whether `--check` fails with this factor.
    pub fn fails(&self, factor: f64) -> bool {
        self.target.is_some_and(|t| t.checked && self.value() > t.gate * factor)
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

impl Report {
    /// The table in Markdown.
    pub fn table(&self) -> String {
        let mut lines =
            vec![["", "ours", "limit", "ratio", "range", "gate", "goal", ""].map(String::from)];
        for row in &self.rows {
            let times = |value: f64| match row.ratio {
                Some(_) => format!("{}x", short(value)),
                None => format!("{} {}", short(value), row.unit).trim_end().to_owned(),
            };
            let measured = |value| format!("{} {}", short(value), row.unit).trim_end().to_owned();
            let target = |of: fn(&Target) -> f64| row.target.as_ref().map(|t| times(of(t)));
            let verdict = match row.kept() {
                None => "",
                Some((_, true)) => "goal",
                Some((true, false)) => "gate",
                Some((false, false)) => "**missed**",
            };
            lines.push([
                row.what.clone(),
                measured(row.ours),
                row.limit.map(measured).unwrap_or_default(),
                row.ratio.map(times).unwrap_or_default(),
                match row.range {
                    (least, most) if least == most => String::new(),
                    (least, most) => format!("{}-{}", short(least), short(most)),
                },
                target(|t| t.gate).unwrap_or_default(),
                target(|t| t.goal).unwrap_or_default(),
                verdict.to_owned(),
            ]);
        }
        markdown(&lines)
    }

    /// Whether `--check` looks at any of the rows.
    pub fn is_checked(&self) -> bool {
        self.rows.iter().filter_map(|row| row.target).any(|target| target.checked)
    }

    /// The rows for which `--check` fails with this factor.
    pub fn failing(&self, factor: f64) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.fails(factor)).collect()
    }
}

fn markdown(lines: &[[String; 8]]) -> String {
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let _ = match column {
                0 | 7 => write!(text, "| {cell}{padding} "),
                _ => write!(text, "| {padding}{cell} "),
            };
        }
        text.push_str("|\n");
        if at == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                text.push_str(&if matches!(column, 0 | 7) {
                    format!("|{dashes}-")
                } else {
                    format!("|{dashes}:")
                });
            }
            text.push_str("|\n");
        }
    }
    text
}

/// A number with three significant digits, and with commas between thousands.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// A count with commas between thousands.
pub fn count(count: usize) -> String {
    let text = short(count as f64);
    text.split('.').next().unwrap_or_default().to_owned()
}

/// The name of a scenario on the command line.
pub fn name(scenario: Scenario) -> String {
    let value = clap::ValueEnum::to_possible_value(&scenario).expect("none is hidden");
    value.get_name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_runs_ratios() {
        let row = Row::beside("x", "us", &[10.0, 12.0, 30.0], &[10.0, 8.0, 10.0]).below(1.25, 1.15);
        assert_eq!((row.ours, row.limit, row.ratio), (12.0, Some(10.0), Some(1.5)));
        assert_eq!(row.range, (1.0, 3.0));
        assert_eq!(row.kept(), Some((false, false)));
        assert!(!row.fails(1.0), "nobody checks it");
        assert!(row.clone().checked().fails(1.1));
        assert!(!row.checked().fails(1.3));
    }

    #[test]
    fn more_may_be_better() {
        let row = Row::beside("x", "1/s", &[40.0], &[100.0]).above(0.3, 0.5);
        assert_eq!(row.kept(), Some((true, false)));
    }

    #[test]
    fn medians_percentiles_and_unevenness() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&[7.0], 0.5), 7.0);
        assert!((unevenness(&[10.0, 12.0, 9.0]) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0123, "0.012"),
            (1.234, "1.23"),
            (45.67, "45.7"),
            (123.4, "123"),
            (1_234_567.0, "1,234,567"),
            (0.0, "0.00"),
            (-1500.0, "-1,500"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!([1, 15_000].map(count), ["1", "15,000"]);
    }

    #[test]
    fn the_table_is_aligned() {
        let report = Report {
            rows: vec![Row::beside("CPU", "µs", &[1.0], &[2.0]).below(1.0, 0.4)],
            ..Report::default()
        };
        assert_eq!(
            report.table(),
            "|     |    ours |   limit | ratio | range |  gate |  goal |      |\n\
             |-----|--------:|--------:|------:|------:|------:|------:|------|\n\
             | CPU | 1.00 µs | 2.00 µs | 0.50x |       | 1.00x | 0.40x | gate |\n"
        );
    }
}
