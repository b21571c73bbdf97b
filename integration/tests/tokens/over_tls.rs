//! A cluster whose gateway speaks TLS and wants tokens.

use campanile_harness::Cluster;
use campanile_harness::tls::Files;
use serde_json::Value;

use crate::issuer::{fresh, settings, token};

/// The certificate is for this host.
pub struct OverTls {
    pub cluster: Cluster,
    pub files: Files,
    secret: String,
}

impl OverTls {
    /// Starts it with more flags for the gateway.
    pub async fn start(flags: &str) -> Self {
        let (files, secret) = (Files::new(&["localhost", "127.0.0.1"]), fresh());
        files.write("secret", &secret);
        let settings =
            format!("[gateway]\n{}{}", files.settings(), settings(&files.path("secret")));
        files.write("settings", settings);
        let flags = format!("{flags} --config {}", files.shown("settings"));
        let cluster = Cluster::of(1).gateway(&flags).start().await;
        Self { cluster, files, secret }
    }

    /// A token for the group news, with these claims besides.
    pub fn token(&self, claims: Value) -> String {
        token(&self.secret, claims)
    }
}
