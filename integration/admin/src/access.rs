//! Who may ask the operator's listener for what. Pure.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use campanile_edge::{Action, AllowHosts, ApiKey, Exposure, Keys, Principal};

/// What may be asked for without a key, although the listener is not on loopback or there are keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// `/health/*`, which needs no key in any case.
    pub health: bool,
    /// `/metrics`.
    pub metrics: bool,
    /// Everything, as long as there are no keys.
    pub all: bool,
}

impl Opened {
    /// Whether anything is open.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl FromStr for Opened {
    type Err = String;

    /// Reads words separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut opened = Self::default();
        for word in text.split(',').map(str::trim) {
            match word {
                "health" => opened.health = true,
                "metrics" => opened.metrics = true,
                "all" => opened.all = true,
                _ => {
                    return Err(format!(
                        "{word:?}: accepted are health, metrics and all, separated by commas"
                    ));
                }
            }
        }
        Ok(opened)
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Whether the process lives, and whether it can serve.
    Health,
    /// The numbers.
    Metrics,
    /// What the cluster does, and with whom.
    Look,
    /// Something shall change.
    Change,
}

/// What decides about a request.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// The hosts that the request names.
    pub hosts: &'a [&'a str],
    /// A header by which a proxy shows itself.
    pub proxy: Option<&'static str>,
    /// The key in `Authorization`.
    pub key: Option<&'a [u8]>,
    /// The session that its cookie names. A key in `Authorization` counts instead of it.
    pub session: Presented<'a>,
}

/// The session that a request presents.
#[derive(Debug, Clone, Copy, Default)]
pub enum Presented<'a> {
    /// None.
    #[default]
    Nothing,
    /// One that there is not, or not any more.
    Over,
    /// The session of a key.
    Session(&'a Arc<ApiKey>),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A proxy passes it on to a listener that is open to its own host only.
    #[error(
        "the header {0} shows that a proxy passes this request on, and without API keys this listener is \
         for its own host only; accepted are an API key ([[keys]]) or --admin-open"
    )]
    Proxy(&'static str),
    /// A page of another site may have made its name point here.
    #[error(
        "this host is not allowed: accepted are loopback names, such as 127.0.0.1 or localhost"
    )]
    Host,
    /// It needs a key, and shows none.
    #[error("an API key with the scope {0} is needed: send Authorization: Bearer KEY")]
    NoKey(String),
    /// It needs a key, and none is configured.
    #[error("nobody may see this here: there is no API key ([[keys]]) in the settings")]
    Shut,
    /// There is no such key.
    #[error("this API key is not known")]
    UnknownKey,
    /// It is wrong in some way, as were many before it from the same address.
    #[error(
        "too many attempts from your address have failed: a request that would fail again is refused for {} s",
        .wait.as_secs() + 1
    )]
    TooOften {
        /// How long.
        wait: Duration,
    },
    /// Its session is over.
    #[error("the session is over: sign in again")]
    SessionOver,
    /// It is from a page of another site.
    #[error(
        "this request is from a page of another origin: accepted is the origin that the page of this \
         listener has (a proxy in front has to pass the header Host on)"
    )]
    Origin,
    /// Only the cookie of its session is there.
    #[error(
        "this request has the cookie of a session, but not what the page keeps besides it: sign out, and in again"
    )]
    Unproven,
    /// The key does not allow it.
    #[error("this API key is not allowed to {what}: it lacks the scope {scope}")]
    Scope {
        /// What it does not allow.
        what: String,
        /// What it lacks.
        scope: String,
    },
}

impl Refused {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoKey(_) | Self::UnknownKey | Self::Shut | Self::SessionOver => 401,
            Self::TooOften { .. } => 429,
            Self::Proxy(_) | Self::Host | Self::Origin | Self::Unproven | Self::Scope { .. } => 403,
        }
    }
}

/// Decides who may ask for what.
#[derive(Debug, Clone)]
pub struct Access {
    /// How open the listener is as long as there are no keys.
    pub exposure: Exposure,
    /// The address that is reached by most.
    pub listens_on: IpAddr,
    /// What needs no key.
    pub opened: Opened,
}

impl Access {
    /// Decides whether a request is answered.
    ///
    /// # Errors
    /// The reason why not.
    pub fn check(&self, wanted: Wanted, shown: Shown<'_>, keys: &Keys) -> Result<(), Refused> {
        self.admit(wanted, shown, keys).map(drop)
    }

    /// As [`check`](Self::check), and says whose key it is; `None` if it needs none.
    ///
    /// # Errors
    /// The reason why the request is refused.
    pub fn admit(
        &self,
        wanted: Wanted,
        shown: Shown<'_>,
        keys: &Keys,
    ) -> Result<Option<Arc<ApiKey>>, Refused> {
        let action = match wanted {
            Wanted::Health => return Ok(None),
            Wanted::Metrics if self.opened.metrics => return Ok(None),
            Wanted::Metrics | Wanted::Look => Action::Observe,
            Wanted::Change => Action::Manage,
        };
        let key = self.key(action, shown, keys)?;
        allow(key.as_deref(), action).map(|()| key)
    }

    fn key(
        &self,
        action: Action<'_>,
        shown: Shown<'_>,
        keys: &Keys,
    ) -> Result<Option<Arc<ApiKey>>, Refused> {
        let exposure = if keys.is_empty() { self.exposure } else { Exposure::Guarded };
        if exposure.is_open() {
            if let (Exposure::Local, Some(header)) = (exposure, shown.proxy) {
                return Err(Refused::Proxy(header));
            }
            let is_admitted =
                AllowHosts::default().admits(shown.hosts.iter().copied(), self.listens_on);
            return if is_admitted { Ok(None) } else { Err(Refused::Host) };
        }
        if let Some(key) = shown.key {
            let unknown = if keys.is_empty() { Refused::Shut } else { Refused::UnknownKey };
            return keys.find(key).ok_or(unknown).map(Some);
        }
        match shown.session {
            Presented::Session(key) => Ok(Some(Arc::clone(key))),
            _ if keys.is_empty() => Err(Refused::Shut),
            Presented::Over => Err(Refused::SessionOver),
            Presented::Nothing => Err(Refused::NoKey(action.scope().unwrap_or_default())),
        }
    }
}

/// Whether a key allows an action; without one, everybody may do everything.
///
/// # Errors
/// [`Refused::Scope`].
pub fn allow(key: Option<&ApiKey>, action: Action<'_>) -> Result<(), Refused> {
    let principal = key.map_or(Principal::Anyone, |key| Principal::Key(Arc::clone(key.rights())));
    match principal.may(action) {
        true => Ok(()),
        false => Err(Refused::Scope {
            what: action.to_string(),
            scope: action.scope().unwrap_or_default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use campanile_edge::rights::KeyRights;
    use campanile_edge::{ApiKey, KeyHash, Secret};

    use super::*;

    const NOTHING: Shown<'static> =
        Shown { hosts: &["127.0.0.1:4246"], proxy: None, key: None, session: Presented::Nothing };

    fn access(exposure: Exposure, opened: &str) -> Access {
        let opened =
            if opened.is_empty() { Opened::default() } else { opened.parse().expect("words") };
        Access { exposure, listens_on: Ipv4Addr::LOCALHOST.into(), opened }
    }

    fn keys(scopes: &[&str]) -> Keys {
        let scopes = scopes.iter().map(|scope| scope.parse().expect("a scope")).collect();
        let rights = KeyRights { name: "ops".to_owned(), scopes };
        Keys::new([ApiKey::new(KeyHash::of(&Secret::new("abc")), rights, None)]).expect("one key")
    }

    fn metrics(access: &Access, shown: Shown<'_>, keys: &Keys) -> Result<(), u16> {
        access.check(Wanted::Metrics, shown, keys).map_err(|refused| refused.status())
    }

    #[test]
    fn without_keys_only_this_host_sees_the_numbers() {
        let local = access(Exposure::Local, "");
        assert_eq!(metrics(&local, NOTHING, &Keys::default()), Ok(()));
        let foreign = Shown { hosts: &["evil.example"], ..NOTHING };
        assert_eq!(metrics(&local, foreign, &Keys::default()), Err(403));
        let by_proxy = Shown { proxy: Some("Via"), ..NOTHING };
        assert_eq!(metrics(&local, by_proxy, &Keys::default()), Err(403));
        let open = access(Exposure::Open, "all");
        assert_eq!(metrics(&open, by_proxy, &Keys::default()), Ok(()));
        let shut = access(Exposure::Guarded, "health");
        assert_eq!(metrics(&shut, NOTHING, &Keys::default()), Err(401));
        let by_key = Shown { key: Some(b"abc"), ..NOTHING };
        assert_eq!(metrics(&shut, by_key, &Keys::default()), Err(401));
    }

    #[test]
    fn where_there_are_keys_one_with_the_scope_read_is_needed() {
        let by_key = |key| Shown { key: Some(key), ..NOTHING };
        for exposure in [Exposure::Local, Exposure::Open, Exposure::Guarded] {
            let access = access(exposure, "all");
            assert_eq!(metrics(&access, NOTHING, &keys(&["read"])), Err(401));
            assert_eq!(metrics(&access, by_key(b"abd"), &keys(&["read"])), Err(401));
            assert_eq!(metrics(&access, by_key(b"abc"), &keys(&["read"])), Ok(()));
            assert_eq!(metrics(&access, by_key(b"abc"), &keys(&["manage", "group:*"])), Err(403));
        }
    }

    #[test]
    fn what_is_opened_and_health_need_no_key() {
        let foreign = Shown { hosts: &["evil.example"], proxy: Some("Via"), ..NOTHING };
        for (opened, status) in
            [("metrics", Ok(())), ("health,metrics", Ok(())), ("health", Err(401))]
        {
            let access = access(Exposure::Guarded, opened);
            assert_eq!(metrics(&access, foreign, &keys(&["read"])), status, "{opened}");
            assert_eq!(access.check(Wanted::Health, foreign, &keys(&["read"])), Ok(()));
        }
    }

    #[test]
    fn what_is_opened_is_a_list_of_words() {
        assert_eq!(
            "health, metrics".parse(),
            Ok(Opened { health: true, metrics: true, all: false })
        );
        for bad in ["", "health,", "everything", "Health"] {
            let error = bad.parse::<Opened>().expect_err("refused");
            assert!(error.contains("accepted are health, metrics and all"), "{error}");
        }
    }

    #[test]
    fn a_session_counts_as_its_key_and_its_key_in_the_header_comes_first() {
        let access = access(Exposure::Guarded, "");
        let keys = keys(&["read"]);
        let key = keys.find(b"abc").expect("it is there");
        let signed_in = Shown { session: Presented::Session(&key), ..NOTHING };
        let look = |shown| {
            let admitted = access.admit(Wanted::Look, shown, &keys);
            admitted.map(|key| key.expect("a key").rights().name.clone())
        };
        assert_eq!(look(signed_in), Ok("ops".to_owned()));
        let refused = access.check(Wanted::Change, signed_in, &keys).expect_err("refused");
        assert!(refused.to_string().ends_with("it lacks the scope manage"), "{refused}");
        let over = Shown { session: Presented::Over, ..NOTHING };
        assert_eq!(look(over), Err(Refused::SessionOver));
        assert_eq!(look(Shown { key: Some(b"abd"), ..signed_in }), Err(Refused::UnknownKey));
    }

    #[test]
    fn a_refusal_names_what_is_missing() {
        let access = access(Exposure::Local, "");
        let shown = Shown { key: Some(b"abc"), ..NOTHING };
        let refused =
            access.check(Wanted::Metrics, shown, &keys(&["manage"])).expect_err("refused");
        assert!(refused.to_string().ends_with("it lacks the scope read"), "{refused}");
    }
}
