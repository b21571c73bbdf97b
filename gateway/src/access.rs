//! Who may connect to a gateway. Pure.

use std::sync::Arc;

use campanile_edge::Principal;
use campanile_edge::rights::{GroupRights, TokenRights};
use campanile_edge::tokens::{Cause, Denied, Deny, Verifier};

/// Whom a gateway lets in. The default is open: everybody may do everything.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Checks the tokens of clients; `None` if no key is configured.
    pub tokens: Option<Verifier>,
    /// Whether keys come from elsewhere, and the first ones have not come yet. Until then, a token that no
    /// known key has signed is not refused for good, and the gateway is not ready.
    pub awaits_keys: bool,
    /// Whether keys come from elsewhere, so that a key that is not known may be known a moment later.
    pub keys_are_fetched: bool,
    /// What clients without a token may do; `None` if they are refused. Without `tokens` too, the gateway is
    /// open.
    pub guests: Option<Arc<GroupRights>>,
    /// The tokens and users that are refused although the tokens are valid.
    pub deny: Deny,
}

/// Why a client is not let in. `Display` is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It has no token, and guests are refused.
    #[error("there is no token")]
    NoToken,
    /// No key is configured, so that no token can be checked.
    #[error("there is a token, but the gateway has no key for tokens")]
    NoKeys,
    /// The keys that its token may be signed with have not come yet.
    #[error("there is a token, but the keys for tokens have not come yet")]
    NoKeysYet,
    /// Its token is not valid.
    #[error(transparent)]
    Token(#[from] Cause),
    /// Its token is on the deny list.
    #[error("the token is on the deny list (jti)")]
    Revoked,
    /// Its user is on the deny list.
    #[error("the user is on the deny list (sub)")]
    UserDenied,
}

impl Rejection {
    /// What the client gets to know: one of the words of RFC 6750, `expired`, or `not_allowed`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Token(cause) => cause.word(),
            Self::UserDenied => "not_allowed",
            Self::NoKeysYet => "no_keys",
            Self::NoToken | Self::NoKeys | Self::Revoked => "invalid_token",
        }
    }

    /// Whether the token names a key that is not known, but might be by now where the keys come from.
    pub fn names_unknown_key(&self) -> bool {
        matches!(self, Self::NoKeysYet | Self::Token(Cause::UnknownKey { .. }))
    }
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Id => Self::Revoked,
            Denied::User => Self::UserDenied,
        }
    }
}

impl Access {
    /// Whether nobody has to say who they are.
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && self.guests.is_none() && !self.awaits_keys
    }

    /// Why no client with a token can be let in yet, in one word; `None` if it can.
    pub fn hindrance(&self) -> Option<&'static str> {
        self.awaits_keys.then_some("no_keys")
    }

    /// Who a client is. `now` is in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// Why the client is not let in. A token that is not valid is not ignored, not even where guests are
    /// let in.
    pub fn identify(&self, token: Option<&str>, now: u64) -> Result<Principal, Rejection> {
        if self.is_open() {
            return Ok(Principal::Anyone);
        }
        match (token, &self.guests) {
            (Some(token), _) => self.check(token, now).map(Arc::new).map(Principal::Token),
            (None, Some(guests)) => Ok(Principal::Guest(guests.clone())),
            (None, None) => Err(Rejection::NoToken),
        }
    }

    /// Checks a token.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, token: &str, now: u64) -> Result<TokenRights, Rejection> {
        let no_keys = if self.awaits_keys { Rejection::NoKeysYet } else { Rejection::NoKeys };
        let verifier = self.tokens.as_ref().ok_or(no_keys)?;
        let rights = verifier.verify(token, now).map_err(|cause| match cause {
            Cause::UnknownKey { .. } | Cause::Signature | Cause::Algorithm(_)
                if self.awaits_keys =>
            {
                Rejection::NoKeysYet
            }
            cause => cause.into(),
        })?;
        match self.deny.denies(&rights) {
            Some(denied) => Err(denied.into()),
            None => Ok(rights),
        }
    }

    /// Why a client that was let in may not stay; `None` if it may.
    pub fn shuts_out(&self, principal: &Principal) -> Option<Rejection> {
        match principal {
            Principal::Token(rights) => self.deny.denies(rights).map(Rejection::from),
            Principal::Guest(_) if self.guests.is_none() && !self.is_open() => {
                Some(Rejection::NoToken)
            }
            _ => None,
        }
    }

    /// Who a client that was let in is from now on; `None` if that has not changed. Clients with a token keep
    /// their rights until it expires, and guests have those of all guests.
    pub fn changes(&self, principal: &Principal) -> Option<Principal> {
        match (principal, &self.guests) {
            (Principal::Guest(old), Some(new)) if !Arc::ptr_eq(old, new) => {
                Some(Principal::Guest(new.clone()))
            }
            _ => None,
        }
    }
}
