//! The API keys of backends. Pure. Of a key, only its SHA-256 is known here: it is 32 random bytes or more,
//! so that its hash can be neither guessed nor turned back.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::rights::KeyRights;
use crate::{Meter, Rate, Secret};

/// The most bytes of a key. A longer one is unknown, and is not hashed.
pub const MAX_KEY_BYTES: usize = 256;

/// What every key that was made here begins with, so that programs that search for secrets find it.
pub const KEY_PREFIX: &str = "cpk_";

/// Makes a key of random bytes: [`KEY_PREFIX`], and the bytes in base64url without padding.
pub fn new_key(random: [u8; 32]) -> Secret {
    Secret::new(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random)))
}

/// The SHA-256 of a key. It is written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; SHA256_OUTPUT_LEN]);

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &Secret) -> Self {
        Self::of_bytes(key.expose())
    }

    fn of_bytes(key: &[u8]) -> Self {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(hash)
    }

    /// Takes the same time, whatever the hashes are.
    fn is(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A string that is not a [`KeyHash`]. It is not shown, because it may be the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has {0} bytes, but the SHA-256 of a key is 64 hexadecimal digits: campanile key make prints it"
)]
pub struct InvalidKeyHash(usize);

impl FromStr for KeyHash {
    type Err = InvalidKeyHash;

    fn from_str(text: &str) -> Result<Self, InvalidKeyHash> {
        let invalid = || InvalidKeyHash(text.len());
        let digits = text.as_bytes();
        if digits.len() != 2 * SHA256_OUTPUT_LEN || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(invalid());
        }
        let mut hash = [0; SHA256_OUTPUT_LEN];
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(hash))
    }
}

/// A key with what it is for.
#[derive(Debug)]
pub struct ApiKey {
    hash: KeyHash,
    rights: Arc<KeyRights>,
    meter: Option<Arc<Meter>>,
}

impl ApiKey {
    /// A key. Without a rate it may push as often as there is room.
    pub fn new(hash: KeyHash, rights: KeyRights, rate: Option<Rate>) -> Self {
        Self { hash, rights: Arc::new(rights), meter: rate.map(|rate| Arc::new(Meter::new(rate))) }
    }

    /// Whether it is the same key, whatever it allows.
    pub fn is(&self, other: &Self) -> bool {
        self.hash.is(&other.hash)
    }

    /// What it allows.
    pub fn rights(&self) -> &Arc<KeyRights> {
        &self.rights
    }

    /// How often it may push, and has; `None` without a rate. All who present the key share it.
    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_deref()
    }
}

/// Two entries are the same key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the keys {first:?} and {second:?} are the same key: one key has one entry")]
pub struct SameKey {
    /// The name of the earlier one.
    first: String,
    /// The name of the later one.
    second: String,
    /// Which of all it is, counted from 0.
    pub index: usize,
}

/// The keys that a publisher accepts. Without any, it is open to all.
///
/// Several may have the same name, which only the log shows: in a rotation, the old and the new key of one
/// backend. Each has its own scopes and its own rate.
#[derive(Debug, Default)]
pub struct Keys(Box<[Arc<ApiKey>]>);

impl Keys {
    /// The set of these keys.
    ///
    /// # Errors
    /// [`SameKey`], if a key has two entries.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Result<Self, SameKey> {
        let mut all: Vec<Arc<ApiKey>> = Vec::new();
        for key in keys {
            if let Some(first) = all.iter().find(|other| other.hash == key.hash) {
                let name = |key: &ApiKey| key.rights.name.clone();
                let (first, second) = (name(first), name(&key));
                return Err(SameKey { first, second, index: all.len() });
            }
            all.push(Arc::new(key));
        }
        Ok(Self(all.into()))
    }

    /// These keys as they follow on others: what was used of a key's rate stays used, also if it has another
    /// rate now.
    pub fn continuing(self, others: &Self, now: Instant) -> Self {
        let meters: HashMap<_, _> = others.0.iter().map(|key| (key.hash.0, &key.meter)).collect();
        let continued = |key: Arc<ApiKey>| {
            let meter = meters.get(&key.hash.0).and_then(|meter| meter.as_ref());
            let (Some(own), Some(meter)) = (&key.meter, meter) else { return key };
            let meter = match own.rate() == meter.rate() {
                true => meter.clone(),
                false => Arc::new(meter.changed(own.rate(), now)),
            };
            let (hash, rights) = (key.hash, key.rights.clone());
            Arc::new(ApiKey { hash, rights, meter: Some(meter) })
        };
        Self(self.0.into_iter().map(continued).collect())
    }

    /// Whether there are none, so that everybody may push.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Finds the key that a caller presents. It is compared with every key, each in constant time.
    pub fn find(&self, presented: &[u8]) -> Option<Arc<ApiKey>> {
        if presented.len() > MAX_KEY_BYTES {
            return None;
        }
        self.with_hash(&KeyHash::of_bytes(presented))
    }

    /// Finds the entry of a key that was found in another set; `None` if it was removed.
    pub fn current(&self, key: &ApiKey) -> Option<Arc<ApiKey>> {
        self.with_hash(&key.hash)
    }

    fn with_hash(&self, hash: &KeyHash) -> Option<Arc<ApiKey>> {
        let mut found = None;
        for key in &self.0 {
            if key.hash.is(hash) {
                found = Some(key);
            }
        }
        found.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the three bytes "abc" (FIPS 180-4, appendix).
    const HASH_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn key(secret: &str, name: &str) -> ApiKey {
        let rights = KeyRights { name: name.to_owned(), scopes: vec![] };
        ApiKey::new(KeyHash::of(&Secret::new(secret)), rights, None)
    }

    fn name(found: Option<Arc<ApiKey>>) -> Option<String> {
        found.map(|key| key.rights().name.clone())
    }

    #[test]
    fn a_key_is_found_by_all_of_its_bytes_only() {
        let keys =
            Keys::new([key("abc", "a"), key("abd", "b"), key("ab", "c")]).expect("different");
        for (presented, found) in [("abc", "a"), ("abd", "b"), ("ab", "c")] {
            assert_eq!(name(keys.find(presented.as_bytes())).as_deref(), Some(found));
        }
        for presented in [&b""[..], b"a", b"abcd", b"ABC", b"abc\n", b"\0abc", b"\xff\xfe"] {
            assert!(keys.find(presented).is_none(), "{presented:?}");
        }
        assert!(keys.find(HASH_OF_ABC.as_bytes()).is_none(), "a hash is not the key");
        assert!(Keys::default().find(b"abc").is_none() && Keys::default().is_empty());
    }

    #[test]
    fn a_key_that_is_too_long_is_unknown() {
        let (longest, longer) = ("k".repeat(MAX_KEY_BYTES), "k".repeat(MAX_KEY_BYTES + 1));
        let keys = Keys::new([key(&longest, "a"), key(&longer, "b")]).expect("different");
        assert!(keys.find(longest.as_bytes()).is_some());
        assert!(keys.find(longer.as_bytes()).is_none());
        assert!(keys.find(&vec![b'k'; 10 << 20]).is_none());
    }

    #[test]
    fn keys_may_share_a_name_and_one_key_has_one_entry() {
        let rotated = Keys::new([key("old", "shop"), key("new", "shop")]).expect("two keys");
        assert_eq!(name(rotated.find(b"old")), name(rotated.find(b"new")));
        let error = Keys::new([key("old", "shop"), key("old", "app")]).expect_err("one key");
        let said = "the keys \"shop\" and \"app\" are the same key: one key has one entry";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn a_key_is_found_again_in_the_next_set_until_it_is_removed() {
        let before = Keys::new([key("abc", "a")]).expect("one");
        let held = before.find(b"abc").expect("known");
        let renamed = Keys::new([key("new", "b"), key("abc", "c")]).expect("two");
        assert_eq!(name(renamed.current(&held)).as_deref(), Some("c"));
        assert!(Keys::new([key("new", "a")]).expect("one").current(&held).is_none());
        assert!(Keys::default().current(&held).is_none());
    }

    #[test]
    fn what_was_used_of_a_rate_stays_used() {
        let now = Instant::now();
        let keys = |name: &str, rate| {
            let rights = KeyRights { name: name.to_owned(), scopes: vec![] };
            Keys::new([ApiKey::new(KeyHash::of(&Secret::new("abc")), rights, rate)]).expect("one")
        };
        let left = |keys: &Keys| {
            let key = keys.find(b"abc").expect("known");
            key.meter().map(|meter| meter.left(now).0)
        };
        let first = keys("a", Some(Rate::new(1, 5)));
        let held = first.find(b"abc").expect("known");
        assert_eq!(held.meter().expect("a rate").take(now), Ok(()));
        let renamed = keys("b", Some(Rate::new(1, 5))).continuing(&first, now);
        assert_eq!((name(renamed.find(b"abc")).as_deref(), left(&renamed)), (Some("b"), Some(4)));
        // A request that began before counts too.
        assert_eq!(held.meter().expect("a rate").take(now), Ok(()));
        assert_eq!(left(&renamed), Some(3));
        let faster = keys("a", Some(Rate::new(2, 9))).continuing(&first, now);
        assert_eq!(left(&faster), Some(7), "of 9, as two were used");
        assert_eq!(left(&keys("a", None).continuing(&first, now)), None);
        let new = keys("a", Some(Rate::new(1, 5))).continuing(&Keys::default(), now);
        assert_eq!(left(&new), Some(5));
    }

    #[test]
    fn a_hash_is_written_as_it_is_read() {
        let hash = KeyHash::of(&Secret::new("abc"));
        assert_eq!(hash.to_string(), HASH_OF_ABC);
        assert_eq!(HASH_OF_ABC.parse(), Ok(hash));
        assert_eq!(HASH_OF_ABC.to_uppercase().parse(), Ok(hash));
        for wrong in ["", "ba", &HASH_OF_ABC[1..], &format!("{HASH_OF_ABC}0"), &"é".repeat(32)] {
            assert_eq!(wrong.parse::<KeyHash>(), Err(InvalidKeyHash(wrong.len())), "{wrong}");
        }
        for wrong in ["+f", " f", "0x", "g0"] {
            let wrong = format!("{wrong}{}", &HASH_OF_ABC[2..]);
            let error = wrong.parse::<KeyHash>().expect_err("no hash").to_string();
            assert!(!error.contains(&wrong[2..]), "{error}");
        }
    }

    #[test]
    fn a_new_key_has_a_prefix_and_all_of_its_random_bytes() {
        let made = new_key([0xfb; 32]);
        let text = str::from_utf8(made.expose()).expect("ASCII");
        assert_eq!(text, "cpk_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s");
        assert_ne!(made, new_key([0xfc; 32]));
    }

    #[test]
    fn a_rate_belongs_to_a_key_and_nothing_shows_more_than_its_hash() {
        let rights = KeyRights { name: "a".to_owned(), scopes: vec![] };
        let hash = KeyHash::of(&Secret::new("abc"));
        let keys = Keys::new([ApiKey::new(hash, rights, Some(Rate::new(1, 1)))]).expect("one");
        let now = Instant::now();
        let (one, other) = (keys.find(b"abc").expect("known"), keys.find(b"abc").expect("known"));
        assert_eq!(one.meter().expect("a rate").take(now), Ok(()));
        assert!(other.meter().expect("a rate").take(now).is_err());
        assert!(key("b", "b").meter().is_none());
        assert!(!format!("{keys:?}").contains("abc"));
    }
}
