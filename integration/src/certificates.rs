//! The certificates of the listeners of this process: read and checked with everything else that SIGHUP
//! can change, then given to newcomers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use campanile_channel::{Secrets, TlsSettings};
use campanile_edge::Secret;
use campanile_edge::tls::{Certificate, ServerConfig, Tickets, http_config};
use tokio::sync::watch;

use crate::cli::ServiceArgs;
use crate::settings::tls;

/// The certificates of each service; a service without any speaks plain HTTP.
#[derive(Debug, Default)]
pub struct Certificates {
    gateway: Vec<Certificate>,
    publisher: Vec<Certificate>,
}

impl Certificates {
    /// Reads the files that the flags and the settings name, for the services that run here.
    ///
    /// # Errors
    /// Everything that is wrong, each in a sentence.
    pub fn read(section: &tls::Section, args: &ServiceArgs) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut read = |service: &str, flags: Option<(&Option<PathBuf>, &Option<PathBuf>)>| {
            let Some((cert, key)) = flags else { return Vec::new() };
            let own = match (cert, key) {
                (Some(cert), Some(key)) => Some((cert, key)),
                (None, None) => None,
                (cert, _) => {
                    let (given, lacks) =
                        if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                    errors.push(format!(
                        "[{service}] tls_{given} (--tls-{given}) is set without tls_{lacks} \
                         (--tls-{lacks}): both or neither are accepted"
                    ));
                    return Vec::new();
                }
            };
            let listed = section.certificates.iter().map(|pair| (&pair.cert, &pair.key));
            let pairs = own.into_iter().chain(listed);
            pairs
                .filter_map(|(cert, key)| read_pair(cert, key).map_err(|e| errors.push(e)).ok())
                .collect()
        };
        let gateway = args.gateway.as_ref();
        let gateway = read("gateway", gateway.map(|args| (&args.tls_cert, &args.tls_key)));
        let publisher = args.publisher.as_ref();
        let publisher = read("publisher", publisher.map(|args| (&args.tls_cert, &args.tls_key)));
        errors.dedup();
        if errors.is_empty() { Ok(Self { gateway, publisher }) } else { Err(errors) }
    }
}

fn read_pair(cert: &Path, key: &Path) -> Result<Certificate, String> {
    let read = |what: &str, file: &Path| {
        fs::read(file)
            .map_err(|error| format!("{what} {}: cannot read it: {error}", file.display()))
    };
    let chain = read("certificate", cert)?;
    let secret = Secret::new(read("private key", key)?);
    Certificate::from_pem(&chain, &secret).map_err(|error| {
        format!("certificate {} with private key {}: {error}", cert.display(), key.display())
    })
}

/// Gives certificates to the listeners that speak TLS.
#[derive(Debug)]
pub struct Listeners {
    gateway: Option<Listener>,
    publisher: Option<Listener>,
}

#[derive(Debug)]
struct Listener {
    service: &'static str,
    /// The tickets of a process without a secret.
    random: Arc<Tickets>,
    settings: watch::Sender<Arc<ServerConfig>>,
}

impl Listener {
    /// `None` without certificates.
    fn start(service: &'static str, first: Vec<Certificate>, secrets: &Secrets) -> Option<Self> {
        let random = Arc::new(Tickets::new(service, &[], unix_seconds));
        let tickets = tickets(service, secrets).unwrap_or_else(|| random.clone());
        let settings = http_config(first, tickets).ok()?;
        Some(Self { service, random, settings: watch::Sender::new(settings) })
    }

    fn publish(&self, certificates: Vec<Certificate>, secrets: &Secrets) {
        let tickets = tickets(self.service, secrets).unwrap_or_else(|| self.random.clone());
        if let Ok(new) = http_config(certificates, tickets) {
            self.settings.send_replace(new);
        }
    }
}

/// Tickets that all processes with the same secrets accept; `None` without secrets.
fn tickets(service: &'static str, secrets: &Secrets) -> Option<Arc<Tickets>> {
    let secrets: Vec<_> = secrets.iter().cloned().collect();
    (!secrets.is_empty()).then(|| Arc::new(Tickets::new(service, &secrets, unix_seconds)))
}

impl Listeners {
    /// Begins with the first certificates. All processes with the same `secrets` accept each other's
    /// session tickets; without any, each process accepts its own only.
    pub fn start(first: Certificates, secrets: &Secrets) -> Self {
        Self {
            gateway: Listener::start("gateway", first.gateway, secrets),
            publisher: Listener::start("publisher", first.publisher, secrets),
        }
    }

    /// Gives newcomers these certificates. Returns the services that would have to begin or to stop
    /// speaking TLS, which takes a restart.
    pub fn publish(&self, new: Certificates, secrets: &Secrets) -> Vec<&'static str> {
        let services = [
            ("gateway", &self.gateway, new.gateway),
            ("publisher", &self.publisher, new.publisher),
        ];
        let mut unchanged = Vec::new();
        for (service, listener, certificates) in services {
            match listener {
                None if certificates.is_empty() => {}
                Some(listener) if !certificates.is_empty() => {
                    listener.publish(certificates, secrets);
                }
                _ => unchanged.push(service),
            }
        }
        unchanged
    }

    /// The settings of the gateway's listeners; `None` if they speak plain HTTP.
    pub fn gateway(&self) -> Option<TlsSettings> {
        self.gateway.as_ref().map(|listener| listener.settings.subscribe())
    }

    /// The settings of the publisher's listeners; `None` if they speak plain HTTP.
    pub fn publisher(&self) -> Option<TlsSettings> {
        self.publisher.as_ref().map(|listener| listener.settings.subscribe())
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
