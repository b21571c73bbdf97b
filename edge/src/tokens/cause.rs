//! Why a token is refused.

use std::fmt;

use super::{Algorithm, MAX_TOKEN_BYTES};

/// How many characters of what a token says are shown.
const SHOWN_CHARS: usize = 60;

/// Why a token is refused. `Display` is for the log: it is exact, and shows nothing that is secret. A client
/// gets the [word](Self::word) only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// It is longer than [`MAX_TOKEN_BYTES`].
    #[error("the token has {len_bytes} bytes, but at most {MAX_TOKEN_BYTES} are accepted")]
    TooLarge {
        /// Its length.
        len_bytes: usize,
    },
    /// It does not consist of three parts with dots between them.
    #[error("the token does not have the form HEADER.CLAIMS.SIGNATURE")]
    Segments,
    /// A part is not base64url without padding, or not UTF-8.
    #[error("the {part} of the token is not base64url without padding")]
    Encoding {
        /// Which part.
        part: &'static str,
    },
    /// The header is not the JSON that it should be.
    #[error("the header of the token is malformed: {0}")]
    Header(String),
    /// The header demands an extension.
    #[error("the token demands an extension (crit), but none is known")]
    Critical,
    /// It names an algorithm that is not accepted for any key, such as `none`.
    #[error("the algorithm {} is not accepted", Shown(.0))]
    UnknownAlgorithm(String),
    /// No key has its `kid`.
    #[error("no key has the kid {}", Shown(.kid))]
    UnknownKey {
        /// The key that it names.
        kid: String,
    },
    /// The keys that could have signed it are for other algorithms.
    #[error("no key that the token may be signed with is for the algorithm {0}")]
    Algorithm(Algorithm),
    /// No key has made its signature.
    #[error("the signature of the token is wrong")]
    Signature,
    /// The claims are not the JSON that they should be.
    #[error("the claims of the token are malformed: {0}")]
    Claims(String),
    /// A claim that is required is missing.
    #[error("the token has no {0}, which is required")]
    Missing(&'static str),
    /// It is for somebody else.
    #[error("the token's aud does not include {expected:?}")]
    Audience {
        /// The `aud` that it should have.
        expected: String,
    },
    /// It was issued by somebody else.
    #[error("the token's iss is {}, but {expected:?} is accepted", found.as_ref().map_or("missing".to_owned(), |found| Shown(found).to_string()))]
    Issuer {
        /// The `iss` that it has.
        found: Option<String>,
        /// The `iss` that it should have.
        expected: String,
    },
    /// It is not valid yet.
    #[error("the token is valid in {for_seconds} s only (nbf)")]
    NotYetValid {
        /// How long it will take, in seconds.
        for_seconds: u64,
    },
    /// It was valid once.
    #[error("the token has expired {since_seconds} s ago (exp)")]
    Expired {
        /// How long ago, in seconds.
        since_seconds: u64,
    },
}

impl Cause {
    /// All that the client gets to know: `expired` if a newer token would help, otherwise `invalid_token`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            _ => "invalid_token",
        }
    }
}

/// The beginning of a string that a client has sent, quoted and escaped.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shorten(self.0))
    }
}

/// The first characters of a string.
pub fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// The beginning of an error, which may quote what the token says, escaped.
pub fn sentence(error: &serde_json::Error) -> String {
    error.to_string().chars().take(200).collect::<String>().escape_debug().to_string()
}
