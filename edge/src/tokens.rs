//! The tokens of clients: JSON Web Tokens (RFC 7519), signed with a key that the gateway knows. Pure: the
//! caller passes the time in.
//!
//! A [`Verifier`] has [`Keys`] and what it [expects](Expected) of a token, and turns a token into
//! [`TokenRights`]. The algorithm belongs to the key: what a token says of it only excludes keys. Headers
//! that point to a key (`jku`, `jwk`, `x5u`, `x5c`) are ignored. A token that needs an extension (`crit`) is
//! refused.
//!
//! The rights are in the claim `campanile`:
//!
//! ```json
//! { "groups": { "news": ["subscribe"], "chat/*": ["subscribe", "publish"] },
//!   "join": ["user/42"], "info": { "name": "Ann" } }
//! ```
//!
//! Unknown fields and unknown operations are ignored, so that a token can say more than this release knows.
//! Everything that is known must be well-formed, and given once.

mod algorithm;
mod cause;
mod claims;
mod deny;
mod header;
mod key_error;
mod keys;

use std::time::Duration;

use crate::rights::TokenRights;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use cause::Cause;
pub use claims::{MAX_INFO_BYTES, MAX_TIME};
pub use deny::{Denied, Deny};
pub use key_error::{Ignored, KeyError, MAX_KEYS};
pub use keys::{Key, Keys, MIN_SECRET_BYTES};

use claims::Claims;
use header::Header;

/// The longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// The `aud` that tokens have by default.
pub const DEFAULT_AUDIENCE: &str = "campanile";

/// How far the clocks of those who make tokens may differ from ours, by default.
pub const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);

/// What every token must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The `iss`; `None` if any or none is accepted.
    pub issuer: Option<String>,
    /// The `aud`, or one of several.
    pub audience: String,
    /// How long after `exp` a token is still accepted, and how long before `nbf`, because clocks differ.
    /// In whole seconds.
    pub leeway: Duration,
    /// The most groups in `join`.
    pub max_join: usize,
}

impl Default for Expected {
    fn default() -> Self {
        let audience = DEFAULT_AUDIENCE.to_owned();
        Self { issuer: None, audience, leeway: DEFAULT_LEEWAY, max_join: 100 }
    }
}

/// Checks tokens.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Keys,
    expected: Expected,
}

impl Verifier {
    /// A verifier that accepts tokens which are signed with one of the keys and say what is expected.
    pub fn new(keys: Keys, expected: Expected) -> Self {
        Self { keys, expected }
    }

    /// The keys. Without any, every token is refused.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The same expectations with other keys.
    pub fn with_keys(&self, keys: Keys) -> Self {
        Self { keys, expected: self.expected.clone() }
    }

    /// Returns what a token allows at a time, which is in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// The first [`Cause`], in this order: form, key, signature, claims, `nbf`, `exp`. So a token that is
    /// [`Expired`](Cause::Expired) was good before.
    pub fn verify(&self, token: &str, now: u64) -> Result<TokenRights, Cause> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Cause::TooLarge { len_bytes: token.len() });
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Cause::Segments)?;
        let (header, claims) = message.split_once('.').ok_or(Cause::Segments)?;
        if claims.contains('.') {
            return Err(Cause::Segments);
        }
        let header = Header::read(header)?;
        self.keys.check(&header, message, signature)?;
        let Claims { rights, not_before } = Claims::read(claims, &self.expected)?;
        let leeway = self.expected.leeway.as_secs();
        if not_before > now.saturating_add(leeway) {
            return Err(Cause::NotYetValid { for_seconds: not_before - now });
        }
        if now >= rights.expires.saturating_add(leeway) {
            return Err(Cause::Expired { since_seconds: now - rights.expires });
        }
        Ok(rights)
    }
}

#[cfg(test)]
mod tests;
