//! Whom a gateway lets in: by the settings file, and by the keys that come from a URL.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use campanile_channel::Watchdog;
use campanile_edge::tokens::Keys;
use campanile_gateway::Access;
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::jwks::{self, JwksUrl, UNKNOWN_PERIOD};

/// What the settings say.
#[derive(Debug, Clone, Default)]
pub struct TokenSettings {
    /// Without the keys from the URL.
    pub access: Access,
    /// Where more keys come from.
    pub url: Option<JwksUrl>,
}

/// What a gateway has of both.
#[derive(Debug)]
pub struct TokenKeys {
    /// It is the first one until a restart.
    url: Option<JwksUrl>,
    parts: Mutex<Parts>,
    access: watch::Sender<Arc<Access>>,
}

#[derive(Debug)]
struct Parts {
    settings: Access,
    fetched: Option<Keys>,
}

impl Parts {
    /// Whom the gateway lets in by both. Each of them has a limit of its own, so that neither can be too much
    /// for the other.
    fn together(&self) -> Access {
        let Some(fetched) = &self.fetched else { return self.settings.clone() };
        let mut access = self.settings.clone();
        if let Some(verifier) = &access.tokens {
            let keys = verifier.keys().clone().beside(fetched.clone());
            access.tokens = Some(verifier.with_keys(keys));
        }
        Access { awaits_keys: false, ..access }
    }
}

impl TokenKeys {
    /// Begins with the settings alone.
    pub fn start(first: TokenSettings) -> Self {
        let (access, _) = watch::channel(Arc::new(first.access.clone()));
        let parts = Mutex::new(Parts { settings: first.access, fetched: None });
        Self { url: first.url, parts, access }
    }

    /// Whom the gateway lets in.
    pub fn access(&self) -> watch::Receiver<Arc<Access>> {
        self.access.subscribe()
    }

    /// Checks that settings can be taken.
    ///
    /// # Errors
    /// A sentence, if keys would have to come from elsewhere.
    pub fn check(&self, new: &TokenSettings) -> Result<(), String> {
        let shown =
            |url: &Option<JwksUrl>| url.as_ref().map_or("none".to_owned(), |u| u.to_string());
        match new.url == self.url {
            true => Ok(()),
            false => Err(format!(
                "[tokens] jwks_url is {} and would be {}: that takes a restart",
                shown(&self.url),
                shown(&new.url)
            )),
        }
    }

    /// Takes other settings that passed [`check`](Self::check); the fetched keys stay.
    pub fn change(&self, new: TokenSettings) {
        let mut parts = self.parts();
        parts.settings = new.access;
        parts.settings.awaits_keys = self.url.is_some();
        parts.settings.keys_are_fetched = self.url.is_some();
        self.access.send_replace(Arc::new(parts.together()));
    }

    /// Takes the answer of the URL, and returns how many keys are in it. Secrets in it do not count.
    fn take(&self, answer: &[u8]) -> Result<usize, String> {
        let document = std::str::from_utf8(answer).map_err(|_| "the answer is not UTF-8")?;
        let (keys, _) = Keys::from_jwks(document, false).map_err(|error| error.to_string())?;
        let len = keys.len();
        let mut parts = self.parts();
        if parts.fetched.replace(keys).is_none() {
            info!(keys = len, "the keys for tokens have come");
        }
        self.access.send_replace(Arc::new(parts.together()));
        Ok(len)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Every change is complete before anything can panic.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches keys from the URL, if there is one, for as long as this process runs. `unknown` is notified when
/// somebody shows a token with an unknown key.
pub fn fetch(keys: &Arc<TokenKeys>, unknown: Arc<Notify>, watchdog: &Watchdog) {
    fetch_within(UNKNOWN_PERIOD, keys, unknown, watchdog);
}

fn fetch_within(
    unknown_period: Duration,
    keys: &Arc<TokenKeys>,
    unknown: Arc<Notify>,
    watchdog: &Watchdog,
) {
    let Some(url) = keys.url.clone() else { return };
    let (keys, pulse) = (keys.clone(), watchdog.watch("token keys"));
    actix_rt::spawn(async move {
        jwks::keep(url, unknown, unknown_period, pulse, |answer| keys.take(answer)).await
    });
}

#[cfg(test)]
mod rotation;

#[cfg(test)]
mod tests {
    use campanile_edge::Secret;
    use campanile_edge::tokens::{Expected, Key, MAX_KEYS, Verifier};

    use super::*;

    const JWKS: &[u8] = br#"{"keys":[
        {"kty":"oct","kid":"secret","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {"kty":"OKP","crv":"Ed25519","kid":"good","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    ]}"#;

    fn settings(url: &str) -> TokenSettings {
        let verifier = Verifier::new(Keys::default(), Expected::default());
        let access = Access { tokens: Some(verifier), awaits_keys: true, ..Access::default() };
        TokenSettings { access, url: Some(url.parse().expect("a URL")) }
    }

    fn ids(keys: &TokenKeys) -> Vec<String> {
        let access = keys.access().borrow().clone();
        let verifier = access.tokens.as_ref().expect("a verifier");
        verifier.keys().iter().map(|key| key.id().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn keys_from_the_url_are_added_and_survive_a_reload() {
        let keys = TokenKeys::start(settings("https://a.example/"));
        assert!(keys.access().borrow().awaits_keys);
        assert!(keys.take(b"{}").is_err() && keys.take(b"\xff").is_err());
        assert!(keys.access().borrow().awaits_keys);
        assert_eq!(keys.take(JWKS), Ok(1), "a secret that came over the net is no key");
        assert_eq!(ids(&keys), ["good"]);
        assert!(!keys.access().borrow().awaits_keys);
        keys.change(settings("https://a.example/"));
        assert_eq!(ids(&keys), ["good"]);
        assert!(!keys.access().borrow().awaits_keys);
        let refused = keys.check(&settings("https://b.example/")).expect_err("another URL");
        let said = "jwks_url is https://a.example/ and would be https://b.example/";
        assert!(refused.contains(said), "{refused}");
        assert!(keys.check(&TokenSettings::default()).expect_err("none").contains("be none"));
        assert_eq!(keys.check(&settings("https://a.example/")), Ok(()));
        assert!(keys.take(br#"{"keys":[]}"#).is_err());
        assert_eq!(ids(&keys), ["good"], "an answer without keys keeps the old ones");
    }

    #[test]
    fn a_reload_with_as_many_keys_as_possible_keeps_the_fetched_ones() {
        let keys = TokenKeys::start(settings("https://a.example/"));
        assert_eq!(keys.take(JWKS), Ok(1));
        let secret = Secret::new([7; 32]);
        let key = Key::from_secret(Some("mine".to_owned()), None, &secret).expect("a key");
        let many = Keys::new(vec![key; MAX_KEYS]).expect("as many as possible");
        let mut full = settings("https://a.example/");
        full.access.tokens = Some(Verifier::new(many, Expected::default()));
        keys.change(full);
        assert!(!keys.access().borrow().awaits_keys, "the gateway is not ready any more");
        let all = ids(&keys);
        assert_eq!((all.len(), all.last().map(String::as_str)), (MAX_KEYS + 1, Some("good")));
        assert_eq!(keys.take(JWKS), Ok(1), "the keys of the URL are still fetched");
    }
}
