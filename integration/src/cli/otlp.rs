//! The flag that says where spans go. A process has one: in `up` it is the broker's.

use clap::Args;

use crate::otlp::OtlpUrl;

/// The broker's, and that of `up`.
#[derive(Debug, Clone, Args)]
pub struct BrokerOtlp {
    /// URL of a collector of OpenTelemetry, which gets the spans of traced pushes by OTLP over HTTP;
    /// /v1/traces is added [default: none]
    #[arg(id = "otlp", long = "otlp", value_name = "COLLECTOR")]
    #[arg(env = "CAMPANILE_BROKER_OTLP")]
    pub url: Option<OtlpUrl>,
}

/// A gateway's on its own.
#[derive(Debug, Clone, Args)]
pub struct GatewayOtlp {
    /// URL of a collector of OpenTelemetry, which gets the spans of traced pushes by OTLP over HTTP;
    /// /v1/traces is added [default: none]
    #[arg(id = "gateway-otlp", long = "otlp", value_name = "COLLECTOR")]
    #[arg(env = "CAMPANILE_GATEWAY_OTLP")]
    pub url: Option<OtlpUrl>,
}

/// A publisher's on its own.
#[derive(Debug, Clone, Args)]
pub struct PublisherOtlp {
    /// URL of a collector of OpenTelemetry, which gets the spans of pushes with a sampled traceparent by OTLP
    /// over HTTP; /v1/traces is added. Without it, nothing that is pushed here is traced anywhere [default:
    /// none]
    #[arg(id = "publisher-otlp", long = "otlp", value_name = "COLLECTOR")]
    #[arg(env = "CAMPANILE_PUBLISHER_OTLP")]
    pub url: Option<OtlpUrl>,
}
