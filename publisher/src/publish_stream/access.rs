//! Who pushes over a stream, from its handshake to its end. Pure.
//!
//! ```text
//! <- {"type":"auth","key":"cpk_.."}     the first message, if the handshake had no key
//! -> {"status":200}
//! ```

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_channel::publishing::Push;
use campanile_edge::Keys;
use serde::Deserialize;

use super::intake::Incoming;
use crate::error::ApiError;
use crate::http::HttpError;
use crate::push::item::msgpack;
use crate::push::rights::Pusher;

/// Who pushes, and whether that caller may push now.
#[derive(Debug)]
pub(super) struct Access {
    keys: Arc<Keys>,
    /// `None` until the key has come.
    pusher: Option<Pusher>,
}

/// What the first message must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
}

impl Access {
    /// Begins with what the handshake said; `None` if it had no key.
    pub(super) fn new(keys: Arc<Keys>, pusher: Option<Pusher>) -> Self {
        Self { keys, pusher }
    }

    /// The name of the caller's key; empty as long as it has none.
    pub(super) fn name(&self) -> &str {
        self.pusher.as_ref().map_or("", Pusher::name)
    }

    /// Whether the key has not come yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.pusher.is_none()
    }

    /// Reads the first message, and returns whether it has a valid key.
    pub(super) fn authenticate(&mut self, message: &Incoming) -> bool {
        let auth: Option<Auth<'_>> = match message {
            Incoming::Text(text) => serde_json::from_str(text).ok(),
            Incoming::Binary(bytes) => msgpack::read_other(bytes).ok(),
            _ => None,
        };
        let auth = auth.filter(|auth| auth.kind == "auth");
        let key = auth.and_then(|auth| self.keys.find(auth.key.as_bytes()));
        self.pusher = key.map(Pusher::with_key);
        self.pusher.is_some()
    }

    /// Goes on with another set of keys. Returns whether the caller still has a valid one.
    pub(super) fn replace_keys(&mut self, keys: Arc<Keys>) -> bool {
        self.keys = keys;
        let Some(pusher) = &self.pusher else { return true };
        match pusher.renewed(&self.keys) {
            Some(pusher) => {
                self.pusher = Some(pusher);
                true
            }
            None => false,
        }
    }

    /// Whether these are the keys that are used here.
    pub(super) fn uses(&self, keys: &Arc<Keys>) -> bool {
        Arc::ptr_eq(&self.keys, keys)
    }

    /// Counts a message that is there.
    ///
    /// # Errors
    /// How long it has to wait until it is counted again. It was not counted.
    pub(super) fn count(&mut self, now: Instant) -> Result<(), Duration> {
        match self.pusher.as_ref().and_then(Pusher::meter) {
            Some(meter) => meter.take(now),
            None => Ok(()),
        }
    }

    /// Checks an item that was read.
    ///
    /// # Errors
    /// The caller may not push it.
    pub(super) fn check(&mut self, push: &Push) -> Result<(), ApiError> {
        match &self.pusher {
            Some(pusher) => Ok(pusher.check_push(push)?),
            None => Err(HttpError::NoKey { in_url: false }.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use campanile_edge::rights::KeyRights;
    use campanile_edge::{ApiKey, KeyHash, Rate, Secret};

    use super::*;

    fn keys(secrets: &[&str]) -> Arc<Keys> {
        let keys = secrets.iter().map(|secret| {
            let rights = KeyRights { name: (*secret).to_owned(), scopes: vec![] };
            let rate = Some(Rate::new(10, 1));
            ApiKey::new(KeyHash::of(&Secret::new(*secret)), rights, rate)
        });
        Arc::new(Keys::new(keys).expect("different"))
    }

    fn waiting() -> Access {
        Access::new(keys(&["cpk_a"]), None)
    }

    #[test]
    fn only_a_whole_auth_message_with_a_known_key_is_taken() {
        for (message, is_valid) in [
            (r#"{"type":"auth","key":"cpk_a"}"#, true),
            (r#" {"key":"cpk_\u0061","type":"auth"} "#, true),
            (r#"{"type":"auth","key":"cpk_b"}"#, false),
            (r#"{"type":"auth","key":null}"#, false),
            (r#"{"type":"auth"}"#, false),
            (r#"{"key":"cpk_a"}"#, false),
            (r#"{"type":"push","key":"cpk_a"}"#, false),
            (r#"{"type":"auth","key":"cpk_a","key":"cpk_a"}"#, false),
            (r#"{"type":"auth","key":"cpk_a","content":"hi"}"#, false),
            (r#"{"content":"hi"}"#, false),
            ("cpk_a", false),
            ("", false),
        ] {
            let mut access = waiting();
            assert_eq!(access.authenticate(&Incoming::Text(message.into())), is_valid, "{message}");
            assert_eq!(access.is_awaited(), !is_valid);
        }
        let packed = b"\x82\xa4type\xa4auth\xa3key\xa5cpk_a";
        let binary = |bytes: &[u8]| Incoming::Binary(Bytes::copy_from_slice(bytes));
        assert!(waiting().authenticate(&binary(packed)));
        assert!(!waiting().authenticate(&binary(&packed[..20])));
        assert!(!waiting().authenticate(&binary(&[&packed[..], b"\xc0"].concat())));
        let as_bin = b"\x82\xa4type\xa4auth\xa3key\xc4\x05cpk_a";
        assert!(waiting().authenticate(&binary(as_bin)), "bytes are as good");
    }

    #[test]
    fn a_caller_stays_as_long_as_its_key_is_in_the_set() {
        let mut access = waiting();
        assert!(access.replace_keys(keys(&["cpk_a", "cpk_b"])), "still awaited");
        assert!(access.authenticate(&Incoming::Text(r#"{"type":"auth","key":"cpk_b"}"#.into())));
        assert!(access.replace_keys(keys(&["cpk_b"])));
        assert!(!access.replace_keys(keys(&["cpk_a"])));
        let mut open = Access::new(Arc::default(), Some(Pusher::default()));
        assert!(open.replace_keys(Arc::default()));
        assert!(!open.replace_keys(keys(&["cpk_a"])), "a key is needed from now on");
    }

    #[test]
    fn messages_are_counted_once_the_caller_is_known() {
        let (mut access, now) = (waiting(), Instant::now());
        assert_eq!(access.count(now), Ok(()), "nobody is known");
        assert!(access.authenticate(&Incoming::Text(r#"{"type":"auth","key":"cpk_a"}"#.into())));
        assert_eq!(access.count(now), Ok(()));
        assert_eq!(access.count(now), Err(Duration::from_millis(100)));
        assert_eq!(access.count(now + Duration::from_millis(100)), Ok(()));
    }
}
