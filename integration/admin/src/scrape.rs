//! How the numbers of a process are written for a scrape. Pure.

use std::fmt;

use campanile_edge::prefers_openmetrics;
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

/// The format of a scrape, by what the scraper accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrape {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Scrape {
    /// The format for the values of the `Accept` headers.
    pub fn of<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        if prefers_openmetrics(accept) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes all numbers.
    ///
    /// # Errors
    /// If a number cannot be written.
    pub fn write(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut written = String::new();
        match self {
            Self::Prometheus => prometheus_text::encode(&mut written, registry)?,
            Self::OpenMetrics => text::encode(&mut written, registry)?,
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn each_format_writes_counters_in_its_own_way() {
        let mut registry = Registry::with_prefix("campanile");
        let counter = Counter::<u64>::default();
        registry.register("pushes", "Pushes", counter.clone());
        counter.inc_by(3);
        let written = |scrape: Scrape| scrape.write(&registry).expect("a string takes all");
        let text = written(Scrape::of(["text/plain"]));
        assert!(text.contains("# TYPE campanile_pushes_total counter"), "{text}");
        assert!(text.contains("\ncampanile_pushes_total 3\n") && !text.contains("# EOF"), "{text}");
        let text = written(Scrape::of(["application/openmetrics-text"]));
        assert!(text.contains("# TYPE campanile_pushes counter"), "{text}");
        assert!(text.ends_with("campanile_pushes_total 3\n# EOF\n"), "{text}");
    }
}
