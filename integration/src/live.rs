//! What SIGHUP can change: read and checked as a whole, then changed as a whole.
//!
//! To make something changeable: build it in [`NewState::read`], from [`Settings`] or from a file that a
//! flag names, and keep it in a field of [`NewState`]; add a `watch::Sender<Arc<T>>` to [`Live`] (made in
//! [`Live::start`] with the first value), set it in [`Live::publish`], and hand its receiver out to
//! `services.rs`, which puts it into the config of the service. `read` is the only part that may fail, and
//! it changes nothing. What only one service needs is built only where that service runs: the others may
//! not have its files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use campanile_channel::{Secrets, SecretsNow};
use campanile_edge::Keys;
use tokio::sync::watch;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::certificates::{Certificates, Listeners};
use crate::cli::{self, AdminArgs, Invocation, ServiceArgs};
use crate::exposure::{SERVICES, Service};
use crate::limits::{self, LimitsNow, ServiceLimits};
use crate::logging::{Level, LogFormat};
use crate::otlp::OtlpUrl;
use crate::reread;
use crate::secrets::ClusterSecret;
use crate::settings::{self, Scalar, Settings, SettingsError, SettingsFile};
use crate::token_keys::{TokenKeys, TokenSettings};

/// Everything that SIGHUP can change, checked and ready to be used.
#[derive(Debug)]
pub struct NewState {
    /// What is logged.
    filter: EnvFilter,
    /// The format of the log, unless a flag or variable names one.
    pub log_format: LogFormat,
    /// What the services of the cluster prove to each other.
    secrets: Secrets,
    /// Whom the gateway lets in.
    access: TokenSettings,
    /// The API keys of a publisher; empty where none runs.
    keys: Keys,
    certificates: Certificates,
    limits: ServiceLimits,
    // Here: what other sections became.
}

/// Why nothing is changed: sentences, each of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Invalid {}

impl From<Vec<SettingsError>> for Invalid {
    fn from(errors: Vec<SettingsError>) -> Self {
        Self(errors.iter().map(ToString::to_string).collect())
    }
}

impl From<SettingsError> for Invalid {
    fn from(error: SettingsError) -> Self {
        vec![error].into()
    }
}

impl NewState {
    /// Reads and checks everything, all files too, and changes nothing.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(settings: &Settings, args: &ServiceArgs) -> Result<Self, Invalid> {
        let variable = std::env::var("CAMPANILE_LOG").ok();
        let filter = settings.log.filter(variable.as_deref(), &settings.places);
        let log_format = settings.log.format(&settings.places);
        let secrets = args.cluster_secret.as_ref().map(ClusterSecret::read);
        let secrets = secrets.unwrap_or_else(|| Ok(Secrets::default()));
        let access = args.gateway.as_ref().map(|gateway| {
            let keys = gateway.token_keys.as_deref();
            settings.tokens.access(keys, settings.guests.as_ref(), gateway.max_groups)
        });
        let access = access.unwrap_or_else(|| Ok(TokenSettings::default()));
        // Here: build what other sections become, each with its error.
        // Operators show keys at every service.
        let per_second = args.publisher.as_ref().map_or(0, |args| args.max_pushes_per_second);
        let keys = settings::keys::keys(&settings.keys, per_second);
        let certificates = Certificates::read(&settings.tls, args);
        let mut wrong = Vec::new();
        let filter = note(&mut wrong, filter.map_err(|error| [error]));
        let log_format = note(&mut wrong, log_format.map_err(|error| [error]));
        let secrets = note(&mut wrong, secrets.map_err(|error| [error]));
        let lines = |wrong| settings.places.lines(wrong);
        let access = note(&mut wrong, access.map_err(lines));
        let keys = note(&mut wrong, keys.map_err(lines));
        let certificates = note(&mut wrong, certificates.map_err(lines));
        match (filter, log_format, secrets, access, keys, certificates) {
            (
                Some(filter),
                Some(log_format),
                Some(secrets),
                Some(access),
                Some(keys),
                Some(certificates),
            ) => {
                let limits = ServiceLimits::of(args);
                Ok(Self { filter, log_format, secrets, access, keys, certificates, limits })
            }
            _ => Err(Invalid(wrong)),
        }
    }

    /// Whether a service has something to know others by: then everybody is asked, on every address.
    pub fn is_authenticated(&self, service: Service) -> bool {
        match service {
            Service::Broker => !self.secrets.is_empty(),
            Service::Gateway => !self.access.access.is_open(),
            Service::Publisher => !self.keys.is_empty(),
        }
    }

    /// What is logged at the start.
    pub fn filter(&self) -> EnvFilter {
        EnvFilter::new(self.filter.to_string())
    }
}

/// Keeps what is wrong with a part, so that everything is said at once.
fn note<T>(
    wrong: &mut Vec<String>,
    part: Result<T, impl IntoIterator<Item = String>>,
) -> Option<T> {
    part.map_err(|errors| wrong.extend(errors)).ok()
}

/// Holds the ends by which the services learn what has changed.
#[derive(Debug)]
pub struct Live {
    file: Option<PathBuf>,
    /// What cannot change.
    args: ServiceArgs,
    scalars: Vec<Scalar>,
    in_force: Vec<Scalar>,
    authenticated: [bool; 3],
    level: Level,
    /// The format of the log at the start. `None` if a flag or variable decides it.
    log_format: Option<LogFormat>,
    secrets: watch::Sender<Arc<Secrets>>,
    /// Whom the gateway lets in.
    pub token_keys: Arc<TokenKeys>,
    keys: watch::Sender<Arc<Keys>>,
    /// The listeners that speak TLS.
    pub tls: Listeners,
    /// The limits of the services.
    pub limits: LimitsNow,
    // Here: a `watch::Sender` for each part.
}

impl Live {
    /// Begins with what was read at the start.
    pub fn start(invocation: &Invocation, first: NewState, level: Level) -> Self {
        let authenticated = SERVICES.map(|service| first.is_authenticated(service));
        // Here: `watch::channel(first.part)` for each part.
        let tls = Listeners::start(first.certificates, &first.secrets);
        let (secrets, _) = watch::channel(Arc::new(first.secrets));
        let (keys, _) = watch::channel(Arc::new(first.keys));
        Self {
            limits: LimitsNow::start(first.limits),
            file: invocation.file.clone(),
            args: ServiceArgs::of(&invocation.command),
            scalars: invocation.scalars.clone(),
            in_force: invocation.in_force.clone(),
            authenticated,
            level,
            log_format: invocation.log_format.is_none().then_some(first.log_format),
            secrets,
            token_keys: Arc::new(TokenKeys::start(first.access)),
            keys,
            tls,
        }
    }

    /// As [`NewState::is_authenticated`], for as long as this process runs.
    pub fn is_authenticated(&self, service: Service) -> bool {
        self.authenticated[service as usize]
    }

    /// What the services of the cluster prove to each other.
    pub fn secrets(&self) -> SecretsNow {
        self.secrets.subscribe()
    }

    /// The API keys of those who push.
    pub fn keys(&self) -> watch::Receiver<Arc<Keys>> {
        self.keys.subscribe()
    }

    /// The flags of the listener for operators.
    pub fn admin(&self) -> Option<&AdminArgs> {
        self.args.admin.as_ref()
    }

    /// Where spans go, if anywhere.
    pub fn otlp(&self) -> Option<&OtlpUrl> {
        self.args.otlp.as_ref()
    }

    /// Whether there were API keys at the start.
    pub fn has_keys(&self) -> bool {
        self.authenticated[Service::Publisher as usize]
    }

    /// An error with the lines of the settings file that it is about: it names flags only.
    pub fn with_places(&self, error: anyhow::Error) -> anyhow::Error {
        let Some(file) = &self.file else { return error };
        let sentence = format!("{error:#}");
        let with_places = settings::with_places(&sentence, &self.in_force, file);
        if with_places == sentence { error } else { anyhow!(with_places) }
    }

    /// Reads the settings file again, and the files that flags name, and changes everything or nothing.
    /// Logs which of both, and what cannot change without a restart.
    pub fn reload(&self) {
        if self.file.is_none() && !self.args.name_files() {
            info!("SIGHUP changes nothing: there is no settings file, which --config FILE names");
            return;
        }
        match self.reread() {
            Ok((state, scalars)) => {
                let log_format = state.log_format;
                self.publish(state);
                info!("the settings were read again");
                let mut changed = changed(&self.scalars, &scalars);
                // A file may have the settings of the whole cluster.
                changed.retain(|key| self.is_of_a_service_here(key));
                if self.log_format.is_some_and(|format| format != log_format) {
                    changed.push("[log] format".to_owned());
                }
                if !changed.is_empty() {
                    warn!("these settings change only with a restart: {}", changed.join(", "));
                }
            }
            Err(Invalid(sentences)) => {
                for sentence in sentences {
                    error!("the settings stay as they were: {}", settings::without_keys(&sentence));
                }
            }
        }
    }

    /// Whether a key such as `[gateway] listen` is one of a service that runs in this process.
    fn is_of_a_service_here(&self, key: &str) -> bool {
        let mut here = SERVICES.into_iter().filter(|service| self.args.has(*service));
        here.any(|service| key.starts_with(&format!("[{}] ", service.name())))
    }

    fn reread(&self) -> Result<(NewState, Vec<Scalar>), Invalid> {
        let read = match &self.file {
            Some(file) => read_file_again(file)?,
            None => SettingsFile::default(),
        };
        let args = cli::read_again(self.file.as_deref(), &read.scalars).map_err(Invalid)?;
        let contradictions = args.contradictions();
        if !contradictions.is_empty() {
            return Err(Invalid(contradictions));
        }
        reread::check(&read.settings, &self.args).map_err(Invalid)?;
        // Files are those of the start; numbers may be others.
        let mut with_numbers = self.args.clone();
        if let (Some(own), Some(new)) = (&mut with_numbers.publisher, &args.publisher) {
            own.max_pushes_per_second = new.max_pushes_per_second;
        }
        let mut state = NewState::read(&read.settings, &with_numbers)?;
        self.check_exposure(&state).map_err(|sentence| Invalid(vec![sentence]))?;
        self.token_keys.check(&state.access).map_err(|sentence| Invalid(vec![sentence]))?;
        state.limits = ServiceLimits::of(&args);
        Ok((state, read.scalars))
    }

    /// A service that asks who somebody is must not stop to do so, and one that did not ask has let
    /// clients in who would not be let in any more.
    fn check_exposure(&self, state: &NewState) -> Result<(), String> {
        for service in SERVICES.into_iter().filter(|service| self.args.has(*service)) {
            let (was, is) = (self.is_authenticated(service), state.is_authenticated(service));
            if was != is {
                let name = service.name();
                let (was, is) = if was { ("not open", "open") } else { ("open", "not open") };
                return Err(format!("the {name} is {was} and would be {is}: that takes a restart"));
            }
        }
        Ok(())
    }

    /// Changes everything.
    fn publish(&self, state: NewState) {
        self.level.change(state.filter);
        for service in self.tls.publish(state.certificates, &state.secrets) {
            warn!("whether the {service} speaks TLS changes only with a restart");
        }
        self.secrets.send_replace(Arc::new(state.secrets));
        self.token_keys.change(state.access);
        let keys = state.keys.continuing(&self.keys.borrow(), Instant::now());
        self.keys.send_replace(Arc::new(keys));
        self.limits.change(state.limits);
        // Here: `send_replace` for each part.
    }
}

fn read_file_again(file: &Path) -> Result<SettingsFile, Invalid> {
    // A pipe is empty when it is read again, and an empty file is a valid one.
    if !file.metadata().is_ok_and(|file| file.is_file()) {
        return Err(Invalid(vec![reread::no_regular_file(file)]));
    }
    Ok(cli::read_settings(file)?)
}

/// The keys whose values differ.
fn changed(old: &[Scalar], new: &[Scalar]) -> Vec<String> {
    let differs = |one: &&Scalar, others: &[Scalar]| {
        !limits::IDS.contains(&&*one.id)
            && !others.iter().any(|other| other.id == one.id && other.value == one.value)
    };
    let mut keys: Vec<_> = old.iter().filter(|scalar| differs(scalar, new)).collect();
    keys.extend(new.iter().filter(|scalar| differs(scalar, old)));
    let mut keys: Vec<_> = keys.into_iter().map(|scalar| scalar.key.clone()).collect();
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(key: &str, value: &str) -> Scalar {
        Scalar { id: key.to_owned(), key: key.to_owned(), value: value.to_owned(), line: 1 }
    }

    #[test]
    fn a_key_that_is_new_gone_or_different_has_changed() {
        let old = [scalar("a", "1"), scalar("b", "1"), scalar("c", "1")];
        let new = [scalar("b", "2"), scalar("c", "1"), scalar("d", "1")];
        assert_eq!(changed(&old, &new), ["a", "b", "d"]);
        assert_eq!(changed(&old, &old), [""; 0]);
    }
}
