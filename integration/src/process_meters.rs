//! What operators see of a process besides what the system says of it.

use std::fmt;

use campanile_channel::Watchdog;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

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
