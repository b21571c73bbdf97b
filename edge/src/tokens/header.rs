//! What a token says of its signature (the JOSE header, RFC 7515 section 4).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Algorithm;
use super::cause::{Cause, sentence};

/// The parts of a header that count. All others are ignored, in particular those that name a key or say
/// where to get one.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
}

#[derive(Deserialize)]
struct RawHeader<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    crit: Option<IgnoredAny>,
}

impl Header {
    /// Reads the first part of a token.
    pub fn read(part: &str) -> Result<Self, Cause> {
        let json = decode(part, "header")?;
        let malformed = |error: serde_json::Error| Cause::Header(sentence(&error));
        let raw: RawHeader<'_> = object(&json).map_err(malformed)?;
        if raw.crit.is_some() {
            return Err(Cause::Critical);
        }
        let unknown = |_| Cause::UnknownAlgorithm(raw.alg.clone().into_owned());
        let algorithm = raw.alg.parse().map_err(unknown)?;
        Ok(Self { algorithm, kid: raw.kid.map(Cow::into_owned) })
    }
}

/// Decodes a part of a token. There is exactly one way to encode it, so that nobody can change a token
/// without breaking it.
pub fn decode(part: &str, name: &'static str) -> Result<String, Cause> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Cause::Encoding { part: name })?;
    String::from_utf8(bytes).map_err(|_| Cause::Encoding { part: name })
}

/// Reads a JSON object. serde would accept an array for a struct, too.
pub fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, serde_json::Error> {
    if !json.trim_start().starts_with('{') {
        return Err(serde::de::Error::custom("it is not a JSON object"));
    }
    serde_json::from_str(json)
}
