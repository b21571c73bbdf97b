//! The certificates of the listeners of this process: read and checked with everything else that SIGHUP
//! can change, then given to newcomers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use campanile_channel::{LinkTls, Secrets, TlsSettings};
use campanile_edge::Secret;
use campanile_edge::tls::{
    Authorities, Certificate, CertificateError, ClientConfig, ServerConfig, Tickets, broker_config,
    http_config, link_config,
};
use tokio::sync::watch;

use crate::cli::{LinkFiles, ServiceArgs};
use crate::exposure::Service;
use crate::process_meters::Expiry;
use crate::settings::{Wrong, tls};
use crate::units::BrokerAddresses;

/// The certificates of each service; a service without any speaks plain HTTP.
#[derive(Debug, Default)]
pub struct Certificates {
    gateway: Vec<Certificate>,
    publisher: Vec<Certificate>,
    /// The settings of the broker's listeners.
    broker: Option<Arc<ServerConfig>>,
    /// The settings of the link to a broker elsewhere.
    link: Option<Arc<ClientConfig>>,
    /// The certificate of the broker, or the one that is shown to a broker elsewhere.
    of_links: Option<Certificate>,
}

impl Certificates {
    /// Reads the files that the flags and the settings name, for the services that run here.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(section: &tls::Section, args: &ServiceArgs) -> Result<Self, Vec<Wrong>> {
        let mut errors = Vec::new();
        let has_listed = args.gateway.is_some() || args.publisher.is_some();
        let listed = section.certificates.iter().enumerate().filter(|_| has_listed);
        let listed = listed.map(|(at, pair)| {
            let key = |name: &str, value: &Path, error| {
                Wrong::value(&format!("tls.certificates[{at}].{name}"), &value, &error)
            };
            read_files(&pair.cert, &pair.key).map_err(|error| match error {
                PairError::Cert(error) => key("cert", &pair.cert, error),
                PairError::Key(error) => key("key", &pair.key, error),
            })
        });
        let listed: Vec<_> =
            listed.filter_map(|pair| pair.map_err(|error| errors.push(error)).ok()).collect();
        let mut read = |service: &str, flags: Option<(&Option<PathBuf>, &Option<PathBuf>)>| {
            let Some((cert, key)) = flags else { return Vec::new() };
            let own = match (cert, key) {
                (Some(cert), Some(key)) => read_pair("--tls-cert", cert, key).map(Some),
                (None, None) => Ok(None),
                (cert, _) => {
                    let (given, lacks) =
                        if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                    Err(format!(
                        "[{service}] tls_{given} (--tls-{given}) is set without tls_{lacks} \
                         (--tls-{lacks}): both or neither are accepted"
                    ))
                }
            };
            let own = own.unwrap_or_else(|error| {
                errors.push(Wrong::Flag(error));
                None
            });
            own.into_iter().chain(listed.iter().cloned()).collect()
        };
        let gateway = args.gateway.as_ref();
        let gateway = read("gateway", gateway.map(|args| (&args.tls_cert, &args.tls_key)));
        let publisher = args.publisher.as_ref();
        let publisher = read("publisher", publisher.map(|args| (&args.tls_cert, &args.tls_key)));
        let (mut broker, mut link, mut of_links) = (None, None, None);
        let read = match (&args.broker, &args.links.broker) {
            (_, Some(address)) => {
                read_link(address, &args.links).map(|read| (link, of_links) = read)
            }
            (Some(_), None) => read_broker(&args.links).map(|read| (broker, of_links) = read),
            (None, None) => Ok(()),
        };
        errors.extend(read.err().map(Wrong::Flag));
        errors.dedup();
        let read = Self { gateway, publisher, broker, link, of_links };
        if errors.is_empty() { Ok(read) } else { Err(errors) }
    }
}

impl Certificates {
    /// When the certificates of the gateway, the publisher and the link expire, in Unix time.
    fn expiring(&self) -> [Option<u64>; 3] {
        [&*self.gateway, &*self.publisher, self.of_links.as_slice()]
            .map(|all| all.iter().filter_map(Certificate::expires_at).min())
    }
}

/// The settings of a broker's listeners and their certificate; `None` if they do not speak TLS.
fn read_broker(
    files: &LinkFiles,
) -> Result<(Option<Arc<ServerConfig>>, Option<Certificate>), String> {
    let clients = files.authorities.as_deref();
    let clients = clients.map(|file| read_authorities("--client-ca", file)).transpose()?;
    let own = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => read_pair("--tls-cert", cert, key)?,
        (None, None) if clients.is_none() => return Ok((None, None)),
        (None, None) => {
            return Err(
                "--client-ca is set without --tls-cert and --tls-key: certificates are part of \
                 TLS"
                .to_owned(),
            );
        }
        _ => return Err(halves("tls")),
    };
    let settings = broker_config(vec![own.clone()], clients.as_ref());
    settings.map(|settings| (Some(settings), Some(own))).map_err(|error| error.to_string())
}

/// The settings of a link to a broker at this address, `None` if the broker does not speak TLS; and the
/// certificate that the broker is shown.
fn read_link(
    broker: &BrokerAddresses,
    files: &LinkFiles,
) -> Result<(Option<Arc<ClientConfig>>, Option<Certificate>), String> {
    let authorities = files.authorities.as_deref();
    let authorities = authorities.map(|file| read_authorities("--broker-ca", file)).transpose()?;
    let own = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => Some(read_pair("--link-cert", cert, key)?),
        (None, None) => None,
        _ => return Err(halves("link")),
    };
    match authorities {
        Some(authorities) if broker.is_tls => {
            Ok((Some(link_config(&authorities, own.as_ref())), own))
        }
        None if broker.is_tls => Err(format!(
            "--broker {broker} needs --broker-ca FILE, which says whose certificates are trusted; \
             accepted is PEM with one of your own, or with the system's, such as \
             /etc/ssl/certs/ca-certificates.crt"
        )),
        None if own.is_none() => Ok((None, None)),
        _ => Err(format!(
            "--broker-ca and --link-cert are for TLS, and --broker {broker} is without: accepted is \
             {}",
            broker.over_tls()
        )),
    }
}

fn halves(of: &str) -> String {
    format!("--{of}-cert and --{of}-key belong together: both or neither are accepted")
}

/// Reads what the flag `of` names.
fn read_authorities(of: &str, file: &Path) -> Result<Authorities, String> {
    let named = |error: &dyn std::fmt::Display| format!("{of} {}: {error}", file.display());
    let pem = fs::read(file).map_err(|error| named(&format!("cannot read it: {error}")))?;
    Authorities::from_pem(&pem).map_err(|error| named(&error))
}

/// Which of two files is wrong, and why.
enum PairError {
    Cert(String),
    Key(String),
}

/// Reads what the flag `of` names, and its key.
fn read_pair(of: &str, cert: &Path, key: &Path) -> Result<Certificate, String> {
    read_files(cert, key).map_err(|error| match error {
        PairError::Cert(error) => format!("{of}: certificate {}: {error}", cert.display()),
        PairError::Key(error) => format!("{of}: private key {}: {error}", key.display()),
    })
}

fn read_files(cert: &Path, key: &Path) -> Result<Certificate, PairError> {
    let read = |file: &Path| {
        fs::read(file).map_err(|error| {
            format!("cannot read it: {error}; accepted is a PEM file that this process can read")
        })
    };
    let chain = read(cert).map_err(PairError::Cert)?;
    let secret = Secret::new(read(key).map_err(PairError::Key)?);
    Certificate::from_pem(&chain, &secret).map_err(|error| match error {
        CertificateError::NoKey => PairError::Key(error.to_string()),
        CertificateError::AnotherKey => {
            PairError::Key(format!("{error} {}; accepted is the one of it", cert.display()))
        }
        _ => PairError::Cert(error.to_string()),
    })
}

/// Gives certificates to the listeners that speak TLS.
#[derive(Debug)]
pub struct Listeners {
    gateway: Option<Listener>,
    publisher: Option<Listener>,
    broker: Option<watch::Sender<Arc<ServerConfig>>>,
    link: Option<watch::Sender<Arc<ClientConfig>>>,
    /// When what newcomers get expires.
    pub expiry: Expiry,
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
        let expiring = first.expiring();
        let listeners = Self {
            expiry: Expiry::default(),
            gateway: Listener::start("gateway", first.gateway, secrets),
            publisher: Listener::start("publisher", first.publisher, secrets),
            broker: first.broker.map(watch::Sender::new),
            link: first.link.map(watch::Sender::new),
        };
        listeners.note(expiring);
        listeners
    }

    /// Notes when the certificates of those that speak TLS expire.
    fn note(&self, expiring: [Option<u64>; 3]) {
        let [gateway, publisher, of_links] = expiring;
        for (service, speaks_tls, at) in [
            ("gateway", self.gateway.is_some(), gateway),
            ("publisher", self.publisher.is_some(), publisher),
            ("broker", self.broker.is_some(), of_links),
            ("link", self.link.is_some(), of_links),
        ] {
            if let Some(at) = at.filter(|_| speaks_tls) {
                self.expiry.note(service, at);
            }
        }
    }

    /// Gives newcomers these certificates. Returns the services that would have to begin or to stop
    /// speaking TLS, which takes a restart.
    pub fn publish(&self, new: Certificates, secrets: &Secrets) -> Vec<&'static str> {
        self.note(new.expiring());
        let services = [
            ("gateway", &self.gateway, new.gateway),
            ("publisher", &self.publisher, new.publisher),
        ];
        let mut unchanged = Vec::new();
        // Whether links speak TLS is a matter of flags, so it is as it was.
        if let (Some(broker), Some(new)) = (&self.broker, new.broker) {
            broker.send_replace(new);
        }
        if let (Some(link), Some(new)) = (&self.link, new.link) {
            link.send_replace(new);
        }
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

    /// The settings of a service's listeners; `None` if they are not encrypted.
    pub fn of(&self, service: Service) -> Option<TlsSettings> {
        match service {
            Service::Broker => self.broker(),
            Service::Gateway => self.gateway(),
            Service::Publisher => self.publisher(),
        }
    }

    /// The settings of the broker's listeners; `None` if links are not encrypted.
    pub fn broker(&self) -> Option<TlsSettings> {
        self.broker.as_ref().map(watch::Sender::subscribe)
    }

    /// The settings of the link to a broker elsewhere; `None` if it is not encrypted.
    pub fn link(&self) -> Option<LinkTls> {
        self.link.as_ref().map(watch::Sender::subscribe)
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
