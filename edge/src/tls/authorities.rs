//! Whose certificates are trusted, on links between the services of a cluster.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore};

use super::{Certificate, CertificateError, provider};

/// Authorities that are trusted.
#[derive(Debug, Clone)]
pub struct Authorities(Arc<RootCertStore>);

impl Authorities {
    /// Reads their certificates from PEM: one of one's own, or a bundle such as
    /// `/etc/ssl/certs/ca-certificates.crt`.
    ///
    /// # Errors
    /// If there is none, or one of them cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| CertificateError::NotPem)?;
            roots.add(certificate).map_err(CertificateError::NotUsable)?;
        }
        match roots.is_empty() {
            true => Err(CertificateError::NoCertificateInPem),
            false => Ok(Self(Arc::new(roots))),
        }
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        WebPkiClientVerifier::builder_with_provider(self.0.clone(), Arc::new(provider()))
            .build()
            .expect("there is at least one authority, and no revocation list")
    }
}

/// The settings of a service that links to a broker whose certificate is of one of these authorities. With
/// a certificate of its `own`, it shows that where the broker asks for one.
pub fn link_config(broker: &Authorities, own: Option<&Certificate>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("aws-lc has suites of this version")
        .with_root_certificates(broker.0.clone());
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(own.for_client()),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Arc::new(config)
}
