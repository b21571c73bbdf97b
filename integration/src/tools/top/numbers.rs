//! Numbers of a cluster, and how they are shown. Pure.

use serde_json::Value;

/// What is shown where something is not known.
pub const UNKNOWN: &str = "-";

/// A number at a place in a value.
pub fn number(value: &Value, place: &str) -> Option<f64> {
    value.pointer(place)?.as_f64()
}

/// A sum of the numbers in an object, such as those of all close codes.
pub fn sum(value: &Value, place: &str) -> Option<f64> {
    let all = value.pointer(place)?.as_object()?;
    Some(all.values().filter_map(Value::as_f64).sum())
}

/// How much a number has grown per second; `None` if it is not known, or if its process has started anew.
pub fn rate(before: Option<f64>, now: Option<f64>, seconds: f64) -> Option<f64> {
    let grown = now? - before?;
    (seconds > 0.0 && grown >= 0.0).then(|| grown / seconds)
}

/// The bound in seconds below which 99 of 100 lie of what was added to a histogram; `None` if nothing was.
pub fn p99(before: Option<&Value>, now: &Value) -> Option<Bound> {
    let buckets = |value: &Value| -> Option<Vec<(f64, f64)>> {
        let buckets = value.get("buckets")?.as_array()?;
        buckets.iter().map(|pair| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()?))).collect()
    };
    let earlier = before.and_then(&buckets).unwrap_or_default();
    let count = number(now, "/count")? - before.and_then(|it| number(it, "/count")).unwrap_or(0.0);
    if count <= 0.0 {
        return None;
    }
    let buckets = buckets(now)?;
    let found = buckets.iter().enumerate().find(|(index, (_, within))| {
        let before = earlier.get(*index).map_or(0.0, |(_, within)| *within);
        within - before >= count * 0.99
    });
    match found {
        Some((_, (bound, _))) => Some(Bound::Within(*bound)),
        None => buckets.last().map(|(bound, _)| Bound::Beyond(*bound)),
    }
}

/// A bound in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Below it.
    Within(f64),
    /// Above it, and it is the last one.
    Beyond(f64),
}

/// A bound, such as `<5ms`.
pub fn bound(bound: Option<Bound>) -> String {
    match bound {
        None => UNKNOWN.to_owned(),
        Some(Bound::Within(seconds)) => format!("<{}", seconds_short(seconds)),
        Some(Bound::Beyond(seconds)) => format!(">{}", seconds_short(seconds)),
    }
}

fn seconds_short(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0}us", s * 1e6),
        s if s < 1.0 => format!("{}ms", trimmed(s * 1e3)),
        s => format!("{}s", trimmed(s)),
    }
}

/// A number with at most one digit behind the point.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A number of things.
pub fn count(number: Option<f64>) -> String {
    let Some(number) = number else { return UNKNOWN.to_owned() };
    match number {
        n if n < 10.0 => trimmed(n),
        n if n < 100_000.0 => format!("{n:.0}"),
        n if n < 10e6 => format!("{:.0}k", n / 1e3),
        n if n < 10e9 => format!("{:.0}M", n / 1e6),
        n => format!("{:.0}G", n / 1e9),
    }
}

/// A number of bytes.
pub fn bytes(number: Option<f64>) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let Some(mut number) = number else { return UNKNOWN.to_owned() };
    let mut unit = 0;
    while number >= 1_024.0 && unit + 1 < UNITS.len() {
        number /= 1_024.0;
        unit += 1;
    }
    let shown = if unit > 0 && number < 10.0 { trimmed(number) } else { format!("{number:.0}") };
    format!("{shown} {}", UNITS[unit])
}

/// A part of a CPU.
pub fn percent(number: Option<f64>) -> String {
    number.map_or(UNKNOWN.to_owned(), |number| format!("{:.0}%", number * 100.0))
}

/// How long something lasts.
pub fn duration(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return UNKNOWN.to_owned() };
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{}s", trimmed(seconds)),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_short() {
        let counts = [0.0, 1.5, 9.0, 1_234.4, 123_456.0, 2.5e7].map(|n| count(Some(n)));
        assert_eq!(counts, ["0", "1.5", "9", "1234", "123k", "25M"]);
        let sizes = [0.0, 1_023.0, 1_536.0, 64.0 * 1_048_576.0].map(|n| bytes(Some(n)));
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "64 MiB"]);
        let times = [0.26, 59.0, 61.0, 3_661.0, 90_000.0].map(|n| duration(Some(n)));
        assert_eq!(times, ["0.3s", "59s", "1m01s", "1h01m", "1d01h"]);
        assert_eq!([count(None), bytes(None), percent(None), duration(None)], [UNKNOWN; 4]);
    }

    #[test]
    fn a_rate_is_not_known_across_a_restart() {
        assert_eq!(rate(Some(10.0), Some(30.0), 2.0), Some(10.0));
        assert_eq!(rate(Some(10.0), Some(3.0), 2.0), None);
        assert_eq!(rate(None, Some(3.0), 2.0), None);
        assert_eq!(rate(Some(1.0), Some(1.0), 0.0), None);
    }

    #[test]
    fn a_bound_is_that_of_what_was_added() {
        let before = json!({ "buckets": [[0.001, 100], [0.01, 100]], "count": 100 });
        let now = json!({ "buckets": [[0.001, 100], [0.01, 199]], "count": 200 });
        assert_eq!(bound(p99(Some(&before), &now)), "<10ms");
        assert_eq!(p99(Some(&now), &now), None);
        let beyond = json!({ "buckets": [[0.0001, 0], [2.5, 0]], "count": 5 });
        assert_eq!(bound(p99(None, &beyond)), ">2.5s");
        assert_eq!(p99(None, &json!({ "count": 1, "buckets": "no" })), None);
    }
}
