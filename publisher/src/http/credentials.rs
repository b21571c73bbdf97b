//! The key that a request presents: in the header `Authorization` (RFC 6750), or in its URL.

use std::borrow::Cow;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header;
use campanile_edge::query::{InvalidEncoding, decode, is_named, pairs};
use campanile_edge::{Keys, bearer};
use tracing::debug;

use super::{Front, only, query};
use crate::http::HttpError;
use crate::push::rights::Pusher;

/// Bytes of a request, or a part of them.
type Raw<'a> = Cow<'a, [u8]>;

/// The name of the parameter.
const KEY: &str = "key";

/// Who sent a request, as far as its head says.
pub(super) struct Admitted<'a> {
    /// `None` if it has no key, at a publisher that asks for one.
    pub(super) pusher: Option<Pusher>,
    /// The keys among which it was looked up.
    pub(super) keys: Arc<Keys>,
    /// Whether a key may be in the URL.
    in_url: bool,
    /// The query without the key.
    pub(super) query: Raw<'a>,
}

impl Admitted<'_> {
    /// The caller.
    ///
    /// # Errors
    /// [`HttpError::NoKey`].
    pub(super) fn pusher(&self) -> Result<&Pusher, HttpError> {
        self.pusher.as_ref().ok_or(HttpError::NoKey { in_url: self.in_url })
    }
}

impl Front {
    /// Finds out who has sent a request. Nothing of its body is read for that.
    pub(super) fn admit<'a>(&self, request: &'a HttpRequest) -> Result<Admitted<'a>, HttpError> {
        let query = query(request);
        let keys = self.config.keys.borrow().clone();
        if keys.is_empty() {
            let (pusher, in_url) = (Some(Pusher::default()), false);
            return Ok(Admitted { pusher, keys, in_url, query: Cow::Borrowed(query) });
        }
        let in_url = self.config.key_in_url || self.listens_on.to_canonical().is_loopback();
        let in_header = only(request, &header::AUTHORIZATION, "Authorization")?.and_then(bearer);
        let (in_query, query) = take_key(query)?;
        let presented = match (in_header, in_query) {
            (_, Some(_)) if !in_url => return Err(HttpError::KeyInUrl),
            (Some(one), Some(other)) if *one != *other => return Err(HttpError::TwoKeys),
            (Some(key), _) => Some(Cow::Borrowed(key)),
            (None, key) => key,
        };
        let known = presented.as_deref().map(|key| keys.find(key).ok_or(key.len())).transpose();
        let key = known.map_err(|len_bytes| {
            debug!(len_bytes, "a caller has presented a key that is not known");
            HttpError::UnknownKey
        })?;
        Ok(Admitted { pusher: key.map(Pusher::with_key), keys, in_url, query })
    }
}

/// Separates the key from the other parameters of a query.
fn take_key(query: &[u8]) -> Result<(Option<Raw<'_>>, Raw<'_>), HttpError> {
    let is_key = |name: &[u8]| is_named(name, KEY);
    if !pairs(query).any(|(name, _)| is_key(name)) {
        return Ok((None, Cow::Borrowed(query)));
    }
    let invalid = |reason| HttpError::BadKeyInUrl { reason };
    let mut key = None;
    let mut rest = Vec::with_capacity(query.len());
    for (name, value) in pairs(query) {
        if !is_key(name) {
            rest.extend_from_slice(if rest.is_empty() { b"" } else { b"&" });
            for part in [name, b"=", value] {
                rest.extend_from_slice(part);
            }
            continue;
        }
        let value = decode(value).map_err(|error| match error {
            InvalidEncoding::MalformedEscape { .. } => invalid("has a malformed percent escape"),
            InvalidEncoding::NotUtf8 { .. } => invalid("is not UTF-8"),
        })?;
        if key.replace(value).is_some() {
            return Err(invalid("is given more than once: send it once"));
        }
    }
    let key = key.map(|key| match key {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    });
    Ok((key, Cow::Owned(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_taken_out_of_a_query_however_it_is_escaped() {
        for (query, key, rest) in [
            ("", None, ""),
            ("content=a&to_group=key", None, "content=a&to_group=key"),
            ("key=a", Some("a"), ""),
            ("content=a&%6B%65y=%61b&id=%26", Some("ab"), "content=a&id=%26"),
            ("&&key=&content", Some(""), "content="),
        ] {
            let (taken, left) = take_key(query.as_bytes()).expect("fine");
            assert_eq!(taken.as_deref(), key.map(str::as_bytes), "{query}");
            assert_eq!(&*left, rest.as_bytes(), "{query}");
        }
        for (query, said) in [
            ("key=a&key=a", "is given more than once"),
            ("key=s3cret%zz", "has a malformed percent escape"),
            ("key=s3cret%ff", "is not UTF-8"),
        ] {
            let error = take_key(query.as_bytes()).expect_err("refused").to_string();
            assert!(error.contains(said) && !error.contains("s3cret"), "{error}");
        }
    }
}
