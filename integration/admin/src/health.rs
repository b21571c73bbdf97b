//! Whether the services of a process can serve, as `/health/ready` says and `/metrics` shows.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Whether one service of the process can serve.
pub struct HealthCheck {
    /// What it is called.
    pub service: &'static str,
    /// Why it cannot serve now, in one word; `None` if it can.
    pub hindrance: Box<dyn Fn() -> Option<&'static str> + Send + Sync>,
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck").field("service", &self.service).finish_non_exhaustive()
    }
}

/// All services of the process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Health(Arc<[HealthCheck]>);

impl Health {
    /// Of these services.
    pub fn of(services: Vec<HealthCheck>) -> Self {
        Self(services.into())
    }

    /// Why the process cannot serve, in one word; where it has several services, the name of the first that
    /// cannot comes before it. `None` if all can.
    pub fn hindrance(&self) -> Option<String> {
        let (service, word) =
            self.0.iter().find_map(|check| Some((check.service, (check.hindrance)()?)))?;
        Some(if self.0.len() == 1 { word.to_owned() } else { format!("{service} {word}") })
    }
}

/// Asks each service at every scrape.
impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for HealthCheck { service, hindrance } in &*self.0 {
            let name = format!("campanile_{service}_ready");
            let help = "1 while the service can serve, as /health/ready says";
            let gauge = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(u64::from(hindrance().is_none())).encode(gauge)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::scrape::Scrape;

    fn check(service: &'static str, hindrance: Option<&'static str>) -> HealthCheck {
        HealthCheck { service, hindrance: Box::new(move || hindrance) }
    }

    #[test]
    fn each_service_shows_whether_it_can_serve() {
        let health = Health::of(vec![check("broker", None), check("gateway", Some("no_keys"))]);
        assert_eq!(health.hindrance().as_deref(), Some("gateway no_keys"));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(health));
        let shown = Scrape::Prometheus.write(&registry).expect("a string takes all");
        assert!(shown.contains("\ncampanile_broker_ready 1\n"), "{shown}");
        assert!(shown.contains("\ncampanile_gateway_ready 0\n"), "{shown}");
    }

    #[test]
    fn of_one_service_only_the_reason_is_named() {
        assert_eq!(
            Health::of(vec![check("broker", Some("disk"))]).hindrance().as_deref(),
            Some("disk")
        );
        assert_eq!(Health::of(vec![check("broker", None)]).hindrance(), None);
    }
}
