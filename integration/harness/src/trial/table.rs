//! A table of verdicts.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::verdict::Verdict;

/// One scenario.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub verdict: Verdict,
    /// From the end of the fault to when every client got an event that was pushed after it.
    pub recovery: Recovered,
}

/// How long it took until every client got events again.
#[derive(Debug, Clone, Copy)]
pub enum Recovered {
    /// There was no single fault.
    NotAsked,
    Never,
    Within(Duration),
}

/// A markdown table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub rows: Vec<Row>,
}

const COLUMNS: [&str; 13] = [
    "scenario",
    "accepted",
    "unknown",
    "refused",
    "deliveries",
    "lost",
    "duplicated",
    "reordered",
    "strange",
    "unexplained gaps",
    "explained gaps",
    "missed and told",
    "recovery",
];

impl From<Option<Duration>> for Recovered {
    fn from(recovery: Option<Duration>) -> Self {
        recovery.map_or(Self::Never, Self::Within)
    }
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("-"),
            Self::Never => f.write_str("never"),
            Self::Within(duration) => write!(f, "{} ms", duration.as_millis()),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", COLUMNS.join(" | "))?;
        writeln!(f, "| ---{} |", " | ---:".repeat(COLUMNS.len() - 1))?;
        for Row { name, verdict: v, recovery } in &self.rows {
            let numbers = [
                v.accepted,
                v.unknown,
                v.refused,
                v.deliveries,
                v.lost,
                v.duplicated,
                v.reordered,
                v.strange,
                v.unexplained_gaps,
                v.explained_gaps,
                v.missed,
            ];
            let mut cells = String::new();
            for number in numbers {
                write!(cells, " {number} |")?;
            }
            writeln!(f, "| {name} |{cells} {recovery} |")?;
        }
        Ok(())
    }
}
