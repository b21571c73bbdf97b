//! How a gateway fares, for operators.

use std::sync::Arc;
use std::time::Instant;

use campanile_channel::usage;
use campanile_messages::inquiry::{GatewaySummary, WorkerSummary};
use tokio::sync::watch;

use crate::access::Access;
use crate::config::GatewayConfig;
use crate::entrance::health::Health;
use crate::meters::GatewayMeters;

/// What there is to know of a gateway besides its workers.
pub struct Vitals {
    started: Instant,
    health: Health,
    access: watch::Receiver<Arc<Access>>,
    meters: GatewayMeters,
}

impl Vitals {
    /// Of a gateway that starts now.
    pub fn new(config: &GatewayConfig) -> Self {
        Self {
            started: Instant::now(),
            health: config.health.clone(),
            access: config.access.clone(),
            meters: config.meters.clone(),
        }
    }

    /// How the gateway fares, with these workers.
    pub fn summary(&self, mut workers: Vec<WorkerSummary>) -> GatewaySummary {
        workers.sort_unstable_by_key(|worker| worker.id);
        let hindrance = self.health.hindrance().or(self.access.borrow().hindrance());
        GatewaySummary {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_millis: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            hindrance: hindrance.map(str::to_owned),
            connections: self.meters.connections(),
            workers,
            totals: self.meters.totals(),
            deliveries: self.meters.deliveries(),
            usage: usage(),
        }
    }
}
