//! The certificates of a listener, and which of them a client gets.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{
    ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, SignatureScheme};

use super::provider;
use crate::Secret;

/// A certificate with its chain and its private key.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<CertifiedKey>);

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// A listener for TLS has none.
    #[error("TLS needs at least one certificate")]
    NoCertificate,
    /// The file for certificates has none.
    #[error("there is no certificate in it: accepted is PEM with one or more CERTIFICATE sections")]
    NoCertificateInPem,
    /// A section of the file for certificates cannot be read.
    #[error("the certificate is not valid PEM")]
    NotPem,
    /// The file for the key has none.
    #[error(
        "there is no private key in it: accepted is PEM with a PRIVATE KEY, RSA PRIVATE KEY or EC \
         PRIVATE KEY section that is not encrypted"
    )]
    NoKey,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    AnotherKey,
    /// The certificate or the key is of a kind that is not supported, or is damaged.
    #[error("the certificate or its key cannot be used: {0}")]
    NotUsable(rustls::Error),
}

impl Certificate {
    /// Reads a certificate, followed by those that its chain needs, and its private key. Both are PEM.
    ///
    /// # Errors
    /// A [`CertificateError`] that says which of the two is wrong. None of them shows the key.
    pub fn from_pem(chain: &[u8], key: &Secret) -> Result<Self, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::NotPem)?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificateInPem);
        }
        let key =
            PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| CertificateError::NoKey)?;
        match CertifiedKey::from_der(chain, key, &provider()) {
            Ok(certified) => Ok(Self(Arc::new(certified))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::AnotherKey),
            Err(error) => Err(CertificateError::NotUsable(error)),
        }
    }

    /// The Unix time at which it or a certificate of its chain expires, whichever is first; `None` if that
    /// cannot be read.
    pub fn expires_at(&self) -> Option<u64> {
        self.0.cert.iter().filter_map(expires_at).min()
    }

    /// What shows it to whoever asks a client for one.
    pub(super) fn for_client(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::new(SingleCertAndKey::from(self.0.clone()))
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        self.0
            .end_entity_cert()
            .and_then(ParsedCertificate::try_from)
            .is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }

    fn can_sign(&self, schemes: &[SignatureScheme]) -> bool {
        self.0.key.choose_scheme(schemes).is_some()
    }
}

/// When a certificate expires, in Unix time. rustls says it to those who ask whether the certificate is
/// valid at a time after that, and looks at nothing else before.
fn expires_at(certificate: &CertificateDer<'_>) -> Option<u64> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let never = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let (none, algorithms) = (RootCertStore::empty(), provider().signature_verification_algorithms);
    match verify_server_cert_signed_by_trust_anchor(&parsed, &none, &[], never, algorithms.all) {
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Some(not_after.as_secs()),
        _ => None,
    }
}

/// Chooses the certificate for a client: the first one for the name that the client asks for, with a key
/// that the client knows. The first of all is for clients that ask for no name, or for another one.
#[derive(Debug)]
pub struct Choice(Vec<Certificate>);

impl Choice {
    /// Takes the certificates, of which the first is the default.
    ///
    /// # Errors
    /// [`CertificateError::NoCertificate`] if there is none.
    pub fn new(certificates: Vec<Certificate>) -> Result<Self, CertificateError> {
        match certificates.is_empty() {
            true => Err(CertificateError::NoCertificate),
            false => Ok(Self(certificates)),
        }
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &Certificate {
        let first = &self.0[0];
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let Some(name) = name.filter(|_| self.0.len() > 1) else { return first };
        let is_for_it = |certificate: &&Certificate| certificate.is_for(&name);
        let mut fitting = self.0.iter().filter(is_for_it);
        let is_known = |certificate: &&Certificate| certificate.can_sign(schemes);
        fitting.clone().find(is_known).or_else(|| fitting.next()).unwrap_or(first)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name(), hello.signature_schemes()).0.clone())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};

    use super::*;

    fn made(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> (Vec<u8>, Secret) {
        let key = KeyPair::generate_for(kind).expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem().into(), Secret::new(key.serialize_pem()))
    }

    fn certificate(names: &[&str], kind: &'static rcgen::SignatureAlgorithm) -> Certificate {
        let (chain, key) = made(names, kind);
        Certificate::from_pem(&chain, &key).expect("a pair")
    }

    #[test]
    fn a_client_gets_the_certificate_for_the_name_it_asks_for() {
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];
        let choice = Choice::new(vec![
            certificate(&["default.example"], &PKCS_ECDSA_P256_SHA256),
            certificate(&["*.push.example", "push.example"], &PKCS_ECDSA_P256_SHA256),
            certificate(&["both.example"], &PKCS_ED25519),
            certificate(&["both.example"], &PKCS_ECDSA_P256_SHA256),
        ])
        .expect("certificates");
        let chosen = |name: Option<&str>, schemes: &[SignatureScheme]| {
            let chosen = choice.choose(name, schemes);
            choice.0.iter().position(|one| Arc::ptr_eq(&one.0, &chosen.0)).expect("one of them")
        };
        assert_eq!(chosen(None, &schemes), 0);
        assert_eq!(chosen(Some("default.example"), &schemes), 0);
        assert_eq!(chosen(Some("push.example"), &schemes), 1);
        assert_eq!(chosen(Some("PUSH.example"), &schemes), 1);
        assert_eq!(chosen(Some("a.push.example"), &schemes), 1);
        assert_eq!(chosen(Some("a.b.push.example"), &schemes), 0, "a star is for one label");
        assert_eq!(chosen(Some("another.example"), &schemes), 0);
        assert_eq!(chosen(Some("both.example"), &schemes), 2);
        assert_eq!(chosen(Some("both.example"), &schemes[..1]), 3, "a client without Ed25519");
        assert_eq!(chosen(Some("both.example"), &[]), 2);
    }

    #[test]
    fn a_broken_pair_is_refused_with_a_sentence_that_says_which_half() {
        let (chain, key) = made(&["a.example"], &PKCS_ECDSA_P256_SHA256);
        let (_, another) = made(&["a.example"], &PKCS_ECDSA_P256_SHA256);
        let refused = |chain: &[u8], key: &Secret| {
            Certificate::from_pem(chain, key).expect_err("it is broken")
        };
        assert_eq!(refused(b"", &key), CertificateError::NoCertificateInPem);
        assert_eq!(refused(b"no PEM", &key), CertificateError::NoCertificateInPem);
        assert_eq!(refused(key.expose(), &key), CertificateError::NoCertificateInPem);
        assert_eq!(refused(&chain[..chain.len() / 2], &key), CertificateError::NotPem);
        assert_eq!(refused(&chain, &Secret::new("")), CertificateError::NoKey);
        assert_eq!(refused(&chain, &Secret::new(chain.clone())), CertificateError::NoKey);
        assert_eq!(refused(&chain, &another), CertificateError::AnotherKey);
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = refused(garbage, &key);
        assert!(matches!(error, CertificateError::NotUsable(_)), "{error}");
        let error = refused(
            &chain,
            &Secret::new("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        );
        assert!(matches!(error, CertificateError::NotUsable(_)), "{error}");
        assert!(Certificate::from_pem(&[chain.clone(), chain].concat(), &key).is_ok());
    }

    #[test]
    fn a_certificate_says_when_it_or_its_chain_expires() {
        let certificate = |year: i32, is_ca: bool| {
            let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
            let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("names");
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            if is_ca {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            }
            let certificate = params.self_signed(&key).expect("a certificate");
            (certificate.pem(), Secret::new(key.serialize_pem()))
        };
        let ((leaf, key), (issuer, _)) = (certificate(2040, false), certificate(2035, true));
        let read = |chain: &str| Certificate::from_pem(chain.as_bytes(), &key).expect("fine");
        assert_eq!(read(&leaf).expires_at(), Some(2_208_988_800));
        assert_eq!(read(&(leaf + &issuer)).expires_at(), Some(2_051_222_400));
        let (past, key) = certificate(2001, false);
        let past = Certificate::from_pem(past.as_bytes(), &key).expect("fine");
        assert_eq!(past.expires_at(), Some(978_307_200));
    }
}
