//! The URL of a collector.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// Where a collector takes OTLP over HTTP. Each signal has its own path below it.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpUrl(Url);

impl OtlpUrl {
    /// Where it takes spans.
    pub fn traces(&self) -> String {
        format!("{}/v1/traces", self.0.as_str().trim_end_matches('/'))
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl FromStr for OtlpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let accepted = "accepted is http://HOST[:PORT][/PATH] or the same with https, such as \
                        http://127.0.0.1:4318";
        let url =
            Url::parse(text).map_err(|error| format!("this is no URL ({error}): {accepted}"))?;
        // What is in one of these may be a secret, which a command line shows to everybody.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "this URL has a user or a password: {accepted}; a collector that needs one gets it from \
                 OTEL_EXPORTER_OTLP_HEADERS"
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("this URL has a query or a fragment: {accepted}"));
        }
        match url.scheme() {
            "http" | "https" if url.host_str().is_some() => Ok(Self(url)),
            _ => Err(accepted.to_owned()),
        }
    }
}

impl fmt::Display for OtlpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for OtlpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_to_a_path_below_the_url() {
        let traces = |text: &str| text.parse::<OtlpUrl>().map(|url| url.traces());
        for (text, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://example.com/otlp/a", "https://example.com/otlp/a/v1/traces"),
            ("https://[::1]/otlp/", "https://[::1]/otlp/v1/traces"),
        ] {
            assert_eq!(traces(text), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "",
            "127.0.0.1:4318",
            "collector:4318",
            "grpc://collector:4317",
            "http://",
            "http://user@collector",
            "https://user:geheim@collector",
            "http://collector?key=geheim",
            "http://collector/#x",
            "unix:///run/otlp.sock",
        ] {
            let error = text.parse::<OtlpUrl>().expect_err(text);
            assert!(error.contains("accepted is http://HOST"), "{text}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
