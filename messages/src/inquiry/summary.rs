//! How a process fares, in a few numbers.

use serde::{Deserialize, Serialize};

use crate::{InstanceId, Position, WorkerId};

/// How one process fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Summary {
    /// The broker.
    Broker(BrokerSummary),
    /// A gateway.
    Gateway(GatewaySummary),
    /// A publisher.
    Publisher(PublisherSummary),
}

/// How the broker fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerSummary {
    /// The release that runs.
    pub version: String,
    /// Where the log ends.
    pub head: Option<Position>,
    /// The links that are up.
    pub links: Vec<LinkSummary>,
}

/// One link of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSummary {
    /// The process at its other end.
    pub instance: InstanceId,
    /// What that is: `gateway` or `publisher`.
    pub role: String,
}

/// How a gateway fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySummary {
    /// The release that runs.
    pub version: String,
    /// Its workers.
    pub workers: Vec<WorkerSummary>,
}

/// One worker of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// Its id in the cluster.
    pub id: WorkerId,
    /// How many connections it has.
    pub connections: u64,
}

/// How a publisher fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublisherSummary {
    /// The release that runs.
    pub version: String,
}
