//! Certificates for tests: an authority that lives as long as a test, what it has signed, and clients
//! that trust it and nobody else.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

/// An authority.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    pub chain: String,
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name = name(&format!("authority {number} of a test"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// What its clients trust, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for names or addresses, for servers and for clients.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(Self::params(names))
    }

    /// The same, with an end.
    pub fn issue_until(&self, names: &[&str], end: SystemTime) -> Issued {
        let mut params = Self::params(names);
        let since_1970 = end.duration_since(UNIX_EPOCH).expect("after 1970");
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
        self.sign(params)
    }

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        CertificateParams::new(names).expect("names")
    }

    fn sign(&self, mut params: CertificateParams) -> Issued {
        params.distinguished_name = name("of a test");
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// The settings of a client that trusts it, and remembers the tickets that it gets.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        Arc::new(self.roots(versions).with_no_client_auth())
    }

    /// The same for a client with a certificate of its own.
    pub fn client_with(&self, own: &Issued) -> Arc<ClientConfig> {
        let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes());
        let chain = chain.collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
        let config = self.roots(rustls::ALL_VERSIONS).with_client_auth_cert(chain, key);
        Arc::new(config.expect("a pair"))
    }

    fn roots(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a certificate");
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
    }
}

/// A directory with a certificate for real processes (`cert.pem`, `key.pem`), and with the authority that
/// their clients trust (`ca.pem`).
#[derive(Debug)]
pub struct Files {
    directory: TempDir,
    pub authority: Authority,
}

impl Files {
    /// A certificate for names or addresses.
    pub fn new(names: &[&str]) -> Self {
        let (directory, authority) = (TempDir::new().expect("a directory"), Authority::new());
        let issued = authority.issue(names);
        let files = Self { directory, authority };
        files.write("ca.pem", files.authority.pem());
        files.write("cert.pem", issued.chain);
        files.write("key.pem", issued.key);
        files
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("the file can be written");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The path of a file, for a command line.
    pub fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The flags of a service that has the certificate.
    pub fn flags(&self) -> String {
        format!("--tls-cert {} --tls-key {}", self.shown("cert.pem"), self.shown("key.pem"))
    }

    /// The same as settings, for the section of a service.
    pub fn settings(&self) -> String {
        format!("tls_cert = {:?}\ntls_key = {:?}\n", self.path("cert.pem"), self.path("key.pem"))
    }
}
