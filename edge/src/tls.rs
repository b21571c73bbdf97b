//! TLS of every listener: its certificates, chosen by the name that a client asks for, the tickets by
//! which clients resume on any gateway of a cluster, and the versions and protocols that are spoken.
//!
//! Bytes of PEM go in and settings of rustls come out. Files and sockets are the caller's.

mod authorities;
mod certificates;
mod session;
mod tickets;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;

pub use authorities::{Authorities, link_config};
pub use certificates::{Certificate, CertificateError, Choice};
pub use rustls::{ClientConfig, Error, ServerConfig};
pub use session::{MAX_PLAINTEXT_BYTES, TlsSession};
pub use tickets::{TICKET_PERIOD_SECONDS, Tickets};

/// The one implementation of cryptography: aws-lc.
pub fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// The settings of a listener for HTTP/1 over TLS 1.3 and 1.2. Clients resume by `tickets`, and never
/// send early data. Clients of TLS 1.2 do not resume.
///
/// # Errors
/// [`CertificateError::NoCertificate`] if there is none.
pub fn http_config(
    certificates: Vec<Certificate>,
    tickets: Arc<Tickets>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let certificates = Choice::new(certificates)?;
    let mut config = server().with_no_client_auth().with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets;
    Ok(Arc::new(config))
}

/// The settings of a broker, whose links speak TLS 1.3 and have no tickets, because they are few. Where
/// there are `clients`, a peer needs a certificate of theirs.
///
/// # Errors
/// [`CertificateError::NoCertificate`] if there is none.
pub fn broker_config(
    certificates: Vec<Certificate>,
    clients: Option<&Authorities>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let certificates = Arc::new(Choice::new(certificates)?);
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc has suites of this version");
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn server() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("aws-lc has suites of both versions")
}
