//! What operators see of a process besides what the system says of it.

use std::fmt;
use std::path::PathBuf;

use campanile_channel::Watchdog;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use rustix::fs::statvfs;

use crate::logging;

/// The log and the watchdog of this process, read at each scrape.
#[derive(Debug)]
pub struct LogAndWatchdog(pub Watchdog);

impl Collector for LogAndWatchdog {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in [
            (
                "campanile_log_dropped_lines",
                "Lines of the log that were dropped",
                logging::dropped_lines(),
            ),
            (
                "campanile_watchdog_late_ticks",
                "Turns of the watchdog in which a watched part had not answered for two turns",
                self.0.late_turns(),
            ),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(encoder)?;
        }
        Ok(())
    }
}

/// The file system of the broker's data directory, looked at in each scrape. Nothing is shown where the system
/// does not say.
#[derive(Debug)]
pub struct DiskRoom(pub PathBuf);

impl Collector for DiskRoom {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(system) = statvfs(&self.0) else { return Ok(()) };
        let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
        let help = "Size of the file system of the data directory";
        gauge(&mut encoder, "campanile_broker_disk_bytes", help, bytes(system.f_blocks))?;
        let help = "What is free there for the broker";
        gauge(&mut encoder, "campanile_broker_disk_free_bytes", help, bytes(system.f_bavail))
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(encoder)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfService {
    service: &'static str,
}

/// When certificates expire. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Expiry(Family<OfService, Gauge>);

impl Expiry {
    /// The name under which the gauge is registered.
    pub const NAME: &str = "campanile_certificate_expiry_seconds";

    /// What it means.
    pub const HELP: &str = "When the certificate that expires first does, in Unix time";

    /// The first certificate of a service expires at this Unix time.
    pub fn note(&self, service: &'static str, at: u64) {
        self.0.get_or_create(&OfService { service }).set(i64::try_from(at).unwrap_or(i64::MAX));
    }

    /// What is registered.
    pub fn metric(&self) -> impl prometheus_client::registry::Metric + use<> {
        self.0.clone()
    }
}
