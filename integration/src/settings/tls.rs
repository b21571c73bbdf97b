//! `[tls]`: certificates.

use std::path::PathBuf;

use serde::Deserialize;

/// The documented example.
pub const EXAMPLE: &str = "\
# More certificates of gateways and publishers, beside tls_cert: a client gets the one for the name that it
# asks for.
#[[tls.certificates]]
# The files with the certificate, followed by its chain, and with its private key, both PEM.
#cert = \"/etc/campanile/app.example.pem\"
#key = \"/etc/campanile/app.example.key\"
";

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// `[[tls.certificates]]`: those of gateways and publishers. A client gets the one for the name that
    /// it asks for, and the first one if there is none.
    pub certificates: Vec<Pair>,
}

/// A certificate and its key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The file with the certificate, followed by its chain (PEM).
    pub cert: PathBuf,
    /// The file with its private key (PEM).
    pub key: PathBuf,
}
