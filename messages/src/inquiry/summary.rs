//! How a process fares, in a few numbers. Those that count something count since the process started, and
//! only grow, so whoever wants a rate subtracts two of them. All numbers are whole, so that what is packed
//! is what is unpacked.
//!
//! The summary of a gateway with 512 workers, or of a publisher, stays under 64 KiB, and that of a broker
//! with [`MAX_LISTED_LINKS`] links under [`MAX_PACKED_BYTES`](super::MAX_PACKED_BYTES).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Durability, InstanceId, Position, WorkerId};

/// The most links that a broker lists. It is how many links a broker has by default.
pub const MAX_LISTED_LINKS: usize = 1_024;

/// The most refused pushes that a publisher lists.
pub const MAX_REFUSED_PUSHES: usize = 50;

/// Counts by the word of what was counted, such as a close code. A word without a count is left out.
pub type CountsByWord = BTreeMap<String, u64>;

/// How one process fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// The broker.
    Broker(Box<BrokerSummary>),
    /// A gateway.
    Gateway(Box<GatewaySummary>),
    /// A publisher.
    Publisher(Box<PublisherSummary>),
}

/// What a process takes of its machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageSummary {
    /// The CPU time of all its threads, in milliseconds.
    pub cpu_millis: u64,
    /// Its resident memory, in bytes.
    pub memory_bytes: u64,
}

/// How long something took, each time it was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistogramSummary {
    /// Upper bounds in microseconds, ascending, each with how often it took no longer than that.
    pub buckets: Vec<(u64, u64)>,
    /// How often it was done, including those times that exceed the last bound.
    pub count: u64,
    /// How long all of them took together, in microseconds.
    pub sum_micros: u64,
}

/// How the broker fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerSummary {
    /// The release that runs.
    pub version: String,
    /// For how long it has been running.
    pub uptime_millis: u64,
    /// Where the log ends.
    pub head: Option<Position>,
    /// How durable an event is before anybody sees it.
    pub durability: Option<Durability>,
    /// The events that are kept.
    pub log: LogSummary,
    /// Whether a write to the disk takes too long now.
    pub disk_waits: bool,
    /// How many bytes wait for the disk.
    pub staged_bytes: u64,
    /// What it has done.
    pub totals: BrokerTotals,
    /// How long its writes took; nothing without a data directory.
    pub writes: HistogramSummary,
    /// What its process takes; `None` if the system does not say.
    pub usage: Option<UsageSummary>,
    /// The links that are up, at most [`MAX_LISTED_LINKS`]. The link on which a gateway publishes for its
    /// clients is not among them.
    pub links: Vec<LinkSummary>,
    /// How many more there are.
    pub links_left_out: u64,
    /// The gateways that have lost their links and may come back, at most [`MAX_LISTED_LINKS`].
    pub away: Vec<InstanceId>,
    /// How many more there are.
    pub away_left_out: u64,
}

/// The events that the broker keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSummary {
    /// How many.
    pub events: u64,
    /// How much memory they take.
    pub bytes: u64,
    /// How much they may take.
    pub max_bytes: u64,
    /// The age of the oldest one; zero if there is none.
    pub oldest_age_millis: u64,
}

/// What a broker has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerTotals {
    /// Publishes that became events.
    pub accepted: u64,
    /// Publishes that repeated an event.
    pub duplicates: u64,
    /// Publishes whose id belongs to another event.
    pub conflicts: u64,
    /// Publishes that were refused for now.
    pub busy: u64,
    /// Pushes to one connection that were written to it.
    pub delivered: u64,
    /// Pushes to one connection that could not be written to it.
    pub gone: u64,
    /// Events for gateways, once for each gateway.
    pub link_events: u64,
    /// Events that gateways fetched for returning clients.
    pub replayed: u64,
    /// New epochs.
    pub epochs: u64,
}

/// One link of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSummary {
    /// The process at its other end.
    pub instance: InstanceId,
    /// What that is: `gateway` or `publisher`.
    pub role: String,
    /// Where it connects from, `IP:PORT`; empty if that is not known.
    #[serde(default)]
    pub address: String,
    /// How many events wait to be written on the link.
    #[serde(default)]
    pub lag_events: u64,
    /// How many bytes wait to be written on the link.
    #[serde(default)]
    pub lag_bytes: u64,
    /// Whether it takes part in inquiries. A process of an earlier release does not.
    #[serde(default)]
    pub is_askable: bool,
}

/// How a gateway fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySummary {
    /// The release that runs.
    pub version: String,
    /// For how long it has been running.
    pub uptime_millis: u64,
    /// Why it should get no new clients, in one word; `None` if it should get them.
    pub hindrance: Option<String>,
    /// Connections now, by dialect.
    pub connections: CountsByWord,
    /// Its workers.
    pub workers: Vec<WorkerSummary>,
    /// What it has done.
    pub totals: GatewayTotals,
    /// From the receipt of a batch of events to its write, once per batch and worker.
    pub deliveries: HistogramSummary,
    /// What its process takes; `None` if the system does not say.
    pub usage: Option<UsageSummary>,
}

/// One worker of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// Its id in the cluster.
    pub id: WorkerId,
    /// How many connections it has.
    pub connections: u64,
    /// How many bytes wait for them, as of the last second.
    #[serde(default)]
    pub outbox_bytes: u64,
}

/// What a gateway has done since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayTotals {
    /// Connections that were let in.
    pub opened: u64,
    /// Connections that ended, by close code.
    pub closed: CountsByWord,
    /// Requests for a connection that were refused, by status or close code.
    pub refused: CountsByWord,
    /// How often a limit was reached, by its setting.
    pub limits: CountsByWord,
    /// Events that were written to outboxes, once for each connection.
    pub deliveries: u64,
    /// Bytes of their frames.
    pub delivered_bytes: u64,
    /// Connections that were closed because too much waited for them.
    pub slow_closed: u64,
    /// Clients that came back with a position, by what became of them.
    pub resumes: CountsByWord,
    /// Gaps that clients were told of, by reason.
    pub gaps: CountsByWord,
    /// Links to the broker after the first one.
    pub reconnects: u64,
    /// Tokens that were looked at, by result.
    pub tokens: CountsByWord,
    /// What clients published, by the answer.
    pub publishes: CountsByWord,
}

/// How a publisher fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublisherSummary {
    /// The release that runs.
    pub version: String,
    /// For how long it has been running.
    pub uptime_millis: u64,
    /// Why it can take no pushes, in one word; `None` if it can.
    pub hindrance: Option<String>,
    /// HTTP connections now.
    pub connections: u64,
    /// Pushes that were handed to the broker and have no answer yet.
    pub in_flight: u64,
    /// Bytes of contents that have no answer yet.
    pub pending_bytes: u64,
    /// What it has done.
    pub totals: PublisherTotals,
    /// From when a push or a batch was handed to the broker to its answer.
    pub pushes: HistogramSummary,
    /// The last pushes that were refused, oldest first, at most [`MAX_REFUSED_PUSHES`].
    pub refused: Vec<RefusedPush>,
    /// What its process takes; `None` if the system does not say.
    pub usage: Option<UsageSummary>,
}

/// What a publisher has done since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublisherTotals {
    /// Pushes, by how they came and the status of their answers.
    pub pushes: Vec<PushCount>,
    /// How often a limit was reached, by its setting.
    pub limits: CountsByWord,
    /// Links to the broker after the first one.
    pub reconnects: u64,
}

/// How many pushes of one kind had one result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushCount {
    /// How they came: `push`, `batch` or `stream`.
    pub kind: String,
    /// The status of their answer, or `none` if their caller was gone.
    pub result: String,
    /// How many.
    pub count: u64,
}

/// A push that was refused, or several in a row for the same reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedPush {
    /// When the last of them was refused, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: u64,
    /// The status of the answer.
    pub status: u16,
    /// How it came: `push`, `batch` or `stream`.
    pub kind: String,
    /// The name of the caller's key in the settings; empty if it has none.
    pub key: String,
    /// What the caller was told. It may quote the caller.
    pub sentence: String,
    /// How many there were.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inquiry::{Answer, MAX_PACKED_BYTES, pack};

    const MANY: u64 = u64::MAX;

    fn histogram() -> HistogramSummary {
        HistogramSummary { buckets: vec![(MANY, MANY); 20], count: MANY, sum_micros: MANY }
    }

    fn counts(words: usize) -> CountsByWord {
        (0..words).map(|n| (format!("{n:_>40}"), MANY)).collect()
    }

    fn len(summary: Summary) -> usize {
        pack(&Answer::Summary(summary)).expect("small").as_bytes().len()
    }

    #[test]
    fn the_summary_of_a_large_gateway_is_small() {
        let worker = WorkerSummary { id: WorkerId(MANY), connections: MANY, outbox_bytes: MANY };
        let totals = GatewayTotals {
            closed: counts(20),
            refused: counts(20),
            limits: counts(20),
            resumes: counts(20),
            gaps: counts(20),
            tokens: counts(20),
            publishes: counts(20),
            ..GatewayTotals::default()
        };
        let gateway = GatewaySummary {
            connections: counts(10),
            workers: vec![worker; 512],
            totals,
            deliveries: histogram(),
            ..GatewaySummary::default()
        };
        let len = len(Summary::Gateway(Box::new(gateway)));
        assert!(len < 64 << 10, "{len}");
    }

    #[test]
    fn the_summary_of_a_publisher_that_refuses_much_is_small() {
        let refused = RefusedPush {
            unix_millis: MANY,
            key: "k".repeat(100),
            sentence: "s".repeat(300),
            count: MANY,
            ..RefusedPush::default()
        };
        let count = PushCount { kind: "stream".into(), result: "200".into(), count: MANY };
        let publisher = PublisherSummary {
            totals: PublisherTotals {
                pushes: vec![count; 100],
                limits: counts(20),
                reconnects: MANY,
            },
            pushes: histogram(),
            refused: vec![refused; MAX_REFUSED_PUSHES],
            ..PublisherSummary::default()
        };
        let len = len(Summary::Publisher(Box::new(publisher)));
        assert!(len < 64 << 10, "{len}");
    }

    #[test]
    fn the_summary_of_a_broker_with_many_links_is_sent() {
        let link = LinkSummary {
            instance: InstanceId(MANY),
            role: "publisher".to_owned(),
            address: "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".to_owned(),
            lag_events: MANY,
            lag_bytes: MANY,
            is_askable: true,
        };
        let links = vec![link; MAX_LISTED_LINKS];
        let away = vec![InstanceId(MANY); MAX_LISTED_LINKS];
        let broker = BrokerSummary { links, away, writes: histogram(), ..BrokerSummary::default() };
        let len = len(Summary::Broker(Box::new(broker)));
        assert!(len < MAX_PACKED_BYTES, "{len}");
    }
}
