//! The picture of a cluster, as text. Pure.

use serde_json::Value;

use super::numbers::{UNKNOWN, bound, bytes, count, duration, number, p99, percent, rate, sum};
use super::source::Seen;
use super::table::{Table, cut};
use crate::remote::{ServerUrl, printable};

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// How many refused pushes are shown at most.
const REFUSED_ROWS: usize = 10;

/// A process now and at the look before, which was this many seconds ago.
#[derive(Clone, Copy)]
struct Process<'a> {
    now: &'a Value,
    before: Option<&'a Value>,
    seconds: f64,
}

impl Process<'_> {
    fn rate(self, place: &str) -> Option<f64> {
        rate(self.before.and_then(|it| number(it, place)), number(self.now, place), self.seconds)
    }

    fn rate_of_sum(self, place: &str) -> Option<f64> {
        rate(self.before.and_then(|it| sum(it, place)), sum(self.now, place), self.seconds)
    }

    /// What 99 of 100 took no longer than, lately.
    fn p99(self, place: &str) -> String {
        let histogram = |value: &'_ Value| value.get(place).cloned();
        let (before, now) = (self.before.and_then(histogram), histogram(self.now));
        bound(now.and_then(|now| p99(before.as_ref(), &now)))
    }

    fn machine(self) -> [String; 2] {
        let cpu = self.rate("/cpu_seconds");
        [percent(cpu), bytes(number(self.now, "/memory_bytes"))]
    }

    /// Its name, its address, and how it is.
    fn who(self) -> [String; 4] {
        let state = match (&self.now["asked"], self.now["hindrance"].as_str()) {
            (Value::Bool(false), _) => "not asked".to_owned(),
            (_, Some(hindrance)) => word(hindrance),
            (_, None) => "ready".to_owned(),
        };
        let uptime = duration(number(self.now, "/uptime"));
        [text(self.now, "instance"), text(self.now, "address"), state, uptime]
    }
}

/// A picture of the cluster; on a terminal it is cut to its size.
pub fn picture(url: &ServerUrl, before: Option<&Seen>, now: &Seen, size: Option<Size>) -> String {
    let (earlier, now) = (before.map(|seen| &seen.cluster), &now.cluster);
    let seconds =
        earlier.and_then(|earlier| Some(number(now, "/time")? - number(earlier, "/time")?));
    let seconds = seconds.unwrap_or(0.0);
    let of = |list: &str| processes(earlier, now, list, seconds);
    let broker =
        Process { now: &now["broker"], before: earlier.map(|earlier| &earlier["broker"]), seconds };
    let mut parts = vec![head(url, broker)];
    let silent = now["silent"].as_array().map_or(&[][..], Vec::as_slice);
    if !silent.is_empty() {
        parts.push(table_of_silent(silent).lines(usize::MAX));
    }
    let refused = refused(now);
    let (gateways, publishers) = (gateways(&of("gateways")), publishers(&of("publishers")));
    let refused = refused.lines(if refused.rows.len() > 1 { REFUSED_ROWS + 1 } else { 0 });
    // What is left of the screen is for the gateways, then for the publishers.
    let taken = |parts: &[Vec<String>]| parts.iter().map(|part| part.len() + 1).sum::<usize>();
    let rows = size.map_or(usize::MAX, |size| size.rows.saturating_sub(taken(&parts) + 1));
    let for_gateways =
        (rows / 2).max(rows.saturating_sub(publishers.rows.len() + refused.len() + 2));
    parts.push(gateways.lines(for_gateways));
    let rows = rows.saturating_sub(parts.last().map_or(0, Vec::len) + 1);
    parts.push(publishers.lines(rows.saturating_sub(refused.len().min(rows / 2) + 1)));
    let rows = rows.saturating_sub(parts.last().map_or(0, Vec::len) + 1);
    parts.push(refused.into_iter().take(rows).collect());
    let lines = parts.into_iter().filter(|part| !part.is_empty());
    let lines: Vec<_> = lines.map(|part| part.join("\n")).collect();
    let all = lines.join("\n\n");
    match size {
        None => all + "\n",
        Some(Size { columns, rows }) => {
            let lines: Vec<_> = all.lines().take(rows).map(|line| cut(line, columns)).collect();
            lines.join("\n")
        }
    }
}

/// The processes of a list, each with what it was before.
fn processes<'a>(
    earlier: Option<&'a Value>,
    now: &'a Value,
    list: &str,
    seconds: f64,
) -> Vec<Process<'a>> {
    let all = |value: &'a Value| value[list].as_array().map_or(&[][..], Vec::as_slice);
    let earlier = earlier.map_or(&[][..], all);
    let before = |now: &Value| earlier.iter().find(|it| it["instance"] == now["instance"]);
    all(now).iter().map(|now| Process { now, before: before(now), seconds }).collect()
}

fn head(url: &ServerUrl, broker: Process<'_>) -> Vec<String> {
    let now = broker.now;
    let first = format!("campanile at {}", word(&url.to_string()));
    if now.is_null() {
        return vec![first, "BROKER  it has not said how it fares".to_owned()];
    }
    let [cpu, memory] = broker.machine();
    let disk = if now["disk_waits"] == true { "  DISK WAITS" } else { "" };
    let refused = rate_sum(&[broker.rate("/totals/busy"), broker.rate("/totals/conflicts")]);
    vec![
        first,
        format!(
            "BROKER  {}  up {}  position {}  durability {}  links {}  cpu {cpu}  memory {memory}{disk}",
            text(now, "version"),
            duration(number(now, "/uptime")),
            text(now, "position"),
            text(now, "durability"),
            count(number(now, "/links")),
        ),
        format!(
            "        log {} events, {} of {}, oldest {}  waiting for the disk {}  writes p99 {}",
            count(number(now, "/log/events")),
            bytes(number(now, "/log/bytes")),
            bytes(number(now, "/log/max_bytes")),
            duration(number(now, "/log/oldest_age")),
            bytes(number(now, "/staged_bytes")),
            broker.p99("write_seconds"),
        ),
        format!(
            "        per second: accepted {}  repeated {}  refused {}  to gateways {}  replayed {}",
            count(broker.rate("/totals/accepted")),
            count(broker.rate("/totals/duplicates")),
            count(refused),
            count(broker.rate("/totals/link_events")),
            count(broker.rate("/totals/replayed")),
        ),
    ]
}

fn rate_sum(rates: &[Option<f64>]) -> Option<f64> {
    rates.iter().copied().sum()
}

/// The columns that matter most come first: a narrow terminal cuts the others.
const GATEWAYS: [&str; 18] = [
    "GATEWAY",
    "ADDRESS",
    "STATE",
    "UP",
    "CLIENTS",
    "SENT/S",
    "P99",
    "LAG",
    "OUTBOX",
    "REFUSED/S",
    "CPU",
    "MEMORY",
    "OPENED/S",
    "CLOSED/S",
    "BYTES/S",
    "PLAIN",
    "V1",
    "EVENTS",
];

fn gateways(gateways: &[Process<'_>]) -> Table {
    let mut table = Table::new(4, &GATEWAYS);
    for gateway in gateways {
        let now = gateway.now;
        let outbox = now["workers"].as_array().map(|workers| {
            workers.iter().filter_map(|worker| number(worker, "/outbox_bytes")).sum::<f64>()
        });
        let mut row = gateway.who().to_vec();
        row.extend([
            count(sum(now, "/connections")),
            count(gateway.rate("/totals/deliveries")),
            gateway.p99("delivery_seconds"),
            count(number(now, "/lag/events")),
            bytes(outbox),
            count(gateway.rate_of_sum("/totals/refused")),
        ]);
        row.extend(gateway.machine());
        row.extend([
            count(gateway.rate("/totals/opened")),
            count(gateway.rate_of_sum("/totals/closed")),
            bytes(gateway.rate("/totals/delivered_bytes")),
            count(number(now, "/connections/plain")),
            count(number(now, "/connections/v1")),
            count(number(now, "/connections/events")),
        ]);
        table.rows.push(row);
    }
    table
}

const PUBLISHERS: [&str; 12] = [
    "PUBLISHER",
    "ADDRESS",
    "STATE",
    "UP",
    "PUSHES/S",
    "REFUSED/S",
    "P99",
    "UNDER WAY",
    "WAITING",
    "CALLERS",
    "CPU",
    "MEMORY",
];

fn publishers(publishers: &[Process<'_>]) -> Table {
    let mut table = Table::new(4, &PUBLISHERS);
    for publisher in publishers {
        let now = publisher.now;
        let pushes = |value: &Value, is_wanted: fn(&str) -> bool| {
            let counts = value.pointer("/totals/pushes")?.as_array()?;
            let wanted = counts.iter().filter(|it| it["result"].as_str().is_some_and(is_wanted));
            Some(wanted.filter_map(|it| it["count"].as_f64()).sum::<f64>())
        };
        let rate_of = |is_wanted: fn(&str) -> bool| {
            let before = publisher.before.and_then(|it| pushes(it, is_wanted));
            rate(before, pushes(now, is_wanted), publisher.seconds)
        };
        let mut row = publisher.who().to_vec();
        row.extend([
            count(rate_of(|_| true)),
            count(rate_of(|result| result != "200")),
            publisher.p99("push_seconds"),
            count(number(now, "/in_flight")),
            bytes(number(now, "/pending_bytes")),
            count(number(now, "/connections")),
        ]);
        row.extend(publisher.machine());
        table.rows.push(row);
    }
    table
}

/// The last refused pushes of all publishers, the newest first.
fn refused(now: &Value) -> Table {
    let publishers = now["publishers"].as_array().map_or(&[][..], Vec::as_slice);
    let lists = publishers.iter().filter_map(|publisher| publisher["refused"].as_array());
    let mut all: Vec<_> = lists.flatten().collect();
    let time = |push: &Value| push["time"].as_f64().unwrap_or(0.0);
    all.sort_by(|a, b| time(b).total_cmp(&time(a)));
    let now = number(now, "/time");
    let mut table = Table::new(6, &["REFUSED", "STATUS", "TIMES", "KIND", "KEY", "REASON"]);
    for push in all {
        let ago = now.map(|now| now - time(push));
        table.rows.push(vec![
            format!("{} ago", duration(ago)),
            count(number(push, "/status")),
            count(number(push, "/count")),
            text(push, "kind"),
            text(push, "key"),
            text(push, "sentence"),
        ]);
    }
    table
}

fn table_of_silent(silent: &[Value]) -> Table {
    let mut table = Table::new(4, &["NO ANSWER FROM", "ADDRESS", "ROLE", "WHY"]);
    for process in silent {
        let columns = ["instance", "address", "role", "reason"];
        table.rows.push(columns.map(|column| text(process, column)).to_vec());
    }
    table
}

/// A string of a process, on one line.
fn text(value: &Value, name: &str) -> String {
    value[name].as_str().map_or_else(|| UNKNOWN.to_owned(), word)
}

/// A string that others have written, on one line.
fn word(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests;
