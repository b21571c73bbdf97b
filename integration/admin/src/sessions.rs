//! Who has signed in to the operator's page. Pure: the caller passes time and randomness in.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use campanile_edge::{ApiKey, Keys};

/// How long a session lasts.
pub const SESSION_LIMIT: Duration = Duration::from_secs(8 * 3_600);

/// The most sessions at a time. Beyond it, the oldest one ends.
const MAX_SESSIONS: usize = 1_000;

/// The most sessions of one key, so that who has one key cannot end the sessions of all others.
const MAX_SESSIONS_OF_KEY: usize = 100;

/// A secret of a session: 256 random bits, which the cookie has as 64 hexadecimal digits. A session has another one,
/// its proof, which only its page knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The id of these random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// Reads what [`Self::cookie_value`] has written.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut id = [0; 32];
        for (byte, at) in id.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(id))
    }

    /// Whether it is the same, in a time that does not depend on how much of it is.
    fn is(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differing, (one, two)| differing | (one ^ two)) == 0
    }

    /// What the cookie has.
    pub fn cookie_value(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for SessionId {
    /// Shows nothing of it: whoever knows it is signed in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

#[derive(Debug)]
struct Session {
    key: Arc<ApiKey>,
    proof: SessionId,
    begun: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.begun) >= SESSION_LIMIT
    }
}

/// All sessions of a process.
#[derive(Debug, Default)]
pub struct Sessions(HashMap<SessionId, Session>);

impl Sessions {
    /// Begins a session of a key.
    pub fn begin(&mut self, id: SessionId, proof: SessionId, key: Arc<ApiKey>, now: Instant) {
        self.0.retain(|_, session| !session.is_over(now));
        let of_key = |session: &Session| session.key.is(&key);
        if self.0.values().filter(|session| of_key(session)).count() >= MAX_SESSIONS_OF_KEY {
            self.end_oldest(of_key);
        }
        if self.0.len() >= MAX_SESSIONS {
            self.end_oldest(|_| true);
        }
        self.0.insert(id, Session { key, proof, begun: now });
    }

    /// The key of a session, as it is in the settings now, and how much longer the session lasts. `None` if
    /// there is no such session, it is over, or its key is gone.
    pub fn find(
        &self,
        id: &SessionId,
        keys: &Keys,
        now: Instant,
    ) -> Option<(Arc<ApiKey>, Duration)> {
        let session = self.0.get(id).filter(|session| !session.is_over(now))?;
        let left = SESSION_LIMIT.saturating_sub(now.saturating_duration_since(session.begun));
        Some((keys.current(&session.key)?, left))
    }

    /// Whether this is the proof of a session.
    pub fn is_proof(&self, id: &SessionId, proof: &SessionId) -> bool {
        self.0.get(id).is_some_and(|session| session.proof.is(proof))
    }

    /// Ends a session, if there is one.
    pub fn end(&mut self, id: &SessionId) {
        self.0.remove(id);
    }

    fn end_oldest(&mut self, among: impl Fn(&Session) -> bool) {
        let oldest = self.0.iter().filter(|(_, session)| among(session));
        let oldest = oldest.min_by_key(|(_, session)| session.begun).map(|(id, _)| *id);
        oldest.and_then(|id| self.0.remove(&id));
    }
}

#[cfg(test)]
mod tests {
    use campanile_edge::rights::KeyRights;
    use campanile_edge::{KeyHash, Secret};

    use super::*;

    fn keys(of: &[&str]) -> Keys {
        Keys::new(of.iter().map(|key| {
            let rights = KeyRights { name: (*key).to_owned(), scopes: vec![] };
            ApiKey::new(KeyHash::of(&Secret::new(*key)), rights, None)
        }))
        .expect("different keys")
    }

    fn id(number: usize) -> SessionId {
        let mut random = [0; 32];
        random[..8].copy_from_slice(&number.to_be_bytes());
        SessionId::new(random)
    }

    fn find(keys: &Keys, key: &str) -> Arc<ApiKey> {
        keys.find(key.as_bytes()).expect("it is there")
    }

    #[test]
    fn a_session_lasts_eight_hours_or_until_its_end() {
        let (mut sessions, keys, start) = (Sessions::default(), keys(&["a"]), Instant::now());
        sessions.begin(id(1), id(0), find(&keys, "a"), start);
        sessions.begin(id(2), id(0), find(&keys, "a"), start);
        let left = |sessions: &Sessions, number, now| {
            sessions.find(&id(number), &keys, now).map(|(_, left)| left)
        };
        assert_eq!(left(&sessions, 1, start), Some(SESSION_LIMIT));
        let almost = start + SESSION_LIMIT - Duration::from_secs(1);
        assert_eq!(left(&sessions, 1, almost), Some(Duration::from_secs(1)));
        assert_eq!(left(&sessions, 1, start + SESSION_LIMIT), None);
        assert_eq!(left(&sessions, 3, start), None);
        sessions.end(&id(1));
        assert_eq!(left(&sessions, 1, start), None);
        assert!(left(&sessions, 2, start).is_some());
    }

    #[test]
    fn a_session_ends_with_its_key_and_has_the_rights_of_now() {
        let (mut sessions, both, now) = (Sessions::default(), keys(&["a", "b"]), Instant::now());
        sessions.begin(id(1), id(0), find(&both, "a"), now);
        assert!(sessions.find(&id(1), &keys(&["b"]), now).is_none());
        assert!(sessions.find(&id(1), &Keys::default(), now).is_none());
        let rights = KeyRights { name: "renamed".to_owned(), scopes: vec![] };
        let renamed = Keys::new([ApiKey::new(KeyHash::of(&Secret::new("a")), rights, None)]);
        let found = sessions.find(&id(1), &renamed.expect("one key"), now).expect("a session");
        assert_eq!(found.0.rights().name, "renamed");
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_ends_first() {
        let (mut sessions, start) = (Sessions::default(), Instant::now());
        let names: Vec<_> = (0..20).map(|name| format!("key-{name}")).collect();
        let keys = keys(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let at = |number: usize| start + Duration::from_millis(number as u64);
        for number in 0..5_000 {
            sessions.begin(id(number), id(0), find(&keys, &names[number % 20]), at(number));
            assert!(sessions.0.len() <= MAX_SESSIONS);
        }
        assert!(sessions.find(&id(3_999), &keys, at(5_000)).is_none());
        assert!(sessions.find(&id(4_000), &keys, at(5_000)).is_some());
    }

    #[test]
    fn one_key_cannot_end_the_sessions_of_another() {
        let (mut sessions, keys, now) = (Sessions::default(), keys(&["a", "b"]), Instant::now());
        sessions.begin(id(0), id(0), find(&keys, "a"), now);
        for number in 1..5_000 {
            sessions.begin(id(number), id(0), find(&keys, "b"), now);
        }
        assert!(sessions.find(&id(0), &keys, now).is_some());
        assert_eq!(sessions.0.len(), 1 + MAX_SESSIONS_OF_KEY);
    }

    #[test]
    fn a_key_has_its_limit_of_sessions_across_changes_of_the_settings() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        for number in 0..500 {
            let reread = keys(&["a"]);
            sessions.begin(id(number), id(0), find(&reread, "a"), now);
        }
        assert_eq!(sessions.0.len(), MAX_SESSIONS_OF_KEY);
    }

    #[test]
    fn only_64_hexadecimal_digits_are_an_id() {
        let written = id(77).cookie_value();
        assert_eq!((written.len(), SessionId::read(&written)), (64, Some(id(77))));
        let long = "a".repeat(65);
        for bad in ["", "abc", &written[1..], &long, &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(SessionId::read(bad), None, "{bad}");
        }
        assert!(!format!("{:?}", id(77)).contains("77"));
    }
}
