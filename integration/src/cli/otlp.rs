//! The flag that says where spans go. A process has one: in `up` it is the broker's.

use clap::Args;

use crate::otlp::OtlpUrl;

/// The broker's, and that of `up`.
#[derive(Debug, Clone, Args)]
pub struct BrokerOtlp {
    /// Collector of OpenTelemetry that gets the spans of pushes with a sampled traceparent, by OTLP over
    /// HTTP; /v1/traces is added [default: none, no push is traced]
    #[arg(id = "otlp", long = "otlp", value_name = "URL", env = "CAMPANILE_BROKER_OTLP")]
    pub url: Option<OtlpUrl>,
}

/// A gateway's on its own.
#[derive(Debug, Clone, Args)]
pub struct GatewayOtlp {
    /// Collector of OpenTelemetry that gets the spans of events whose push is traced, by OTLP over HTTP;
    /// /v1/traces is added [default: none]
    #[arg(id = "gateway-otlp", long = "otlp", value_name = "URL", env = "CAMPANILE_GATEWAY_OTLP")]
    pub url: Option<OtlpUrl>,
}

/// A publisher's on its own.
#[derive(Debug, Clone, Args)]
pub struct PublisherOtlp {
    /// Collector of OpenTelemetry that gets the spans of pushes with a sampled traceparent, by OTLP over
    /// HTTP; /v1/traces is added. Without it, the broker and the gateways trace nothing of what is pushed here
    /// [default: none]
    #[arg(id = "publisher-otlp", long = "otlp", value_name = "URL")]
    #[arg(env = "CAMPANILE_PUBLISHER_OTLP")]
    pub url: Option<OtlpUrl>,
}
