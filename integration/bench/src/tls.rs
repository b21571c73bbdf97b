//! TLS of a benchmark: a certificate that is made for it, and clients that trust this one alone.

use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use campanile_edge::tls::provider;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore};
use tempfile::TempDir;

/// A certificate for 127.0.0.1 with a key on the curve P-256, in files that the servers read. They are
/// removed when this is dropped.
#[derive(Debug)]
pub struct Identity {
    directory: TempDir,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Makes a certificate, and writes it and its key to files.
    ///
    /// # Errors
    /// If there is no place for the files.
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = CertificateParams::new([Ipv4Addr::LOCALHOST.to_string()])?;
        let certificate = params.self_signed(&key)?;
        let identity = Self { directory: TempDir::new()?, certificate: certificate.der().clone() };
        fs::write(identity.certificate_file(), certificate.pem())?;
        fs::write(identity.key_file(), key.serialize_pem())?;
        Ok(identity)
    }

    /// The file with the certificate (PEM).
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// The file with its private key (PEM).
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// What the clients of one server have in common.
    ///
    /// # Errors
    /// If rustls does not take the certificate.
    pub fn trust(&self) -> anyhow::Result<Trust> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        let tickets = Arc::new(Tickets::default());
        config.resumption = Resumption::store(Arc::clone(&tickets) as Arc<dyn ClientSessionStore>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Trust { config: Arc::new(config), tickets })
    }
}

/// What the clients of one server have in common. Clones share their tickets.
#[derive(Debug, Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
}

impl Trust {
    /// A connection that has sent nothing yet.
    ///
    /// # Errors
    /// If the settings contradict each other.
    pub fn connection(&self) -> anyhow::Result<ClientConnection> {
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        Ok(ClientConnection::new(Arc::clone(&self.config), name)?)
    }

    /// Lets the next clients resume, each with a ticket of its own, as long as there are any.
    pub fn resume(&self) {
        self.tickets.are_used.store(true, Ordering::Relaxed);
    }

    /// How many tickets there are that no client has used.
    pub fn tickets(&self) -> usize {
        self.tickets.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// All tickets that clients got from one server.
#[derive(Default)]
struct Tickets {
    kept: Mutex<Vec<Tls13ClientSessionValue>>,
    are_used: AtomicBool,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let are_used = self.are_used.load(Ordering::Relaxed);
        are_used.then(|| self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop())?
    }
}

/// A path as an argument of a process.
///
/// # Errors
/// If it is not UTF-8.
pub fn argument(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", path.display()))
}
